"""Interpolated Kneser-Ney n-grams over token ids, in numpy: what can be predicted from the last few tokens alone.

Kneser and Ney 1995; the interpolated and modified form is that of Chen and Goodman 1999 ("An empirical study of
smoothing techniques for language modeling"). Knows ids only: neither texts nor models.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TOKENS_AT_ONCE = 1 << 20
# For a level whose counts of counts give no discounts, as with few tokens or few distinct ones; those of KenLM
# (Heafield et al. 2013) with --discount_fallback.
FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Level:
    """The distinct k-grams of a text, in the order of `keys` (U,): number of the history * V + token, ascending.

    `counts` (U,) of each: how often it occurs at the highest level, below it after how many different tokens. Of
    each history: `totals`, the sum of its counts, and `reserved`, how much of that the discounts take away.
    """

    keys: np.ndarray
    counts: np.ndarray
    discounts: np.ndarray  # by count 0, 1, 2, 3 and more
    totals: np.ndarray
    reserved: np.ndarray


class KneserNey:
    """p(token | the order-1 tokens before it), for every token of the vocabulary, seen or not.

    Below the unigrams lies the uniform distribution, so that nothing is impossible and all sums to 1. Learning takes
    up to 100 bytes of memory a token; about 20 stay for each distinct k-gram of each level.
    """

    def __init__(self, tokens: np.ndarray, order: int, vocab_size: int, discounts: np.ndarray | None = None) -> None:
        """`tokens` (N,), N >= 1. `discounts` (order, 3), for counts of 1, 2, 3 and more; None: estimated, modified."""
        self.order = min(order, len(tokens))
        self.vocab_size = vocab_size
        self.levels = list(_levels(np.asarray(tokens).astype(np.int64), self.order, vocab_size, discounts))

    def nats(self, tokens: np.ndarray) -> np.ndarray:
        """-ln p of each of the tokens (n,) but the first, given those before it: (n-1,) float64."""
        parts = [np.empty(0)]
        for start in range(1, len(tokens), TOKENS_AT_ONCE):
            seen = max(0, start - self.order + 1)
            part = np.asarray(tokens[seen : start + TOKENS_AT_ONCE]).astype(np.int64)
            parts.append(-np.log(self._probabilities(part)[start - seen :]))
        return np.concatenate(parts)

    def _probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """p of each token (n,) given those before it in the same array."""
        p = np.full(len(tokens), 1 / self.vocab_size)
        history = np.zeros(len(tokens), dtype=np.int64)  # -1: never seen
        for level in self.levels:
            key = history * self.vocab_size + tokens
            place = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
            known = (history >= 0) & (level.keys[place] == key)
            count = np.where(known, level.counts[place], 0)
            total = np.where(history >= 0, level.totals[history], 0)
            kept = count - level.discounts[np.minimum(count, 3)]
            p = np.where(total > 0, (kept + level.reserved[history] * p) / np.maximum(total, 1), p)
            history = np.concatenate([[-1], np.where(known, place, -1)[:-1]])
        return p


def _levels(tokens: np.ndarray, order: int, vocab_size: int, discounts: np.ndarray | None) -> Iterator[Level]:
    """Level 1 to `order`, each from the one before: a k-gram is the number of its first k-1 tokens, and its last."""

    def level(k: int, keys: np.ndarray, counts: np.ndarray, n_histories: int) -> Level:
        reduced = _estimated(counts) if discounts is None else discounts[k - 1]
        by_count = np.concatenate([[0.0], reduced])
        history = keys // vocab_size
        totals = np.bincount(history, counts, n_histories)
        reserved = np.bincount(history, by_count[np.minimum(counts, 3)], n_histories)
        return Level(keys, counts, by_count, totals, reserved)

    history, n_histories = np.zeros(len(tokens), dtype=np.int64), 1
    below: tuple[np.ndarray, np.ndarray, int] | None = None
    for k in range(1, order + 1):
        grams = history * vocab_size + tokens[k - 1 :]
        keys, first, numbers, counts = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
        if below is not None:  # each distinct k-gram is one more token that its last k-1 tokens follow
            shorter, shorter_numbers, n = below
            yield level(k - 1, shorter, np.bincount(shorter_numbers[1:][first], minlength=len(shorter)), n)
        below = keys, numbers, n_histories
        history, n_histories = numbers[:-1], len(keys)
        if k == order:
            yield level(k, keys, counts, below[2])


def _estimated(counts: np.ndarray) -> np.ndarray:
    """The discounts of modified Kneser-Ney for counts of 1, 2, 3 and more, (3,), from how many counts are 1 to 4."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array(FALLBACK)
    y = n1 / (n1 + 2 * n2)
    found = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return found if (found > 0).all() else np.array(FALLBACK)
