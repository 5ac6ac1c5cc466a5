"""One token a character: the vocabulary is the set of characters of a text, sorted.

Knows nothing of where the text comes from.
"""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from gptforge.errors import DataError
from gptforge.tokenizers.base import Tokenizer, checked_ids, id_dtype, unknown_character

_NONE = -1  # in the table: no token for this character


class CharTokenizer(Tokenizer):
    """Encodes through a table over code points, so that a text costs a few array operations."""

    kind = "char"

    def __init__(self, characters: Iterable[str], unknown: str = "error") -> None:
        """`characters` in any order, repeated or not. Raises DataError when there are none, or half ones."""
        self.characters = "".join(sorted(set("".join(characters))))
        if not self.characters:
            raise DataError("a character vocabulary cannot be empty", fix="a text with at least one character")
        self._codes = code_points(self.characters)
        if ((self._codes >= 0xD800) & (self._codes < 0xE000)).any():
            raise DataError("the vocabulary has surrogates, which are no characters and cannot be stored as UTF-8")
        self.vocab_size = len(self.characters)
        self.unknown = unknown
        self._table = np.full(int(self._codes[-1]) + 2, _NONE, dtype=np.int32)  # the last entry is for all beyond
        self._table[self._codes] = np.arange(self.vocab_size)

    @property
    def stand_in(self) -> str:
        """What unknown=replace puts for an unknown character: the first of '?', ' ' that there is, else any."""
        return next((c for c in "? " if c in self.characters), self.characters[0])

    def encode(self, text: str) -> np.ndarray:
        codes = code_points(text)
        ids = self._table[np.minimum(codes, len(self._table) - 1)]
        missing = ids == _NONE
        if missing.any():
            if self.unknown == "error":
                position = int(missing.argmax())
                raise unknown_character(text[position], f"character {position + 1:,} of the text")
            if self.unknown == "skip":
                ids = ids[~missing]
            else:
                ids[missing] = self._table[ord(self.stand_in)]
        return ids.astype(id_dtype(self.vocab_size))

    def missing(self, characters: str) -> str:
        return "".join(c for c in characters if c not in self.characters)

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        codes = self._codes[checked_ids(ids, self.vocab_size)]
        return codes.tobytes().decode("utf-32-le").encode()

    def token_bytes(self) -> np.ndarray:
        return np.array([len(c.encode()) for c in self.characters], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_dict(cls, stored: dict[str, Any], unknown: str) -> Self:
        """The tokenizer of a to_dict(). Raises ValueError when the vocabulary is not sorted text without repeats."""
        characters = stored.get("characters")
        if not isinstance(characters, str) or not characters or characters != "".join(sorted(set(characters))):
            raise ValueError("its characters are not a sorted text without repeats")
        return cls(characters, unknown)


def code_points(text: str) -> np.ndarray:
    """The code points of a text, (len(text),) uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
