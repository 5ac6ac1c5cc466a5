"""Functions of single tokens, with derivatives by hand: unit RMS, rotation, squared ReLU, dropout. They know no model.

Autograd would make the same derivatives out of several passes over memory each, in whatever layout
the gradient arrives; on a CPU that took a fifth of a step of a small model.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_rms(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, computed in float32, in x's shape and dtype."""
    return _UnitRMS.apply(x, eps)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (i, i + d) of the last dimension, (..., 2 d or more), by angles whose cos and sin (..., d) are.

    What lies past 2 d stays as it is. Computed in float32, in x's shape and dtype.
    """
    return _Turned.apply(x, cos, sin)


def relu2(x: Tensor) -> Tensor:
    """The squared ReLU of Primer (So et al. 2021), max(x, 0)^2."""
    return _SquaredReLU.apply(x)


def dropped(x: Tensor, rate: float) -> Tensor:
    """Dropout (Srivastava et al. 2014) on a CPU: each value 0 with probability `rate`, else divided by 1 - rate.

    torch draws a double for each value, one after the other, which took an eighth of a step. A quarter of a 64-bit
    number does as well: it tells probabilities to 1 / 65,536, and the division is by the one that it tells.
    """
    return _Dropped.apply(x, rate)


def _wide(x: Tensor) -> Tensor:
    """In float32 or wider, and in one piece: passes over mixed layouts are slow."""
    return x.contiguous() if x.dtype == torch.float64 else x.contiguous().float()


class _UnitRMS(torch.autograd.Function):
    """With r = 1 / sqrt(mean(x^2) + eps) and y = r x: dx = r (dy - y mean(dy y))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        wide = _wide(x)
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.size(-1)
        r = (mean_square + eps).rsqrt()
        y = (wide * r).to(x.dtype)
        ctx.save_for_backward(y, r)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        y, r = ctx.saved_tensors
        dy, wide = _wide(grads[0]), _wide(y)
        mean = (dy * wide).sum(-1, keepdim=True) / -y.size(-1)
        return torch.addcmul(dy, wide, mean).mul_(r).to(y.dtype), None


class _Turned(torch.autograd.Function):
    """The derivative of a rotation is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide, d = _wide(x), cos.size(-1)
    pairs, rest = wide[..., : 2 * d], wide[..., 2 * d :]
    result = torch.addcmul(pairs * torch.cat((cos, cos), -1), pairs.roll(d, -1), torch.cat((-sin, sin), -1))
    return (torch.cat((result, rest), -1) if rest.size(-1) else result).to(x.dtype)


class _SquaredReLU(torch.autograd.Function):
    """dx = 2 max(x, 0) dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (grads[0] * positive).mul_(2)


class _Dropped(torch.autograd.Function):
    """y = x * factor, dx = dy * factor; the factors are kept in x's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        steps = min(round(rate * 2**16), 2**16 - 1)  # of 2^16 equally likely numbers, so many drop a value
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = drawn[: x.numel()] >= steps - 2**15
        factor = kept.to(x.dtype).mul_(2**16 / (2**16 - steps)).view(x.shape)
        ctx.save_for_backward(factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None
