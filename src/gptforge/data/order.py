"""Which window of a text is read when: a pure function of (seed, epoch, index), in constant memory.

Knows numbers only, no tokens. No state: resuming at a sample is asking for that sample.
"""

import numpy as np

_MASK = (1 << 64) - 1
_ROUNDS = 6  # even: each half is changed as often as the other


def _mixed(value: int) -> int:
    """One step of splitmix64: a number whose bits all depend on all bits of `value`."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hashed(*numbers: int) -> int:
    """64 bits that depend on each of the numbers and on their order."""
    state = 0
    for number in numbers:
        state = _mixed(state ^ (number & _MASK))
    return state


def _mixed_array(values: np.ndarray) -> np.ndarray:
    """The last two steps of `_mixed`, for an array of uint64; multiplication wraps."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniform(key: int, rows: np.ndarray, columns: int) -> np.ndarray:
    """Numbers in [0, 1) that depend on `key`, row and column alone, for row numbers (m,): float64 (m, columns).

    Each row is a sequence of splitmix64 (Steele et al. 2014) from a seed that its number gives.
    """
    seeds = _mixed_array(np.asarray(rows).astype(np.uint64) ^ np.uint64(key))
    steps = (np.arange(columns, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed_array(seeds[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def permuted(indices: np.ndarray, n: int, key: int) -> np.ndarray:
    """Where a permutation of 0 .. n-1, chosen by `key`, sends the indices (m,): int64 (m,), no table.

    A Feistel network permutes the smallest 2^b >= n numbers; what falls outside 0 .. n-1 goes through it
    again until it does not, which leaves a permutation of 0 .. n-1. Less than half of them are outside, so
    two passes are enough on average, whatever n is.
    """
    bits = max(2, (n - 1).bit_length())
    keys = [np.uint64(hashed(key, i)) for i in range(_ROUNDS)]
    values = np.asarray(indices).astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        values[outside] = _feistel(values[outside], bits, keys)
        outside = values >= np.uint64(n)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, bits: int, keys: list[np.uint64]) -> np.ndarray:
    """Changes the high half of the bits by a function of the low half, and the other way round, in turn."""
    n_low = bits // 2
    shift, low_mask, high_mask = np.uint64(n_low), np.uint64((1 << n_low) - 1), np.uint64((1 << (bits - n_low)) - 1)
    high, low = values >> shift, values & low_mask
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        high = high ^ (_mixed_array(low ^ first) & high_mask)
        low = low ^ (_mixed_array(high ^ second) & low_mask)
    return (high << shift) | low


class WindowOrder:
    """Windows of `block_size` inputs and as many labels over `n_tokens` tokens, in epochs of equal length.

    In each epoch the windows lie `block_size` apart from another offset, clipped to the text, so that
    each token but the first is a label at least once: nothing is dropped. With `shuffle` an epoch's windows come in
    a random order, else in that of the text. Raises ValueError for a text shorter than one window.
    """

    def __init__(self, n_tokens: int, block_size: int, seed: int, shuffle: bool = True) -> None:
        if block_size < 1 or n_tokens < block_size + 1:
            raise ValueError(f"{n_tokens} tokens hold no window of {block_size} tokens and their labels")
        self._last_start = n_tokens - 1 - block_size
        self._block_size = block_size
        self._seed = seed
        self._shuffle = shuffle
        # The largest offset is block_size-1: so many windows reach the last token from there.
        self.windows_per_epoch = 1 if self._last_start == 0 else 1 + -(-(n_tokens - 2) // block_size)

    def offset(self, epoch: int) -> int:
        """How far before the multiples of block_size the windows of an epoch start: 0 only where no other can be."""
        if self._block_size == 1 or self._last_start == 0:
            return 0
        return 1 + hashed(self._seed, epoch, 0) % (self._block_size - 1)

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """The first token of the windows that are samples number `indices` (m,) of the run: int64 (m,)."""
        indices = np.asarray(indices, dtype=np.int64)
        starts = np.empty_like(indices)
        epochs, within = np.divmod(indices, self.windows_per_epoch)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            window = within[chosen]
            if self._shuffle:
                window = permuted(window, self.windows_per_epoch, hashed(self._seed, epoch, 1))
            starts[chosen] = np.clip(window * self._block_size - self.offset(epoch), 0, self._last_start)
        return starts

    def start(self, index: int) -> int:
        """The first token of sample number `index` of the run."""
        return int(self.starts(np.array([index]))[0])
