"""One token a byte of UTF-8: 256 tokens for any text, learnt or not.

Knows nothing of where the text comes from.
"""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from gptforge.errors import DataError
from gptforge.tokenizers.base import Tokenizer, checked_ids, id_dtype

# Only halves of surrogate pairs are not encodable; they come from mangled input, never from a valid file.
_ERRORS = {"error": "strict", "skip": "ignore", "replace": "replace"}


class ByteTokenizer(Tokenizer):
    """The id of a token is its byte."""

    kind = "byte"
    vocab_size = 256

    def __init__(self, unknown: str = "error") -> None:
        self.unknown = unknown

    def encode(self, text: str) -> np.ndarray:
        try:
            encoded = text.encode("utf-8", _ERRORS[self.unknown])
        except UnicodeEncodeError as e:
            raise DataError(
                f"half a character, {text[e.start]!a}, cannot be written as UTF-8",
                where=f"character {e.start + 1:,} of the text",
                fix=["tokenizer.unknown=skip (leave such characters out)", "tokenizer.unknown=replace (put a '?')"],
            ) from None
        return np.frombuffer(encoded, dtype=np.uint8).astype(id_dtype(self.vocab_size))

    def missing(self, characters: str) -> str:
        return "".join(c for c in characters if "\ud800" <= c <= "\udfff")

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
