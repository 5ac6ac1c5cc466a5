"""How often each token occurs. Knows ids and a tokenizer, no text."""

from typing import Any

import numpy as np

from gptforge.data.leakage import CHUNK
from gptforge.data.mapped import part
from gptforge.data.store import Dataset
from gptforge.tokenizers.base import Tokenizer
from gptforge.tokenizers.report import token_text

SHOWN = 24
SELDOM = 10  # occurrences: of fewer a model learns little
FIRST = (1, 10, 100, 1000, 10_000)
CURVE_POINTS = 60
FIT_RANKS = 50  # of fewer frequent tokens an exponent says nothing


def token_counts(data: Dataset) -> np.ndarray:
    """How often each token occurs in train and val: (vocab_size,) int64. Reads all tokens."""
    counts = np.zeros(data.tokenizer.vocab_size, dtype=np.int64)
    for ids in (data.train, data.val):
        for first in range(0, len(ids), CHUNK):
            counts += np.bincount(part(ids, first, first + CHUNK), minlength=len(counts))
    return counts


def use_facts(counts: np.ndarray, tokenizer: Tokenizer) -> dict[str, Any]:
    """What the counts (vocab_size,) of tokens say, as JSON values.

    `bits_per_byte` is the entropy of the frequencies: what a model reaches that knows nothing but them. `curve` has
    (rank, count) of tokens by their frequency, and `zipf` the power law through it: count = scale * rank ** -exponent
    (Zipf 1949), by least squares on logarithms, over the ranks that occur SELDOM times at least; None for too few.
    """
    order = np.argsort(-counts, kind="stable")
    ranked = counts[order]
    ranked = ranked[ranked > 0]
    n_tokens, n_bytes = int(ranked.sum()), int(counts @ tokenizer.token_bytes())
    shares = ranked / max(1, n_tokens)
    bits = float(-(shares * np.log2(shares)).sum()) + 0.0
    return {
        "used": len(ranked),
        "unused": len(counts) - len(ranked),
        "seldom": int((ranked < SELDOM).sum()),
        "seldom_below": SELDOM,
        "bits_per_token": round(bits, 4),
        "bits_per_byte": round(bits * n_tokens / max(1, n_bytes), 4),
        "first": [[n, round(float(shares[:n].sum()), 5)] for n in FIRST if n < len(ranked)],
        "frequent": [
            {"id": int(i), "text": token_text(tokenizer, int(i)), "count": int(counts[i])}
            for i in order[: min(SHOWN, len(ranked))]
        ],
        "curve": [[int(rank), int(ranked[rank - 1])] for rank in _spread(len(ranked), CURVE_POINTS)],
        "zipf": _zipf(ranked[ranked >= SELDOM]),
    }


def _spread(n: int, points: int) -> np.ndarray:
    """At most so many of the ranks 1 to n, evenly on a logarithmic scale."""
    return np.unique(np.geomspace(1, n, points).round().astype(np.int64)) if n else np.empty(0, np.int64)


def _zipf(ranked: np.ndarray) -> dict[str, float] | None:
    if len(ranked) < FIT_RANKS:
        return None
    ranks = _spread(len(ranked), CURVE_POINTS)
    slope, level = np.polyfit(np.log(ranks), np.log(ranked[ranks - 1]), 1)
    return {"exponent": round(float(-slope), 4), "scale": round(float(np.exp(level)), 2)}
