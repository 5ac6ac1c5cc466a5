"""How texts are computed: compiled or not, with which weights, how many at once; each with its reason.

Knows sizes and the machine's memory; not the model's insides, nor text.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gptforge.config import ModelConfig
from gptforge.runtime import Choice
from gptforge.sampling.quantize import Quantized

MOST_ROWS = 64
CACHE_SHARE = 0.25  # of the free memory, for keys and values


@dataclass(frozen=True)
class How:
    """From which weights steps are computed (those of `quantize`, or None), whether compiled, and who is warned."""

    int8: Mapping[str, Quantized] | None = None
    compiled: bool = False
    warn: Callable[[str], object] = warnings.warn


def choose_compile(asked: bool | None, obstacle: str | None) -> Choice:
    """Whether steps are compiled. `obstacle` is what keeps torch.compile from working here, if anything.

    Only if asked for: compiling takes 10 to 60 s, and a step of 10.7 M float32 weights, which is bound by calls if any
    is, became 5 % faster by it.
    """
    if not asked:
        reason = "asked for" if asked is False else "steps without it are as fast, and at once"
        return Choice(False, reason)
    return Choice(False, obstacle) if obstacle else Choice(True, "asked for")


def rows_at_once(cfg: ModelConfig, element_bytes: int, free_bytes: int) -> int:
    """How many texts are computed in one batch: as many as have room for their keys and values, up to MOST_ROWS."""
    row = 2 * cfg.n_layer * cfg.n_kv_head * cfg.head_dim * cfg.block_size * element_bytes
    return max(1, min(MOST_ROWS, int(CACHE_SHARE * free_bytes) // row))
