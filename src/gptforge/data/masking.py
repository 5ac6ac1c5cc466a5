"""Masked language modelling: which tokens of a window are to be found, and what stands in their place.

Makes it of the batches of next-token prediction: what would have been predicted there is what is seen here, so that
both see the same text in the same order. What is drawn depends on the number of the window alone: no state.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from gptforge.config.objective import ObjectiveConfig
from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import TrainLoader
from gptforge.data.mixture import MixedOrder
from gptforge.data.order import WindowOrder, hashed, uniform
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.mask import mask_of

TRAINING, EVALUATION = 2, 3  # apart from the numbers by which orders are drawn


@dataclass(frozen=True, slots=True)
class Masking:
    """`mask` is one of the `vocab_size` ids, and stands for none of a text; `key` is what the draws depend on.

    Of the tokens a share `rate` is to be found, each drawn by itself, and of each window one at least. Of those a share
    `masked` is replaced by the mask, a share `random` by any other token, and the rest is left as it is, so that the
    model has to know of every token whether it fits (Devlin et al. 2018, arXiv:1810.04805).
    """

    mask: int
    vocab_size: int
    rate: float
    masked: float
    random: float
    key: int

    def applied(self, batch: Batch, windows: np.ndarray) -> Batch:
        """Of a batch of next-token prediction, whose rows are the windows number `windows` (B,)."""
        tokens = batch.labels.numpy()
        there = tokens != IGNORE
        drawn = uniform(self.key, windows, 3 * tokens.shape[1])
        whether, how, which = np.split(drawn, 3, axis=1)
        whether = np.where(there, whether, 2.0)
        found = there & ((whether < self.rate) | (whether == whether.min(axis=1, keepdims=True)))
        others = (which * (self.vocab_size - 1)).astype(np.int64)
        others += others >= self.mask
        placed = np.where(how < self.masked, self.mask, np.where(how < self.masked + self.random, others, tokens))
        inputs = np.where(found, placed, np.where(there, tokens, 0))
        labels = np.where(found, tokens, IGNORE)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(labels), _apart(batch, there), both_sides=True)


def masking_of(cfg: ObjectiveConfig, tokenizer: Tokenizer, seed: int | None) -> Masking:
    """That of a run; without `seed` that of all evaluations, which hide the same tokens whatever the run's seed is."""
    key = hashed(EVALUATION) if seed is None else hashed(seed, TRAINING)
    mask, vocab_size = mask_of(tokenizer), tokenizer.vocab_size
    return Masking(mask, vocab_size, cfg.mask_rate, cfg.mask_fraction, cfg.random_fraction, key)


class MaskedLoader:
    """The batches of a TrainLoader with tokens hidden: in each pass over the text others (Liu et al. 2019)."""

    def __init__(self, loader: TrainLoader, masking: Masking) -> None:
        self._loader, self._masking = loader, masking

    @property
    def order(self) -> WindowOrder | MixedOrder:
        return self._loader.order

    @property
    def windows_per_epoch(self) -> int:
        return self._loader.windows_per_epoch

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """As that of the TrainLoader."""
        return self._masking.applied(self._loader.batch(step, rows), self._loader.samples(step, rows))


def masked(batches: Iterable[Batch], masking: Masking) -> Iterator[Batch]:
    """Batches of an evaluation with tokens hidden, always the same ones: windows are counted through."""
    before = 0
    for batch in batches:
        n = len(batch.inputs)
        yield masking.applied(batch, np.arange(before, before + n))
        before += n


def _apart(batch: Batch, there: np.ndarray) -> torch.Tensor | None:
    """The documents; where rows are filled up, what fills them is one of its own, for tokens see what is after them."""
    if there.all():
        return batch.documents
    own = torch.from_numpy(there)
    return torch.where(own, 0 if batch.documents is None else batch.documents, -1)
