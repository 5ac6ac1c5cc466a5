"""Our attention, norms and dropout against torch's, forward and backward, on a CPU.

    python benchmarks/kernels.py [--quick] [--rounds N] [--out FILE]

And the products of a decoding step: one row, or 16, times weights of GPT-2's that no cache of a core holds. Shapes
are those of the presets and of GPT-2. Both sides run in one process, in turn; a figure is the shortest of a few
repetitions, because what interrupts one only makes it longer.
"""

import time
import timeit
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptforge import runtime
from gptforge.config import RuntimeConfig
from gptforge.model.blocked import blocked_attention
from gptforge.model.cost import LONGEST_KEPT
from gptforge.model.elementwise import dropped, relu2, unit_rms
from gptforge.sampling.products import FORMS, Machine, choose_form
from measure import Row, alternate, finish, options, ratios, row

ATTENTION = {  # batch, heads, tokens, head_dim
    "small": (8, 4, 256, 32),
    "medium": (16, 6, 256, 64),
    "GPT-2, context 256": (4, 12, 256, 64),
    "GPT-2, context 1,024": (1, 12, 1024, 64),
}
WEIGHT, WEIGHTS = (3072, 768), 24  # of a layer of GPT-2, and enough of them
REPETITIONS = 5


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def timed(function: Callable[..., Tensor], dtype: torch.dtype, *shapes: tuple[int, ...]) -> Callable[[], float]:
    """Milliseconds of a forward and a backward pass over random tensors of these shapes."""
    inputs = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    grad = torch.randn(shapes[0]).to(dtype)

    def run() -> float:
        best = float("inf")
        for _ in range(REPETITIONS):
            began = time.perf_counter()
            function(*inputs).backward(grad)
            best = min(best, time.perf_counter() - began)
            for x in inputs:
                x.grad = None
        return 1000 * best

    return run


def decoding(rows: int, dtype: torch.dtype, quick: bool) -> tuple[Callable[[], float], Callable[[], float]]:
    """Milliseconds of so many rows times each of the weights: torch's F.linear, and the form that gptforge chooses."""
    weights = [torch.randn(WEIGHT).to(dtype) for _ in range(2 if quick else WEIGHTS)]
    machine = Machine(runtime.cpu_vendor(), runtime.available_memory())
    form = choose_form(weights[0], sum(w.nbytes for w in weights), machine, rows)
    products = [FORMS[form.name](weight, None, rows) for weight in weights]
    x = torch.randn(rows, WEIGHT[1]).to(dtype)

    def best(once: Callable[[], object]) -> float:
        with torch.inference_mode():
            return min(1000 * timeit.timeit(once, number=1) for _ in range(REPETITIONS))

    plain = lambda: best(lambda: [F.linear(x, weight) for weight in weights])  # noqa: E731
    return plain, lambda: best(lambda: [product(x, "", None) for product in products])


def pairs(quick: bool) -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
    """(torch's, ours) by what is measured."""
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        called = str(dtype).removeprefix("torch.")
        for name, shape in list(ATTENTION.items())[: 1 if quick else None]:
            if shape[2] <= LONGEST_KEPT[dtype.itemsize]:  # beyond, ours is torch's
                both = timed(fused, dtype, shape, shape, shape), timed(blocked_attention, dtype, shape, shape, shape)
                found[f"attention, {called}, {name}"] = both
        heads, hidden = (8, 256, 8, 32), (2048, 512)
        found[f"norm of queries and keys, {called}, small"] = (
            timed(lambda x: F.rms_norm(x, (32,), eps=1e-5), dtype, heads),
            timed(lambda x: unit_rms(x, 1e-5), dtype, heads),
        )
        squared = timed(lambda x: F.relu(x).square(), dtype, hidden), timed(relu2, dtype, hidden)
        found[f"squared ReLU, {called}, small"] = squared
        residual = (4096, 384)
        dropout = timed(lambda x: F.dropout(x, 0.2), dtype, residual), timed(lambda x: dropped(x, 0.2), dtype, residual)
        found[f"dropout, {called}, medium"] = dropout
        for rows in (1, 16):
            found[f"{rows} row{'s' * (rows > 1)} times weights, {called}, GPT-2"] = decoding(rows, dtype, quick)
    return found


def main() -> None:
    found = options("kernels", __doc__ or "")
    runtime.apply(runtime.choose(RuntimeConfig(), runtime.probe()), deterministic=False)
    rows: list[Row] = []
    for name, (theirs, ours) in pairs(found.quick).items():
        times = alternate({"torch": theirs, "gptforge": ours}, found.rounds)
        detail = f"{min(times['torch']):.1f} and {min(times['gptforge']):.1f} ms"
        rows.append(row(f"{name}: torch / gptforge", "x", ratios(times["torch"], times["gptforge"]), None, detail))
    finish("kernels", "Parts of a training step and of a decoding step", rows, [], found)


if __name__ == "__main__":
    main()
