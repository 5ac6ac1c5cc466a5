"""How a decoding step multiplies a few rows by a weight: the forms there are, and which is chosen why.

Knows weights and rows; not the model, nor what the rows mean. One row reads each weight once and does
little else, so what counts is how fast a form reads memory (docs/walk.md, "Writing text").
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gptforge.config.model import RopeConfig
from gptforge.model.parts import frequencies
from gptforge.sampling.quantize import Quantized

# x (rows, in), activation ("" for none), what is added to the result (rows, out) or None -> (rows, out)
Product = Callable[[Tensor, str, Tensor | None], Tensor]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
    "relu2": lambda x: F.relu(x).square(),
    "silu": F.silu,
}
# Activations that oneDNN computes along
FUSED = {"": ("none", ""), "gelu": ("gelu", "tanh"), "gelu_erf": ("gelu", "none"), "silu": ("swish", "")}
PACK_BYTES = 2**19  # below, a weight stays in the cache of a core, and the 15 us that a packed call takes cost more
PACK_SHARE = 0.5  # of the free memory that copies of the weights may take
INT8_ROWS = 4  # rows up to which eight bits are read faster; beyond, the time goes into multiplying
INT8_INPUTS = 16  # of which torch's product of eight bits wants a multiple: of others it reads beyond the end
# torch's float32 products on a CPU are those of MKL, which are as fast as memory on Intel's own and slow on others
MKL_ROWS = 2  # up to which it reads a weight as it lies as fast as any copy
MKL_BYTES = 2**22  # of a weight up to which more rows are best multiplied by its transpose; above, by oneDNN's layout


class Machine(NamedTuple):
    """What of a machine decides: the CPU's maker, and the free bytes of memory."""

    cpu_vendor: str
    free: int


class Form(NamedTuple):
    """The name of a form of product, and why it is the one."""

    name: str
    reason: str


def choose_form(weight: Tensor, total_bytes: int, machine: Machine, rows: int) -> Form:
    """The form for a weight (out, in) of a model whose weights are `total_bytes`, and so many rows.

    It depends on shapes and the machine alone, never on a measurement: the same text must come out each time.
    benchmarks/kernels.py measures what it gives.
    """
    mkl = machine.cpu_vendor == "GenuineIntel" and weight.dtype == torch.float32 and weight.device.type == "cpu"
    if weight.device.type != "cpu":
        return Form("plain", "not on a CPU")
    if mkl and rows <= MKL_ROWS:
        return Form("plain", "MKL reads it as fast as the memory of an Intel CPU allows")
    if total_bytes > PACK_SHARE * machine.free:
        return Form("plain", "copies of the weights would take more than half of the free memory")
    if mkl and weight.nbytes < MKL_BYTES:
        return Form("transposed", "MKL reads columns faster where there are several rows")
    if not can_pack() or weight.dtype not in (torch.float32, torch.bfloat16):
        return Form("plain", "this build of torch has no oneDNN for it")
    if weight.nbytes < PACK_BYTES:
        return Form("plain", f"smaller than {PACK_BYTES // 1024} KiB")
    return Form("packed", "oneDNN's own layout is read up to twice as fast, by one row or many")


def can_pack() -> bool:
    """Whether this torch has oneDNN and the operators with which its compiler calls it."""
    ops = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(
        hasattr(ops, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


def plain(weight: Tensor, bias: Tensor | None, rows: int) -> Product:
    """The weight as it lies."""
    columns = weight.t()  # once, and not in each of the thousands of calls, of which some take 10 us

    def product(x: Tensor, activation: str, add: Tensor | None) -> Tensor:
        y = ACTIVATIONS[activation](torch.mm(x, columns) if bias is None else torch.addmm(bias, x, columns))
        return y if add is None else y.add_(add)

    return product


def transposed(weight: Tensor, bias: Tensor | None, rows: int) -> Product:
    """A copy in which what is one column lies together."""
    return plain(weight.t().contiguous().t(), bias, rows)


def packed(weight: Tensor, bias: Tensor | None, rows: int) -> Product:
    """A copy in the layout that oneDNN reads fastest for so many rows, with activation and sum in the same call."""
    own = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
    linear = torch.ops.mkldnn._linear_pointwise.default
    linear_add = torch.ops.mkldnn._linear_pointwise.binary

    def product(x: Tensor, activation: str, add: Tensor | None) -> Tensor:
        if add is not None:
            return linear_add(x, add, own, bias, "add")
        name, algorithm = FUSED.get(activation, ("none", ""))
        y = linear(x, own, bias, name, [], algorithm)
        return y if activation in FUSED else ACTIVATIONS[activation](y)

    return product


def can_int8(weight: Tensor, rows: int) -> bool:
    """Whether so few rows times a weight (out, in) are multiplied in eight bits."""
    return rows <= INT8_ROWS and weight.device.type == "cpu" and weight.size(1) % INT8_INPUTS == 0


def int8(weight: Quantized, bias: Tensor | None) -> Product:
    """Eight-bit weights (out, in) times rows; each output has its own scale."""
    scales = weight.scales.bfloat16()

    def product(x: Tensor, activation: str, add: Tensor | None) -> Tensor:
        y = torch.ops.aten._weight_int8pack_mm(x.bfloat16(), weight.values, scales).to(x.dtype)  # slow for float32
        if bias is not None:
            y = y + bias
        y = ACTIVATIONS[activation](y)
        return y if add is None else y + add

    return product


FORMS: dict[str, Callable[[Tensor, Tensor | None, int], Product]] = {
    "plain": plain,
    "transposed": transposed,
    "packed": packed,
}


def rotation(positions: int, dim: int, head_dim: int, rope: RopeConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """RoPE as x * cos + swapped(x) * sin: the two tables (positions, head_dim) in float32.

    What `model.parts.rotate` computes in pieces: dimensions past `dim` have cosine 1 and sine 0.
    """
    half = dim // 2
    angle = torch.arange(positions, device=device)[:, None].float() * frequencies(dim, rope, device)
    cos = torch.ones(positions, head_dim, device=device)
    sin = torch.zeros(positions, head_dim, device=device)
    cos[:, :half] = cos[:, half:dim] = angle.cos()
    sin[:, :half], sin[:, half:dim] = -angle.sin(), angle.sin()
    return cos, sin


def swapped(dim: int, head_dim: int, device: torch.device) -> Tensor:
    """Where each dimension of a head finds its partner in the rotation."""
    order = torch.arange(head_dim, device=device)
    half = dim // 2
    order[:half], order[half:dim] = torch.arange(half, dim), torch.arange(half)
    return order
