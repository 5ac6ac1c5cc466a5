"""Several optimizers that step as one, each with parameters of its own; knows none of their rules."""

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer


class Together:
    """Looks like one optimizer to a loop that sets learning rates, steps and clears gradients."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)


def each(optimizer: Optimizer | Together) -> Iterator[Optimizer]:
    """The optimizers that make up one, which may be itself."""
    yield from optimizer.optimizers if isinstance(optimizer, Together) else (optimizer,)
