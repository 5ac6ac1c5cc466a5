"""The texts that are being written: tokens, contexts and random numbers of each. Knows no model."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor


class Row:
    """One text: its tokens, where the context begins that the model sees, and its own random numbers."""

    def __init__(self, prompt: Sequence[int], seed: int, sample: int, block_size: int) -> None:
        self.tokens = list(prompt)
        self.start = max(0, len(self.tokens) - block_size)
        self.block_size = block_size
        # From seed and number of the sample alone: what stands beside a text in a batch does not change it.
        self.draws = random.Random(f"{seed}/{sample}")

    @property
    def context(self) -> list[int]:
        return self.tokens[self.start :]

    def grow(self, token: int) -> bool:
        """Adds a token; True if the context had no room for it and now begins later."""
        self.tokens.append(token)
        if len(self.tokens) - self.start <= self.block_size:
            return False
        self.start = len(self.tokens) - max(1, self.block_size // 2)
        return True


def mark(rows: Sequence[Row], vocab_size: int) -> Tensor:
    """(B, V), true where a row has a token."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for n, row in enumerate(rows):
        seen[n, row.tokens] = True
    return seen
