"""Named tensors in files that may come from anyone: what a file announces is looked at before anything is made of it.

Knows the safetensors format, in which there is no code; not what the tensors are for.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from gptforge.errors import CheckpointError

MAX_HEADER_BYTES = 8_000_000  # of names, shapes and places: 50,000 tensors; a model of 96 layers has 1,000, and moments


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file, on the CPU. Raises CheckpointError for one that is none, or that announces too much."""
    try:
        with open(path, "rb") as f:
            _check_header(f.read(8), f.read(MAX_HEADER_BYTES + 1))
            f.seek(0)
            return safetensors.torch.load(f.read())
    except (OSError, SafetensorError, ValueError, RecursionError, KeyError) as e:
        reason = "its header is nested too deep" if isinstance(e, RecursionError) else e
        raise CheckpointError(f"tensors cannot be read: {reason}", where=str(path)) from None


def _check_header(begin: bytes, rest: bytes) -> None:
    """Raises ValueError for a file whose header is too large, no table, or not all there."""
    if len(begin) < 8:
        raise ValueError("it has no header")
    (length,) = struct.unpack("<Q", begin)
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header is to have {length:,} bytes, at most {MAX_HEADER_BYTES:,} are read")
    if length > len(rest):
        raise ValueError("it ends within its header")
    if not isinstance(json.loads(rest[:length]), dict):
        raise ValueError("its header is no table of tensors")


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as a safetensors file."""
    return safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
