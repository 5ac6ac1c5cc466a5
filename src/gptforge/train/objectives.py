"""What is learnt: (model, batch) -> Loss. A method of training is an objective, never a second loop."""

from collections.abc import Callable, Mapping
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


def hidden_tokens(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy of the tokens that were hidden, or put into question: masked language modelling. What was hidden
    data/masking.py has decided; the labels of all other tokens are IGNORE."""
    return Loss(model(batch.inputs, documents=batch.documents, targets=batch.labels), {})


OBJECTIVES: Mapping[str, Objective] = {"next_token": next_token, "mlm": hidden_tokens}
