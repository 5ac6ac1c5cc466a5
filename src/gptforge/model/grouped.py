"""Products of sorted rows with several matrices, each stretch of rows with its own. Knows no model and no routing."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGNED = 16  # bytes of which torch's own products of groups want every row to be a multiple


def grouped(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Rows (S, in) times the matrices of (n, out, in): rows before ends[0] times the first, and so on; (S, out).

    `ends` (n,) are int32 and ascend to S. One call for all, with no look at `ends` by the caller, so that a GPU need
    not be waited for. Matrices without rows have gradients of zero.
    """
    return _grouped(x, weights, ends)


@torch.library.custom_op("gptforge::grouped", mutates_args=())
def _grouped(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """An operator of its own: torch's compiler takes torch's for bfloat16 alone."""
    return _rows_times(x, weights.transpose(1, 2), ends)


@_grouped.register_fake
def _(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weights.size(1))


@torch.library.custom_op("gptforge::grouped_backward", mutates_args=())
def _grouped_backward(x: Tensor, weights: Tensor, ends: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of rows and weights: row by row that of a linear layer."""
    grad = grad.contiguous()
    return _rows_times(grad, weights, ends), _outer(grad, x, ends)


@_grouped_backward.register_fake
def _(x: Tensor, weights: Tensor, ends: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weights.new_empty(weights.shape)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_grouped_backward(*ctx.saved_tensors, grad), None  # type: ignore[attr-defined]


_grouped.register_autograd(_backward, setup_context=_keep)


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
