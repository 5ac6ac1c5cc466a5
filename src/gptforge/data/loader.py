"""Batches from tokens: for training by step number, for evaluation the whole text once.

Knows ids and windows; not which text they are of, nor devices.
"""

from collections.abc import Iterator

import numpy as np
import torch

from gptforge.data.batch import IGNORE, Batch
from gptforge.data.mixture import MixedOrder
from gptforge.data.order import WindowOrder


class TrainLoader:
    """The global batch of each step: samples step*batch_size to (step+1)*batch_size-1 of the order.

    Which rows a process takes, and in how many portions, does not change what the step's samples are.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        block_size: int,
        batch_size: int,
        order: WindowOrder | MixedOrder,
        documents: np.ndarray | None = None,
    ) -> None:
        """`tokens` (N,) of any unsigned type, mapped or not; `batch_size` counts sequences per step; `documents` (n,),
        the first token of each, if tokens shall see their own only."""
        self._tokens = np.asarray(tokens)
        self._documents = documents
        self._span = np.arange(block_size + 1)
        self._batch_size = batch_size
        self.order = order

    @property
    def windows_per_epoch(self) -> int:
        """How many samples one pass over the text has."""
        return self.order.windows_per_epoch

    def samples(self, step: int, rows: slice = slice(None)) -> np.ndarray:
        """The numbers of the samples that these rows are, counted over the run."""
        return step * self._batch_size + np.arange(self._batch_size)[rows]

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Some rows of the global batch of a step (counted from 0), on the CPU."""
        positions = self.order.starts(self.samples(step, rows))[:, None] + self._span
        windows = self._tokens[positions].astype(np.int64)
        return _batch(windows[:, :-1], windows[:, 1:], _owners(positions[:, 1:], self._documents))


def n_eval_windows(n_tokens: int, block_size: int, stride: int | None = None) -> int:
    """How many windows cover the labels 1 .. n_tokens-1, each once; `stride` as in `eval_batches`."""
    return 1 + -(-max(0, n_tokens - 1 - block_size) // (stride or block_size))


def eval_batches(
    tokens: np.ndarray,
    block_size: int,
    batch_size: int,
    limit_windows: int | None = None,
    stride: int | None = None,
    documents: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Batches in which every token but the first is a label exactly once, in the order of the text; always the same.

    The last window is filled up with inputs 0 and labels IGNORE. Windows begin `stride` tokens apart (None:
    block_size), and labels that an earlier window had are IGNORE: all but those of the first window then follow at
    least block_size - stride tokens. `limit_windows` takes so many windows, evenly spread over the text, for an
    estimate. `documents` as in `TrainLoader`. Raises ValueError for fewer than 2 tokens.
    """
    tokens = np.asarray(tokens)
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens have no label")
    stride = stride or block_size
    n_windows = n_eval_windows(len(tokens), block_size, stride)
    n_taken = n_windows if limit_windows is None else max(1, min(limit_windows, n_windows))
    span = np.arange(block_size)
    for first in range(0, n_taken, batch_size):
        taken = np.arange(first, min(first + batch_size, n_taken)) * n_windows // n_taken
        positions = (taken * stride)[:, None] + span
        there = positions + 1 < len(tokens)
        positions[~there] = 0
        new = (span >= block_size - stride) | (taken == 0)[:, None]
        inputs = np.where(there, tokens[positions], 0)
        labels = np.where(there & new, tokens[positions + 1].astype(np.int64), IGNORE)
        yield _batch(inputs, labels, _owners(positions + 1, documents))


def _owners(labels: np.ndarray, documents: np.ndarray | None) -> np.ndarray | None:
    """The number of the document that each label, given by its place in the text, is of; None if nobody asks.

    It is the input's number too: what ends a document, <|endoftext|> or a line feed, is what the next one begins with.
    So its first token is predicted from that alone, as where a text is written from nothing.
    """
    return None if documents is None else np.searchsorted(documents, labels, side="right")


def _batch(inputs: np.ndarray, labels: np.ndarray, documents: np.ndarray | None) -> Batch:
    return Batch(_tensor(inputs), _tensor(labels), None if documents is None else _tensor(documents))


def _tensor(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64))
