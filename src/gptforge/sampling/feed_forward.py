"""How a decoding step computes feed-forward layers: an MLP, or for a few rows only the experts they are sent to.

Knows products and routers; not the model around them, nor what the rows mean.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol

from torch import Tensor, nn

from gptforge.model.moe import Experts, MoE
from gptforge.model.parts import MLP
from gptforge.sampling.products import Product

# Rows (N, n_embd), and what is added to the result
FeedForward = Callable[[Tensor, Tensor], Tensor]


class Products(Protocol):
    """How rows are multiplied with the weight of a module, or with that of one of several experts."""

    def __call__(self, module: nn.Module, expert: int | None = None) -> Product: ...


def of_mlp(mlp: MLP, kind: str, product: Products) -> FeedForward:
    """What an MLP of this kind makes of rows."""
    fc, proj = product(mlp.fc), product(mlp.proj)
    if mlp.gate is None:
        return lambda x, add: proj(fc(x, kind, None), "", add)
    gate = product(mlp.gate)
    return lambda x, add: proj(gate(x, "silu", None) * fc(x, "", None), "", add)


def of_experts(moe: MoE, kind: str, product: Products) -> FeedForward:
    """What experts of this kind make of rows, one expert after the other; of those that are not chosen nothing is read.

    It must know which are chosen, so it is for a CPU, where that is no wait. The product of an expert is made when it
    is first chosen.
    """
    shared = None if moe.shared is None else of_mlp(moe.shared, kind, product)
    made: Callable[[Experts, int], Product] = cache(product)

    def expert(n: int, x: Tensor) -> Tensor:
        if moe.gate is None:
            return made(moe.proj, n)(made(moe.fc, n)(x, kind, None), "", None)
        return made(moe.proj, n)(made(moe.gate, n)(x, "silu", None) * made(moe.fc, n)(x, "", None), "", None)

    def forward(x: Tensor, add: Tensor) -> Tensor:
        chosen, weights = moe.router(x)
        sums = add.clone() if shared is None else shared(x, add)
        for n in sorted({n for row in chosen.tolist() for n in row}):
            rows, choice = (chosen == n).nonzero(as_tuple=True)
            sums.index_add_(0, rows, expert(n, x[rows]) * weights[rows, choice, None].to(x.dtype))
        return sums

    return forward
