"""Weights of eight bits: a model's matrices rounded to 255 steps a row. Knows weights, not how they are used."""

from typing import NamedTuple

import torch
from torch import Tensor

from gptforge.model import Transformer, param_roles

ROLES = ("matrix", "head", "embedding")  # what is rounded; norms, biases and routers are small and stay


class Quantized(NamedTuple):
    """A weight (out, in), or (n, out, in) of experts, as values * scales: int8 in [-127, 127], one float32 a row."""

    values: Tensor
    scales: Tensor

    def dequantized(self) -> Tensor:
        return self.values.float() * self.scales[..., None]


def quantized(weight: Tensor) -> Quantized:
    """Symmetric rounding of each row to 255 steps between plus and minus its largest magnitude.

    The plainest of the schemes in Jacob et al. 2018 (arXiv:1712.05877): no zero point, nothing to calibrate.
    """
    weight = weight.detach().float()
    scales = weight.abs().amax(dim=-1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return Quantized((weight / scales[..., None]).round().clamp(-127, 127).to(torch.int8), scales)


@torch.no_grad()
def quantize(model: Transformer) -> dict[str, Quantized]:
    """Rounds the matrices and embeddings of a model, in place; returns the rounded by parameter name.

    The model then computes with the rounded values in its own number format (prompts, losses);
    a FastDecoder given the result reads the eight bits themselves where that is faster. The table of learned positions
    stays as it is: it is never multiplied.
    """
    parameters = dict(model.named_parameters())
    rounded = {}
    for name, role in param_roles(model).items():
        if role in ROLES and name != "pos_emb.weight":
            rounded[name] = quantized(parameters[name])
            parameters[name].copy_(rounded[name].dequantized())
    return rounded
