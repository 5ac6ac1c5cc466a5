"""Windows out of several texts in given shares: a pure function of (seed, index), in constant memory.

Knows numbers only: where each text's tokens are, and its weight. Within a text the order is that of order.py.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gptforge.data.order import WindowOrder, hashed, permuted

BLOCK = 1000  # samples in which each text has its share to the sample, whatever is read of it


class MixedOrder:
    """Samples from several texts. Of each BLOCK samples a text has its share, at places that are drawn anew each time.

    So a small text with a large weight is read more often than a large one with a small weight; an epoch has as many
    samples as all texts have windows together. Weighted mixtures of texts: Brown et al. 2020, section 2.2.
    """

    def __init__(self, orders: Sequence[WindowOrder], firsts: Sequence[int], weights: Sequence[float], seed: int):
        """`firsts` are the first tokens of the texts, `weights` positive numbers whose sum does not matter."""
        self._orders = orders
        self._firsts = firsts
        self._seed = seed
        self._quotas = quotas(weights)
        self.windows_per_epoch = sum(order.windows_per_epoch for order in orders)

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """The first token of the windows that are samples number `indices` (m,) of the run: int64 (m,)."""
        indices = np.asarray(indices, dtype=np.int64)
        text, sample = self.places(indices)
        starts = np.empty_like(indices)
        for n, (order, first) in enumerate(zip(self._orders, self._firsts, strict=True)):
            chosen = text == n
            if chosen.any():
                starts[chosen] = first + order.starts(sample[chosen])
        return starts

    def places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which text each sample is of, and which of that text's samples it is: int64 (m,) both."""
        blocks, places = np.divmod(np.asarray(indices, dtype=np.int64), BLOCK)
        text, sample = np.empty_like(places), np.empty_like(places)
        for block in np.unique(blocks).tolist():
            chosen = blocks == block
            texts, ranks = _block(tuple(self._quotas), hashed(self._seed, block))
            text[chosen] = texts[places[chosen]]
            sample[chosen] = block * self._quotas[text[chosen]] + ranks[places[chosen]]
        return text, sample

    @property
    def shares(self) -> list[float]:
        """Of each text, how much of what is read is of it."""
        return (self._quotas / BLOCK).tolist()

    def passes(self, samples: int) -> list[float]:
        """How often each text is read in so many samples."""
        return [samples * s / order.windows_per_epoch for s, order in zip(self.shares, self._orders, strict=True)]


def quotas(weights: Sequence[float]) -> np.ndarray:
    """How many of BLOCK samples are of each text: whole numbers, the largest remainders rounded up, int64 (n,)."""
    exact = np.array(weights, dtype=np.float64) / sum(weights) * BLOCK
    whole = np.floor(exact).astype(np.int64)
    missing = BLOCK - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return whole


@lru_cache(maxsize=4)
def _block(quotas: tuple[int, ...], key: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each place in a block the text, and how many samples of that text are before it: int64 (BLOCK,) both."""
    texts = np.searchsorted(np.cumsum(quotas), permuted(np.arange(BLOCK), BLOCK, key), side="right")
    ranks = np.empty(BLOCK, dtype=np.int64)
    for n in range(len(quotas)):
        ranks[texts == n] = np.arange(quotas[n])
    return texts, ranks
