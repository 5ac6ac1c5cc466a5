"""How likely a model finds continuations of contexts, each on its own. Knows tokens; not the harness, nor text."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from gptforge.data.batch import IGNORE, Batch
from gptforge.errors import NumericalError
from gptforge.evals.score import score
from gptforge.model import Transformer

WIDTH = 32  # rows are as wide as the next multiple of it, whatever stands beside them: the same products each time

Pair = tuple[Sequence[int], Sequence[int]]  # tokens of a context, at least one, and of what continues it


@dataclass(frozen=True, slots=True)
class Window:
    """What the model sees at once: `labels` follow the last len(labels) of `inputs`; `request` is whose it is."""

    request: int
    inputs: Sequence[int]
    labels: Sequence[int]


def windows(context: Sequence[int], continuation: Sequence[int], block_size: int) -> Iterator[Pair]:
    """(inputs, labels) of at most `block_size` tokens that predict each token of the continuation once.

    A context that is too long loses its beginning. A continuation longer than block_size is predicted as the harness
    defines it for whole texts (loglikelihood_rolling): window after window, the first token of each from one token
    before it, but the last window reaches back as far as it can.
    """
    n = len(continuation)
    if n <= block_size:
        if n:
            yield [*context, *continuation][-block_size - 1 : -1], continuation
        return
    before = [context[-1], *continuation]  # before[i] stands before continuation[i]
    for start in range(0, n, block_size):
        end = min(start + block_size, n)
        yield before[end - block_size : end], continuation[start:end]


def loglikelihoods(
    model: Transformer,
    pairs: Sequence[Pair],
    rows: Callable[[int], int],
    autocast: Callable[[], AbstractContextManager[object]],
) -> Iterator[tuple[int, float, bool]]:
    """Yields, as they are found, the number of a pair, ln p of its continuation, and whether that is what greedy
    decoding gives (of equally likely tokens, the one of the lowest id).

    `rows(width)` is how many rows of so many tokens are computed at once. It changes speed and memory; numbers by
    less than 1e-6 a token in float32, and greediness not at all. Raises NumericalError for what is no number.
    """
    block_size = model.cfg.block_size
    todo = [Window(n, *pair) for n, both in enumerate(pairs) for pair in windows(*both, block_size)]
    left = Counter(window.request for window in todo)
    sums, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
    yield from ((n, 0.0, True) for n in range(len(pairs)) if not left[n])

    def width_of(window: Window) -> int:
        return min(block_size, -(-len(window.inputs) // WIDTH) * WIDTH)

    # The widest first: what memory does not hold is known at once
    for width, group in groupby(sorted(todo, key=width_of, reverse=True), width_of):
        alike, size = list(group), rows(width)
        for first in range(0, len(alike), size):
            chunk = alike[first : first + size]
            scores = score(model, [_batch(chunk, width)], autocast)
            ends = np.cumsum([len(window.labels) for window in chunk])
            nats, hits = np.split(scores.nats, ends[:-1]), np.split(scores.hits[:, 0], ends[:-1])
            for window, lost, right in zip(chunk, nats, hits, strict=True):
                n = window.request
                sums[n] -= lost.sum()
                greedy[n] &= right.all()
                left[n] -= 1
                if not left[n]:
                    yield n, _checked(sums[n]), bool(greedy[n])


def _batch(chunk: Sequence[Window], width: int) -> Batch:
    """The windows from the left; behind them tokens that no label of theirs depends on."""
    inputs = torch.zeros(len(chunk), width, dtype=torch.int64)
    labels = torch.full((len(chunk), width), IGNORE, dtype=torch.int64)
    for row, window in enumerate(chunk):
        end = len(window.inputs)
        inputs[row, :end] = torch.tensor(window.inputs)
        labels[row, end - len(window.labels) : end] = torch.tensor(window.labels)
    return Batch(inputs, labels)


def _checked(total: float) -> float:
    if not np.isfinite(total):
        raise NumericalError(
            "the model's log-likelihood of a continuation is not finite",
            fix=["runtime.dtype=float32", "an earlier checkpoint: ckpt=PATH"],
        )
    return float(total)
