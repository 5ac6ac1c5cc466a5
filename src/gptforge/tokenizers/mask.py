"""A tokenizer with one token more, the mask, which stands for a hidden token. Knows no kind of tokenizer."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gptforge.tokenizers.base import Tokenizer, checked_ids, id_dtype

MASK = "[MASK]"  # BERT's name
NAMES = (MASK, "<mask>")  # and RoBERTa's


class MaskedTokenizer(Tokenizer):
    """Another tokenizer, whose ids stay what they are; the mask's is the one after them."""

    kind = "masked"

    def __init__(self, of: Tokenizer) -> None:
        self.of = of
        self.mask = of.vocab_size
        self.vocab_size = of.vocab_size + 1
        self.bos, self.eos, self.unknown, self.notes = of.bos, of.eos, of.unknown, of.notes
        self.special = {**of.special, MASK: self.mask}

    def encode(self, text: str) -> np.ndarray:
        return self.of.encode(text).astype(id_dtype(self.vocab_size), copy=False)

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [ids.astype(id_dtype(self.vocab_size), copy=False) for ids in self.of.encode_many(texts)]

    def missing(self, characters: str) -> str:
        return self.of.missing(characters)

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        known = checked_ids(ids, self.vocab_size)
        return self.of.decode_bytes(known[known != self.mask])

    def token_bytes(self) -> np.ndarray:
        return np.append(self.of.token_bytes(), 0)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "of": self.of.to_dict()}


def with_mask(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, if it has a mask among its special tokens; else with one."""
    return tokenizer if any(name in tokenizer.special for name in NAMES) else MaskedTokenizer(tokenizer)


def without_mask(tokenizer: Tokenizer) -> Tokenizer:
    """The one that a text was, or is to be, encoded with."""
    return tokenizer.of if isinstance(tokenizer, MaskedTokenizer) else tokenizer


def mask_of(tokenizer: Tokenizer) -> int:
    """The id of its mask. Raises ValueError where there is none."""
    for name in NAMES:
        if name in tokenizer.special:
            return tokenizer.special[name]
    raise ValueError("this tokenizer has no mask")
