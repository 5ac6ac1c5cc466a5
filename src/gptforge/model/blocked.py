"""Causal attention as plain matrix products, block by block: for CPUs. Knows no model.

torch's fused kernel keeps little in memory, but on a CPU it is slower than the products it replaces: two to
three times in bfloat16, a quarter in float32 while contexts are short (benchmarks/kernels.py measures it).
So here they are, with one saving that the products alone do not have: a block of queries is only multiplied
with the keys that it may see.
"""

import math
from typing import Any

import torch
from torch import Tensor

from gptforge.model.cost import BLOCK_ROWS, LONGEST_KEPT


def pays(q: Tensor, k: Tensor) -> bool:
    """Whether this is faster than the fused kernel, for queries and keys (B, n_head, T, head_dim) of one sequence."""
    longest = LONGEST_KEPT.get(q.itemsize, 0) if q.device.type == "cpu" else 0
    return q.shape == k.shape and 1 < q.size(2) <= longest


def blocked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v with later tokens hidden; all (B, n_head, T, head_dim)."""
    return _Attention.apply(*(x.flatten(0, 1) for x in (q, k, v))).view(q.shape)


def _blocks(tokens: int) -> list[tuple[int, int]]:
    """The first query of each block, and where the block and the keys that it sees end."""
    return [(first, min(first + BLOCK_ROWS, tokens)) for first in range(0, tokens, BLOCK_ROWS)]


class _Attention(torch.autograd.Function):
    """The same over (B * n_head, T, head_dim), with its derivative by hand, as in FlashAttention (Dao et al. 2022).

    With P = softmax(S), S = Q K^T and O = P V: dV = P^T dO, dP = dO V^T, dS = P * (dP - rowsum(dO * O)),
    dQ = dS K, dK = dS^T Q. Written out, each term goes to its place at once; autograd would fill and add
    whole tensors for each block.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * (1 / math.sqrt(q.size(2)))
        hidden = torch.full((BLOCK_ROWS, BLOCK_ROWS), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        out, weights = torch.empty_like(q), []
        for first, end in _blocks(q.size(1)):
            scores = torch.bmm(q[:, first:end], k[:, :end].mT)
            scores[:, :, first:] += hidden[: end - first, : end - first]
            weights.append(scores.softmax(dim=-1))
            out[:, first:end] = torch.bmm(weights[-1], v[:, :end])
        ctx.save_for_backward(q, k, v, out, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, *weights = ctx.saved_tensors
        (grad,) = grads
        shared = -(grad * out).sum(-1, keepdim=True)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (first, end), p in zip(_blocks(q.size(1)), weights, strict=True):
            g = grad[:, first:end]
            ds = torch.baddbmm(shared[:, first:end].expand_as(p), g, v[:, :end].mT).mul_(p)
            dq[:, first:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end].baddbmm_(ds.mT, q[:, first:end])
            dv[:, :end].baddbmm_(p.mT, g)
        return dq.mul_(1 / math.sqrt(q.size(2))), dk, dv
