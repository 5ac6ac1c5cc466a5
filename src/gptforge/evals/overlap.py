"""How much of a text a model has seen before: passages that are in both texts, token by token.

Knows arrays of ids only.
"""

import math

import numpy as np

TOKENS_AT_ONCE = 1 << 22
BYTES = 50  # about so long is a passage: more than what two texts share by chance
_BASE = 0x9E3779B97F4A7C15  # odd, of no other importance


def passage_length(bytes_per_token: float) -> int:
    """How many tokens a passage has: the power of two that comes nearest to BYTES."""
    return 2 ** max(0, round(math.log2(BYTES / max(bytes_per_token, 1e-9))))


def share_seen(tokens: np.ndarray, learnt: np.ndarray, length: int) -> float | None:
    """The share of the passages of `length` tokens of one text that are also somewhere in the other.

    `length` must be a power of two. None where the text is shorter than a passage. Passages are compared by
    hashes of 64 bits; memory is that of `tokens`, `learnt` is read in portions.
    """
    if len(tokens) < length:
        return None
    passages, counts = np.unique(_hashes(tokens, length), return_counts=True)
    seen = np.zeros(len(passages), dtype=bool)
    for first in range(0, len(learnt) - length + 1, TOKENS_AT_ONCE):
        hashes = _hashes(learnt[first : first + TOKENS_AT_ONCE + length - 1], length)
        place = np.minimum(np.searchsorted(passages, hashes), len(passages) - 1)
        seen[place[passages[place] == hashes]] = True
    return float(counts[seen].sum() / counts.sum())


def _hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """A hash of each passage (n - length + 1,): a polynomial in the ids modulo 2^64, each time of twice as many."""
    hashes = np.asarray(tokens).astype(np.uint64) * np.uint64(_BASE) + np.uint64(1)
    hashes ^= hashes >> np.uint64(29)
    factor, done = _BASE, 1
    while done < length:
        hashes = hashes[:-done] * np.uint64(factor) + hashes[done:]
        factor, done = factor * factor % 2**64, 2 * done
    return hashes
