"""From scores to numbers: sums over stretches of a text, the figures that follow, and their bootstrap intervals.

Knows arrays only; everything is summed in float64, in the order of the text.
"""

import math
from dataclasses import dataclass

import numpy as np

from gptforge.evals.score import Scores
from gptforge.tokenizers import Tokenizer

# The columns of a table of sums: nats, tokens, bytes and characters of the scored tokens, and how many were the
# likeliest token or among the five likeliest.
COLUMNS = 6
FEWEST_DOCUMENTS = 20  # with fewer, drawing documents says little
MOST_UNITS = 2000  # beyond it, neighbours are drawn together
DRAWN_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores with what their tokens stand for: `sizes` (n, 2) int64, bytes and characters of each scored token."""

    scores: Scores
    sizes: np.ndarray

    def sums(self, starts: np.ndarray) -> np.ndarray:
        """Sums over the stretches that begin at the scored tokens `starts` (m,), ascending: (m, COLUMNS) float64."""
        ones = np.ones(len(self.scores.nats))
        columns = [self.scores.nats, ones, *self.sizes.T, *self.scores.hits.T]
        return np.stack([np.add.reduceat(column.astype(np.float64), starts) for column in columns], axis=1)


def token_sizes(tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of UTF-8 of each token, and how many characters begin in it: (V, 2) int64."""
    sizes = tokenizer.token_bytes()
    # A byte of the form 10xxxxxx goes on with a character; any other begins one.
    begun = [sum(b & 0xC0 != 0x80 for b in tokenizer.decode_bytes([i])) if sizes[i] else 0 for i in range(len(sizes))]
    return np.stack([sizes, np.array(begun, dtype=np.int64)], axis=1)


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """What sums (..., COLUMNS) mean: each figure (...), in nats per token, bits, and shares of the tokens."""
    nats, tokens, size, characters, first, among = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    bits = nats / math.log(2)
    loss = nats / np.maximum(tokens, 1)
    return {
        "loss": loss,
        "perplexity": np.exp(np.minimum(loss, 700.0)),
        "bits_per_byte": bits / np.maximum(size, 1),
        "bits_per_character": bits / np.maximum(characters, 1),
        "accuracy_top1": first / np.maximum(tokens, 1),
        "accuracy_top5": among / np.maximum(tokens, 1),
    }


@dataclass(frozen=True, slots=True)
class Units:
    """The stretches of a text that are drawn: where they begin among the scored tokens, and what they are called."""

    starts: np.ndarray
    what: str


def units(n_scored: int, document_starts: np.ndarray, block_size: int) -> Units:
    """Documents if there are enough of them, else blocks of windows, n^(1/3) of n (Hall, Horowitz and Jing 1995).

    Text is alike within a scene or a file, so single tokens or windows drawn one by one would make intervals that
    are too narrow; blocks keep neighbours together (Carlstein 1986).
    """
    # Token i is scored number i-1: the first token of the text is not predicted.
    documents = np.unique(np.maximum(document_starts - 1, 0))
    documents = documents[documents < n_scored]
    if len(documents) >= FEWEST_DOCUMENTS:
        together = -(-len(documents) // MOST_UNITS)
        groups = f" in {-(-len(documents) // together):,} groups of neighbours" if together > 1 else ""
        return Units(documents[::together], f"{len(documents):,} documents{groups}")
    n_windows = -(-n_scored // block_size)
    length = max(math.ceil(n_windows ** (1 / 3)), -(-n_windows // MOST_UNITS))
    starts = np.arange(0, n_scored, length * block_size)
    few = "one document" if len(documents) == 1 else f"{len(documents)} documents are too few to draw"
    return Units(starts, f"{len(starts):,} blocks of {length * block_size:,} tokens ({few})")


def intervals(sums: np.ndarray, resamples: int, confidence: float, seed: int) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap (Efron 1979) over units with these sums (m, COLUMNS): low and high of each figure.

    Units are drawn with replacement, as many as there are, `resamples` times. Nothing for fewer than two units.
    """
    m = len(sums)
    if m < 2 or not resamples:
        return {}
    rng = np.random.default_rng(seed)
    size = max(1, DRAWN_AT_ONCE // m)
    totals = [
        rng.multinomial(m, np.full(m, 1 / m), size=min(size, resamples - first)) @ sums
        for first in range(0, resamples, size)
    ]
    tail = (1 - confidence) / 2
    drawn = figures(np.concatenate(totals))
    bounds = {name: np.quantile(values, [tail, 1 - tail]) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
