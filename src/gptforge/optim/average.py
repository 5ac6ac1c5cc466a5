"""A moving average of a model's weights over the steps; knows no optimizer and no files.

The last weights of a run carry the noise of the last batches; their average over many steps does not
(Polyak and Juditsky 1992; the exponential form as in Tarvainen and Valpola 2017, arXiv:1703.01780).
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

EARLY = 10  # steps after which the average stops being mostly the newest weights


class WeightAverage:
    """The exponential moving average of the weights of `model`, at first over few steps, then over 1 / (1 - decay).

    Weights are the parameters, and what else of fractions a checkpoint holds, such as the biases by which experts are
    chosen: an averaged router goes with its averaged bias. Without the short beginning the random initial weights would
    stay in it for long.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        kept = model.state_dict().keys()
        moved = {name: b for name, b in model.named_buffers() if name in kept and b.is_floating_point()}
        self._parameters: dict[str, Tensor] = {**dict(model.named_parameters()), **moved}
        self._decay = decay
        self.weights: dict[str, Tensor] = {}
        self.begin()

    def begin(self) -> None:
        """Forgets the past: the average is what the model holds now."""
        self.weights = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after optimizer step number `step`, counted from 1."""
        decay = min(self._decay, step / (EARLY + step))
        for name, average in self.weights.items():
            average.lerp_(self._parameters[name], 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights inside, its own again after."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchanges values, not tensors, so that optimizer and compiled code keep theirs."""
        for name, parameter in self._parameters.items():
            own = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(own)
