"""Even loads for experts: counted over a step, answered after it. Knows routers, not the loop nor what is learnt."""

import torch
from torch import Tensor, nn

from gptforge.dist import Dist
from gptforge.model.moe import MoE


class Balance:
    """Moves the biases of a model's routers after each step, by the loads of its whole batch; without experts, nothing.

    There is no auxiliary loss, whose gradients would stand against those of the text (Wang et al. 2024,
    arXiv:2408.15664). Loads are whole numbers, summed over micro-batches and processes, so how a batch is parted does
    not matter; what is counted for a batch that makes no step is forgotten.
    """

    def __init__(self, model: nn.Module, dist: Dist) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, MoE)]
        self._dist = dist
        self._loads: Tensor | None = None  # (layers, n_expert) of the last step

    def begin(self) -> None:
        """Counts from here on."""
        for layer in self._layers:
            if layer.load is None:
                weight = layer.router.weight
                layer.load = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)
            layer.load.zero_()

    def move(self) -> None:
        """Answers what was counted, once the optimizer has made its step."""
        counted = [layer.load for layer in self._layers if layer.load is not None]
        if not counted:
            return
        self._loads = self._dist.total(torch.stack(counted))
        for layer, load in zip(self._layers, self._loads, strict=True):
            layer.router.move(load)

    def figures(self) -> dict[str, float]:
        """For the metrics: how many times the mean load the fullest expert had in the last step, of all layers."""
        if self._loads is None:
            return {}
        loads = self._loads.double()
        return {"moe_load_max": round(float((loads.amax(1) / loads.mean(1)).max()), 4)}
