"""Named tensors in files that may come from anyone: what a file announces is looked at before anything is made of it.

Knows the safetensors format, in which there is no code; not what the tensors are for.
"""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gptforge.errors import CheckpointError

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A new safetensors file, the library's to the byte, of weights of any size: one tensor at a time is copied.

    The library's own writer gives a full disk an error of its own, and renames its file by itself. Raises OSError.
    """
    kinds = list(DTYPES)
    order = sorted(tensors, key=lambda name: (kinds.index(tensors[name].dtype), name))  # the largest elements first
    head: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        kind, shape = DTYPES[tensors[name].dtype], list(tensors[name].shape)
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    content = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    content += b" " * (-len(content) % 8)  # so that the data begin at a multiple of eight
    with open(path, "xb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
        for name in order:
            file.write(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
