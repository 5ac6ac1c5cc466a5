"""Leaves out of a text what stands word for word in texts that a model is to be tested on.

A model that has read a test solves it from memory. Shared n-grams of words are the usual sign (Brown et al. 2020,
appendix C: 13 words); here they are runs of RUN_BYTES bytes of letters and digits, whatever stands between them, so
that scripts without blanks are searched too. Knows texts; nothing of where they are.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np

from gptforge.data.clean.events import Change, Sample, shortened
from gptforge.data.leakage import RUN_BYTES, hashes_of_runs

STEP = 8  # every so many bytes a run of a test is known: of a shared passage of RUN_BYTES + STEP - 1 one is found


class Withheld:
    """The runs of bytes that tests are made of: 8 bytes of memory for each STEP bytes of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        runs = [hashes[::STEP] for text in texts for hashes in hashes_of_runs(_letters(text)[0], RUN_BYTES)]
        self._known = np.unique(np.concatenate([*runs, np.empty(0, np.uint64)]))

    def without(self, text: str, examples: int) -> Change:
        """A text without the lines that share a run with a test."""
        letters, owners = _letters(text)
        covered = np.zeros(len(text) + 1, dtype=np.int64)  # +1 where a shared run begins, -1 after its end
        first = 0
        for hashes in hashes_of_runs(letters, RUN_BYTES):
            places = first + np.flatnonzero(self._are_known(hashes))
            np.add.at(covered, owners[places], 1)
            np.add.at(covered, owners[places + RUN_BYTES - 1] + 1, -1)
            first += len(hashes)
        if not covered.any():
            return Change(text)
        shared = np.cumsum(covered[:-1]) > 0
        kept: list[str] = []
        samples: list[Sample] = []
        amount = position = 0
        for line in text.splitlines(keepends=True):
            if shared[position : position + len(line.rstrip("\n"))].any():
                amount += 1
                if len(samples) < examples:
                    samples.append(Sample(position, shortened(line)))
            else:
                kept.append(line)
            position += len(line)
        return Change("".join(kept), amount, tuple(samples))

    def _are_known(self, hashes: np.ndarray) -> np.ndarray:
        if not len(self._known):
            return np.zeros(len(hashes), dtype=bool)
        at = np.searchsorted(self._known, hashes)
        return self._known[np.minimum(at, len(self._known) - 1)] == hashes


def _letters(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The letters and digits of a text in lower case, as bytes of UTF-8 (n,), and the character each is of, (n,)."""
    folded = _table()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")]
    kept = np.flatnonzero(folded)
    codes = folded[kept]
    sizes = 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
    content = codes.astype("<u4").tobytes().decode("utf-32-le").encode()
    return np.frombuffer(content, dtype=np.uint8), np.repeat(kept, sizes)


@cache
def _table() -> np.ndarray:
    """Each letter's or digit's code point in lower case, 0 for all else: uint32, 4.5 MB."""
    table = np.zeros(0x110000, dtype=np.uint32)
    for code in range(0x110000):
        if (sign := chr(code)).isalnum():
            lower = sign.lower()
            table[code] = ord(lower) if len(lower) == 1 else code
    return table
