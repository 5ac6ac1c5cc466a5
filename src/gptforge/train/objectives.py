"""What is learnt: (model, batch) -> Loss. A method of training is an objective, never a second loop."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from gptforge.data.batch import Batch


class Loss(NamedTuple):
    """A summed loss in nats, so that the loop can divide by the tokens of the whole step."""

    total: Tensor
    extra: dict[str, Tensor]


Objective = Callable[[nn.Module, Batch], Loss]


def next_token(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy of each next token: pre-training."""
    return Loss(model(batch.inputs, documents=batch.documents, targets=batch.labels), {})
