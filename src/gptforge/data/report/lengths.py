"""How long the documents and lines of a prepared text are. Knows ids and where documents begin, no text."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from gptforge.data.leakage import CHUNK
from gptforge.data.mapped import part
from gptforge.data.store import Dataset
from gptforge.tokenizers.base import Tokenizer

QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "95%": 0.95, "most": 1.0}
BINS_A_DECADE = 6
LINE_CHUNKS = 8  # of CHUNK tokens of each split, in which line ends are looked for; of more, so many evenly spread


def document_lengths(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of each document of train (n_train,) and of val (n_val,): int64, with the sign that ends it."""
    train, val = ((data.train_starts, len(data.train)), (data.val_starts, len(data.val)))
    return tuple(np.diff(np.append(starts, end)) for starts, end in (train, val))  # type: ignore[return-value]


def quantiles(lengths: np.ndarray) -> dict[str, int]:
    """Some quantiles of lengths (n,), by name; empty for none."""
    return {name: int(np.quantile(lengths, q)) for name, q in QUANTILES.items()} if len(lengths) else {}


def histogram(lengths: np.ndarray) -> list[dict[str, int]]:
    """Lengths (n,) in bins that are equally wide on a logarithmic scale, six a decade.

    `count` of them are from `least` to `most`, and together `total` long; those of length 0 are left out.
    """
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return []
    edges = _edges(int(lengths.max()))
    bins = np.searchsorted(edges, lengths, side="right") - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    totals = np.bincount(bins, weights=lengths, minlength=len(edges) - 1)
    first = int(np.flatnonzero(counts)[0])
    return [
        {"least": int(a), "most": int(b) - 1, "count": int(count), "total": int(total)}
        for (a, b), count, total in list(zip(pairwise(edges.tolist()), counts, totals, strict=True))[first:]
    ]


def _edges(longest: int) -> np.ndarray:
    """The smallest lengths of bins, and of the first that is not needed: int64, ascending, the first 1."""
    powers = np.arange(BINS_A_DECADE * (len(str(longest)) + 1) + 1) / BINS_A_DECADE
    edges = np.unique(np.ceil(np.round(10.0**powers, 6)).astype(np.int64))
    return edges[: int(np.searchsorted(edges, longest, side="right")) + 1]


def line_facts(data: Dataset) -> dict[str, Any]:
    """The lengths of lines in bytes of UTF-8, without their line feeds; of a long text, of evenly spread parts."""
    found: list[np.ndarray] = [np.empty(0, np.int64)]
    looked_at = 0
    sizes, feeds = data.tokenizer.token_bytes(), _line_feeds(data.tokenizer)
    for ids, starts in ((data.train, data.train_starts), (data.val, data.val_starts)):
        for first, end in _chunks(len(ids)):
            looked_at += end - first
            begins = starts[np.searchsorted(starts, first) : np.searchsorted(starts, end)] - first
            each = _line_lengths(part(ids, first, end), begins, sizes, feeds)
            whole_begin = first == 0 or bool(len(begins) and begins[0] == 0)
            found.append(each[0 if whole_begin else 1 : None if end == len(ids) else -1])
    lengths = np.concatenate(found)
    return {
        "unit": "bytes",
        "looked_at_tokens": looked_at,
        "lines": len(lengths),
        "empty": int((lengths == 0).sum()),
        "quantiles": quantiles(lengths),
        "histogram": histogram(lengths),
    }


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    n_chunks = -(-n // CHUNK)
    for i in np.unique(np.linspace(0, n_chunks - 1, min(n_chunks, LINE_CHUNKS)).astype(int)) if n else ():
        yield int(i) * CHUNK, min(n, (int(i) + 1) * CHUNK)


def _line_feeds(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where line feeds are in tokens: those of token t are offsets[firsts[t] : firsts[t] + counts[t]], in bytes."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    offsets: list[int] = []
    for token in range(tokenizer.vocab_size):
        content = tokenizer.decode_bytes([token])
        if b"\n" in content:
            own = [i for i, byte in enumerate(content) if byte == 0x0A]
            counts[token] = len(own)
            offsets += own
    return np.cumsum(counts) - counts, counts, np.array(offsets, np.int64)


def _line_lengths(
    ids: np.ndarray, begins: np.ndarray, sizes: np.ndarray, feeds: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The bytes of each line of ids (n,); documents begin at tokens `begins`, and a line never spans two."""
    firsts, counts, offsets = feeds
    at = np.concatenate([[0], np.cumsum(sizes[ids])])  # the bytes before each token, and in all
    n_feeds = counts[ids]
    with_feeds = np.flatnonzero(n_feeds)
    repeats = n_feeds[with_feeds]
    nth = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)  # of its token's line feeds
    ends = np.repeat(at[with_feeds], repeats) + offsets[np.repeat(firsts[ids[with_feeds]], repeats) + nth]
    cuts = np.setdiff1d(np.append(at[begins], at[-1]), np.append(ends + 1, 0))  # that are no begin of a line already
    stops, nexts = np.concatenate([cuts, ends]), np.concatenate([cuts, ends + 1])
    order = np.argsort(stops, kind="stable")  # a document ends before the line feed that the next begins with
    stops, nexts = stops[order], nexts[order]
    return stops - np.concatenate([[0], nexts[:-1]])
