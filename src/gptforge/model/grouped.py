"""Products of sorted rows with several matrices, each stretch of rows with its own. Knows no model and no routing."""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGNED = 16  # bytes of which torch's own products of groups want every row to be a multiple


def grouped(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Rows (S, in) times the matrices of (n, out, in): rows before ends[0] times the first, and so on; (S, out).

    `ends` (n,) are int32 and ascend to S. One call for all, with no look at `ends` by the caller, so that a GPU need
    not be waited for. Matrices without rows have gradients of zero.
    """
    return _grouped(x, weights, ends) if torch.compiler.is_compiling() else _Grouped.apply(x, weights, ends)


class _Grouped(torch.autograd.Function):
    """The gradients of rows and weights: row by row those of a linear layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights, ends)
        return _rows_times(x, weights.transpose(1, 2), ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weights, ends = ctx.saved_tensors
        return *_backward(x, weights, ends, grads[0]), None


def _backward(x: Tensor, weights: Tensor, ends: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    grad = grad.contiguous()
    return _rows_times(grad, weights, ends), _outer(grad, x, ends)


# The same as an operator, for torch's compiler, which takes torch's own for bfloat16 alone. An operator that is called
# from Python costs several times as much as a function, so it is for the compiler alone.


@torch.library.custom_op("gptforge::grouped", mutates_args=())
def _grouped(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return _rows_times(x, weights.transpose(1, 2), ends)


@_grouped.register_fake
def _(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weights.size(1))


@torch.library.custom_op("gptforge::grouped_backward", mutates_args=())
def _grouped_backward(x: Tensor, weights: Tensor, ends: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _backward(x, weights, ends, grad)


@_grouped_backward.register_fake
def _(x: Tensor, weights: Tensor, ends: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weights.new_empty(weights.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_grouped_backward(*ctx.saved_tensors, grad), None


_grouped.register_autograd(_differentiate, setup_context=_keep)


def _rows_times(x: Tensor, columns: Tensor, ends: Tensor) -> Tensor:
    """(S, in) times (n, in, out) to (S, out)."""
    x = x.contiguous()
    if _torch_can(x, columns):
        # Narrow results come with room between their rows
        return F.grouped_mm(x, columns, offs=ends).contiguous()
    y = x.new_empty(x.size(0), columns.size(2))
    for (first, end), matrix in zip(_stretches(ends), columns, strict=True):
        torch.mm(x[first:end], matrix, out=y[first:end])
    return y


def _outer(grad: Tensor, x: Tensor, ends: Tensor) -> Tensor:
    """The sums over each stretch of grad (S, out) by x (S, in), (n, out, in)."""
    x = x.contiguous()
    if _torch_can(grad, x):
        return F.grouped_mm(grad.t(), x, offs=ends).contiguous()
    sums = x.new_empty(len(ends), grad.size(1), x.size(1))
    for (first, end), own in zip(_stretches(ends), sums, strict=True):
        torch.mm(grad[first:end].t(), x[first:end], out=own)
    return sums


def _torch_can(*tensors: Tensor) -> bool:
    """Whether torch's products of groups take them: on these devices, in these number formats, and no odd widths."""
    known = tensors[0].device.type in ("cpu", "cuda")
    known = known and tensors[0].dtype in (torch.float32, torch.bfloat16, torch.float16)
    return known and all(step * t.element_size() % ALIGNED == 0 for t in tensors for step in t.stride() if step > 1)


def _stretches(ends: Tensor) -> list[tuple[int, int]]:
    """Where each stretch begins and ends; a GPU is waited for."""
    return list(itertools.pairwise([0, *ends.tolist()]))
