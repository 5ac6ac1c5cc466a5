"""Named tensors in files that may come from anyone: what a file announces is looked at before anything is made of it.

Knows the safetensors format, in which there is no code; not what the tensors are for.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from gptforge.errors import CheckpointError

MAX_HEADER_BYTES = 8_000_000  # of names, shapes and places: 50,000 tensors; a model of 96 layers has 1,000, and moments


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file, on the CPU. Raises CheckpointError for one that is none, or that announces too much."""
    announced(path)
    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as e:
        raise CheckpointError(f"tensors cannot be read: {e}", where=str(path)) from None


def announced(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file, of which nothing more is read. Raises CheckpointError."""
    try:
        with open(path, "rb") as f:
            head = _header(f.read(8), f.read(MAX_HEADER_BYTES + 1))
    except (OSError, ValueError, RecursionError) as e:
        reason = "its header is nested too deep" if isinstance(e, RecursionError) else e
        raise CheckpointError(f"tensors cannot be read: {reason}", where=str(path)) from None
    return head.keys() - {"__metadata__"}


def _header(begin: bytes, rest: bytes) -> dict[str, Any]:
    """The header out of a file's first bytes. Raises ValueError if it is too large, no table, or not all there."""
    if len(begin) < 8:
        raise ValueError("it has no header")
    (length,) = struct.unpack("<Q", begin)
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header is to have {length:,} bytes, at most {MAX_HEADER_BYTES:,} are read")
    if length > len(rest):
        raise ValueError("it ends within its header")
    head = json.loads(rest[:length])
    if not isinstance(head, dict):
        raise ValueError("its header is no table of tensors")
    return head


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as a safetensors file."""
    return safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
