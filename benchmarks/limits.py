"""What the machine can do at best: its matrix product and its memory, measured beside what uses them."""

import time

import torch

from gptforge import runtime
from gptforge.config import RuntimeConfig
from workers import Subject

# rows, inner, columns: square ones, and those of the layers of a small GPT and of GPT-2
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 384, 1536), (4096, 1536, 384), (2048, 768, 3072))
SECONDS = 0.1  # that each shape is repeated for one unit
READ_BYTES = 2**30


def threads() -> int:
    """As many as gptforge takes; the allocator stays as it is, for nothing here is freed."""
    n = int(runtime.choose(RuntimeConfig(), runtime.probe()).threads.value or 1)
    torch.set_num_threads(n)
    return n


def matrix_peak(dtype: str) -> Subject:
    """A unit is nothing in itself: its figure is `fastest_product`."""
    threads()
    return Subject(lambda n: fastest_product(dtype, n * SECONDS), {})


def fastest_product(dtype: str, seconds: float) -> float:
    """FLOP/s of the matrix product in a dtype: the best repetition of the best shape."""
    best = 0.0
    for m, k, n in SHAPES:
        a, b = (torch.ones(size, dtype=getattr(torch, dtype)) for size in ((m, k), (k, n)))
        out = torch.empty(m, n, dtype=a.dtype)
        torch.mm(a, b, out=out)
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            torch.mm(a, b, out=out)
            best = max(best, 2 * m * k * n / (time.perf_counter() - began))
    return best


def bandwidth(size: int = READ_BYTES) -> Subject:
    """A unit is reading `size` bytes once, with all threads."""
    threads()
    block = torch.ones(size // 4)

    def read(n: int) -> None:
        for _ in range(n):
            if not float(block.sum()) > 0:
                raise ArithmeticError("a sum of ones is not above 0")

    return Subject(read, {"bytes": size})
