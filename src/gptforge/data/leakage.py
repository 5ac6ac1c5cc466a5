"""How much of the validation text stands in the training text word for word: shared runs of tokens.

A model that has read a passage predicts it better than it predicts the language; a validation loss with much of
that is too good to be true. Counting shared n-grams is the usual test (Brown et al. 2020, appendix C: 13 words).
Knows ids and where documents begin.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gptforge.data.mapped import part

RUN_BYTES = 64  # of text in a row that two texts hardly share by chance: about thirteen English words
MOST_RUNS = 4_000_000  # of the validation text that are looked for; of more, as many evenly spread
TABLE_BITS = 26  # at most, of hashes that are looked up in a table before they are searched for: 64 MiB
CHUNK = 1 << 22
_BASE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Overlap:
    """`shared` of the `runs` runs of `n` tokens in the validation text occur in the training text.

    `documents`: the validation documents with the largest share, as (number, share), worst first.
    """

    n: int
    runs: int
    shared: int
    documents: tuple[tuple[int, float], ...]

    @property
    def share(self) -> float:
        return self.shared / max(1, self.runs)


def run_length(n_bytes: int, n_tokens: int) -> int:
    """How many tokens are about RUN_BYTES bytes, in a text of so many bytes and tokens."""
    return max(2, round(RUN_BYTES * n_tokens / max(1, n_bytes)))


def overlap(train: np.ndarray, val: np.ndarray, val_starts: np.ndarray, n: int, worst: int = 5) -> Overlap:
    """The runs of `n` tokens of `val` (n_val,) that occur anywhere in `train` (n_train,).

    Memory: some 300 MB at most, however long both are.
    """
    total = max(0, len(val) - n + 1)
    places = np.arange(0, total, max(1, -(-total // MOST_RUNS)))
    wanted = _hashes_at(val, n, places)
    known = np.unique(wanted)
    found = np.zeros(len(known), dtype=bool)
    rest = np.uint64(64 - min(TABLE_BITS, (16 * len(known)).bit_length()))
    likely = np.zeros(1 << int(64 - rest), dtype=bool)  # the first bits tell most runs apart, ten times sooner
    likely[(known >> rest).astype(np.int64)] = True
    for hashes in hashes_of_runs(train, n):
        hashes = hashes[likely[(hashes >> rest).astype(np.int64)]]
        at = np.searchsorted(known, hashes)
        at[at == len(known)] = 0
        found[at[known[at] == hashes] if len(known) else []] = True
    hit = found[np.searchsorted(known, wanted)]
    document = np.searchsorted(val_starts, places, side="right") - 1
    runs = np.bincount(document, minlength=len(val_starts))
    shares = np.bincount(document, weights=hit, minlength=len(val_starts)) / np.maximum(1, runs)
    order = np.argsort(-shares, kind="stable")[:worst]
    documents = tuple((int(i), float(shares[i])) for i in order if shares[i] > 0)
    return Overlap(n, len(places), int(hit.sum()), documents)


def _hashes_at(tokens: np.ndarray, n: int, places: np.ndarray) -> np.ndarray:
    """The hashes of the runs that begin at `places` (m,), ascending: uint64 (m,)."""
    found = np.empty(len(places), np.uint64)
    first = 0
    for hashes in hashes_of_runs(tokens, n):
        begin, end = np.searchsorted(places, (first, first + len(hashes)))
        found[begin:end] = hashes[places[begin:end] - first]
        first += len(hashes)
    return found


def hashes_of_runs(tokens: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """A hash of each run of `n` tokens, in pieces: sum over i of token[i] * BASE^(n-1-i), modulo 2^64."""
    for first in range(0, len(tokens) - n + 1, CHUNK):
        yield _polynomial(part(tokens, first, first + CHUNK + n - 1).astype(np.uint64) + np.uint64(1), n)


def _polynomial(values: np.ndarray, n: int) -> np.ndarray:
    """The hashes of all runs of `n` values: those of twice the length from those of half, so log n steps."""
    if n == 1:
        return values
    half = n // 2
    short = _polynomial(values, half)
    longer = short[: len(values) - 2 * half + 1] * np.uint64(pow(_BASE, half, 1 << 64))
    longer = longer + short[half:][: len(longer)]
    if n % 2:
        longer = longer[: len(values) - n + 1] * np.uint64(_BASE) + values[n - 1 :]
    return longer
