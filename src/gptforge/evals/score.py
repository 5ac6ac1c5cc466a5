"""How well a model predicts each token of a text: nats, and whether the token was among its first choices.

The numbers do not depend on the batch size beyond rounding. Knows a model and its batches; not whose text it is.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptforge.data.batch import IGNORE, Batch
from gptforge.model import Transformer

TOP = (1, 5)  # a token is right when it is among so many of the likeliest
# Products of other shapes add in another order, which changes logits in float32 by some 1e-6 of their size. What
# lies closer to its rivals is looked at once more in a batch of one window, always of the same shape.
CLOSE = 1e-4
LOGITS_AT_ONCE = 2**23  # in float64: 64 MiB


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each scored token, in the order of the text: `nats` (n,) float64, -ln p; `hits` (n, len(TOP)) bool."""

    nats: np.ndarray
    hits: np.ndarray


@torch.no_grad()
def score(
    model: Transformer,
    batches: Iterable[Batch],
    autocast: Callable[[], AbstractContextManager[object]],
    on_labels: Callable[[int], None] = lambda n: None,
) -> Scores:
    """The scores of every label of `batches` that is not IGNORE. `on_labels` is told how many a batch had.

    Losses are computed in float64 from float32 logits. In float32 the mean loss then differs by less than 1e-7
    between batch sizes, and no hit differs; under bfloat16 autocast both may, by some 1e-5.
    """
    device = next(model.parameters()).device
    nats, hits = [np.empty(0)], [np.empty((0, len(TOP)), dtype=bool)]
    for batch in batches:
        moved = batch.to(device)
        owner = torch.nonzero(batch.labels != IGNORE)[:, 0]  # the row that each label stands in
        with autocast():
            found, right, unsure = _scored(model, moved)
            for row in torch.unique(owner[unsure]).tolist():
                _, again, _ = _scored(model, moved.rows(row, row + 1), exactly=True)
                right[owner == row] = again
        nats.append(found.numpy())
        hits.append(right.numpy())
        on_labels(len(owner))
    return Scores(np.concatenate(nats), np.concatenate(hits))


def _scored(model: Transformer, batch: Batch, exactly: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Nats (n,), hits (n, len(TOP)) and which hits (n,) are too close to call, of the batch's n labels; on the CPU."""
    learnt = batch.labels != IGNORE
    rows, targets = model.hidden(batch.inputs, batch.documents)[learnt], batch.labels[learnt]
    size = max(1, LOGITS_AT_ONCE // model.vocab_size)
    parts = zip(rows.split(size), targets.split(size), strict=True)
    found = [_compared(model.logits(part), wanted, exactly) for part, wanted in parts]
    nats, hits, unsure = (torch.cat(column).cpu() for column in zip(*found, strict=True))
    return nats, hits, unsure


def _compared(logits: Tensor, targets: Tensor, exactly: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same from logits (n, V) and targets (n,); `exactly` leaves no hit open.

    Of equally likely tokens the one of the lowest id comes first.
    """
    if logits.device.type == "mps":  # it has no float64
        logits, targets = logits.cpu(), targets.cpu()
    own = logits.gather(1, targets[:, None])
    wide = logits.double()
    nats = wide.logsumexp(1) - wide.gather(1, targets[:, None])[:, 0]
    if exactly:
        earlier = torch.arange(logits.size(1), device=logits.device) < targets[:, None]
        fewest = most = (logits > own).sum(1) + ((logits == own) & earlier).sum(1)
    else:
        fewest, most = (logits > own + CLOSE).sum(1), (logits >= own - CLOSE).sum(1) - 1
    hits = torch.stack([most < k for k in TOP], dim=1)
    unsure = torch.stack([(fewest < k) & (most >= k) for k in TOP], dim=1).any(1)
    return nats, hits, unsure


def tokens_before(n_labels: int, block_size: int, stride: int, documents: np.ndarray | None = None) -> np.ndarray:
    """How many tokens the model saw when it predicted each label, (n_labels,) int64: those of its window so far.

    With the first token of each of `documents` (n,) only those of the label's document and the one before it.
    """
    index = np.arange(n_labels)
    window = np.maximum(0, (index - block_size) // stride + 1)
    seen = index - window * stride + 1
    if documents is None:
        return seen
    own = documents[np.searchsorted(documents, index + 1, side="right") - 1]
    return np.minimum(seen, index - own + 2)
