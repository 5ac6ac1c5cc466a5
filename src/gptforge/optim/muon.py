"""Muon: momentum whose update is made orthogonal, for the hidden matrices; knows no model.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon).
A gradient of a matrix is mostly a few strong directions; making all its singular values about 1
lets the weak ones learn as fast. Everything that is not a hidden matrix belongs to AdamW.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# A quintic whose slope at 0 is as steep as may be; singular values end up in about 0.7 .. 1.2, which is near enough.
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5
SMALLEST_NORM = 1e-7

# One call for all parameters; torch's own optimizers are made of these.
lerp, lerp_, mul_ = torch._foreach_lerp, torch._foreach_lerp_, torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage]


def orthogonalized(matrices: Tensor) -> Tensor:
    """(n, rows, cols), rows <= cols, to the nearest matrices with singular values of about 1, by Newton-Schulz steps.

    All at once: on small models n products cost more in calls than in arithmetic.
    """
    a, b, c = QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)  # now no singular value is over 1
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for parameters (rows, cols) or (n, rows, cols).

    splits: parameters that are several matrices on top of each other, with the rows of each, such
        as the fused queries, keys and values; each is made orthogonal by itself. Of three dimensions the first two
        count as rows.
    dtype: that of the Newton-Schulz products. The reference computes them in bfloat16; there is no
        need for more, but where the hardware lacks it, float32 is faster.

    A matrix moves by lr * sqrt(max(1, rows / cols)) times an orthogonal one, as in the reference.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        splits: Mapping[Tensor, tuple[int, ...]] | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._splits = dict(splits or {})
        self._dtype = dtype
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim not in (2, 3):
                    raise ValueError(f"Muon is for matrices, here is a parameter of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in params]
            lerp_(buffers, grads, 1 - group["momentum"])
            updates = lerp(grads, buffers, group["momentum"])  # Nesterov: as if one step further
            mul_(params, 1 - group["lr"] * group["weight_decay"])
            self._move(params, updates, group["lr"])

    def _move(self, params: list[Tensor], updates: Iterable[Tensor], lr: float) -> None:
        """Moves each matrix against its orthogonal update; those of one shape, lying or standing, go together."""
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = {}
        for param, update in zip(params, updates, strict=True):
            rows = self._splits.get(param, param.size(-2))
            pairs = zip(param.flatten(0, -2).split(rows), update.flatten(0, -2).split(rows), strict=True)
            for weight, direction in pairs:
                scale = max(1.0, weight.size(0) / weight.size(1)) ** 0.5
                if weight.size(0) > weight.size(1):
                    weight, direction = weight.mT, direction.mT
                alike.setdefault(tuple(weight.shape), []).append((weight, direction, scale))  # type: ignore[arg-type]
        for matrices in alike.values():
            stacked = torch.stack([direction for _, direction, _ in matrices]).to(self._dtype)
            for (weight, _, scale), moved in zip(matrices, orthogonalized(stacked).unbind(), strict=True):
                weight.add_(moved, alpha=-lr * scale)
