"""The loss of a model over given batches: exact, deterministic, and comparable between tokenizers.

nats per token depends on what a token is; bits per byte divides by the bytes of the text that was
predicted instead, so that character, byte and BPE models stand on one scale.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptforge.data.batch import IGNORE, Batch
from gptforge.dist import Dist


@dataclass(frozen=True, slots=True)
class LossResult:
    """loss in nats per token, over `tokens` predicted tokens that stand for `bytes` bytes of text."""

    loss: float
    tokens: int
    bytes: int

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        return self.loss * self.tokens / math.log(2) / max(1, self.bytes)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    token_bytes: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
    poll: Callable[[], None] = lambda: None,
    dist: Dist | None = None,
) -> LossResult:
    """The mean loss of `model` over all learnt tokens of `batches`, without dropout.

    `token_bytes` (V,) says how many bytes each token stands for; `poll` is called before each batch and
    may raise to give up. With `dist` the processes take turns: each computes the batches that are its own, and the
    sums are added up. The random state is not touched.
    """
    dist = dist or Dist(token_bytes.device)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total, tokens, size = 0.0, 0, 0
    try:
        for batch in own_share(batches, dist):
            poll()
            if batch is None:
                continue
            learnt = batch.labels[batch.labels != IGNORE]
            tokens += learnt.numel()
            size += int(token_bytes[learnt].sum())
            moved = batch.to(device)
            with autocast():
                total += float(model(moved.inputs, documents=moved.documents, targets=moved.labels))
    finally:
        model.train(was_training)
    total, tokens, size = dist.sum(total, tokens, size)
    tokens, size = int(tokens), int(size)
    return LossResult(total / max(1, tokens), tokens, size)


def own_share(batches: Iterable[Batch], dist: Dist) -> Iterator[Batch | None]:
    """Every world_size-th batch, so that all processes do as many steps: None where the last round has none left."""
    n = -1
    for n, batch in enumerate(batches):
        if n % dist.world_size == dist.rank:
            yield batch
    if 0 < (n + 1) % dist.world_size <= dist.rank:
        yield None
