"""One token a byte of UTF-8: 256 tokens for any text, learnt or not.

Knows nothing of where the text comes from.
"""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from gptforge.tokenizers.base import Tokenizer, checked_ids, halves, id_dtype, to_utf8


class ByteTokenizer(Tokenizer):
    """The id of a token is its byte."""

    kind = "byte"
    vocab_size = 256

    def __init__(self, unknown: str = "error") -> None:
        self.unknown = unknown

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(to_utf8(text, self.unknown), dtype=np.uint8).astype(id_dtype(self.vocab_size))

    def missing(self, characters: str) -> str:
        return halves(characters)

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        return checked_ids(ids, self.vocab_size).astype(np.uint8).tobytes()

    def token_bytes(self) -> np.ndarray:
        return np.ones(self.vocab_size, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, stored: dict[str, Any], unknown: str) -> Self:
        """The tokenizer of a to_dict()."""
        return cls(unknown)
