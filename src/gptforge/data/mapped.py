"""Parts of arrays that lie in files, read past their mapping. Knows no more than arrays.

The pages that a mapping has touched count as a process's memory until the system wants them back, so whoever goes
through all of a large file had better read it.
"""

import mmap

import numpy as np


def part(array: np.ndarray, first: int, end: int) -> np.ndarray:
    """array[first:end] of a row (n,): a copy from the file if it is mapped from one, else a view."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap) or array.filename is None:
        return array[first:end]  # a slice of a mapping does not know where in the file it begins
    end = min(end, len(array))
    offset = array.offset + first * array.itemsize
    return np.fromfile(array.filename, array.dtype, count=max(0, end - first), offset=offset)
