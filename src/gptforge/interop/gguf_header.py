"""Whether the head of a GGUF file announces no more than the file has, before anything is made of it.

The package gguf believes the lengths that a file tells: of a damaged one it goes through billions of values that are
not there. Knows the format (version 2 and 3), not what the values mean.
"""

import mmap
import struct
from pathlib import Path

MAGIC, VERSIONS = b"GGUF", (2, 3)
STRING, ARRAY = 8, 9  # kinds of values; the others have a fixed size
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
MOST_DIMENSIONS = 4


def check(path: Path) -> None:
    """Raises ValueError that says where a file ends too early or is none; OSError."""
    with open(path, "rb") as file:
        if not file.read(1):
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Head(content).check()


class _Head:
    """Goes through the head of a file, and never past its end."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at = content, 0

    def check(self) -> None:
        if self._take(4) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        (version,) = struct.unpack("<I", self._take(4))
        if version not in VERSIONS:
            raise ValueError(f"it is of version {version}; 2 and 3 are read")
        tensors, values = self._number(), self._number()
        for _ in range(values):
            self._text()
            self._value(self._kind())
        for _ in range(tensors):
            self._text()
            dimensions = self._kind()
            if dimensions > MOST_DIMENSIONS:
                raise ValueError(f"a tensor in it has {dimensions} dimensions")
            self._take(8 * dimensions + 4 + 8)

    def _take(self, length: int) -> bytes:
        begin, self._at = self._at, self._at + length
        if self._at > len(self._content):
            raise ValueError("it ends within its head")
        return self._content[begin : self._at] if length <= 64 else b""

    def _kind(self) -> int:
        return struct.unpack("<I", self._take(4))[0]

    def _number(self) -> int:
        return struct.unpack("<Q", self._take(8))[0]

    def _text(self) -> None:
        self._take(self._number())

    def _value(self, kind: int) -> None:
        if kind == STRING:
            self._text()
        elif kind == ARRAY:
            inner, count = self._kind(), self._number()
            if inner == STRING:
                for _ in range(count):
                    self._text()
            else:
                self._take(self._size(inner) * count)
        else:
            self._take(self._size(kind))

    def _size(self, kind: int) -> int:
        if kind not in SIZES:
            raise ValueError(f"a value in it is of the unknown kind {kind}")
        return SIZES[kind]
