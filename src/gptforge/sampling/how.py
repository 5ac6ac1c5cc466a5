"""How texts are computed: compiled or not, with which weights, how many at once; each with its reason.

Knows sizes and the machine's memory; not the model's insides, nor text.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gptforge.config import ModelConfig
from gptforge.runtime import Choice
from gptforge.sampling.products import SUMMED_ROWS
from gptforge.sampling.quantize import Quantized

# Compiling takes 20 to 60 s. A compiled step reads weights at about 32 GB/s where a packed one reads them at 24, so
# it saves a quarter of a token's time: 3 TB of weights, at 24 GB/s, take two minutes, of which half a minute is saved.
REPAYS = 3e12  # bytes of weights read in all
MOST_ROWS = 64
CACHE_SHARE = 0.25  # of the free memory, for keys and values


@dataclass(frozen=True)
class How:
    """From which weights steps are computed (those of `quantize`, or None), whether compiled, and who is warned."""

    int8: Mapping[str, Quantized] | None = None
    compiled: bool = False
    warn: Callable[[str], object] = warnings.warn


def choose_compile(
    asked: bool | None, obstacle: str | None, device: str, weight_bytes: int, steps: int, rows: int
) -> Choice:
    """Whether to compile the step that adds one token to each of `rows` texts, for `steps` of them in all.

    `obstacle` is what keeps torch.compile from working here, if anything.
    """
    if obstacle:
        return Choice(False, obstacle)
    if asked is not None:
        return Choice(asked, "asked for")
    if device != "cpu":
        return Choice(False, f"not known to repay on {device}")
    if rows > SUMMED_ROWS:
        return Choice(False, f"more than {SUMMED_ROWS} texts at once gain little from it")
    if weight_bytes * steps < REPAYS:
        return Choice(False, "compiling takes longer than it saves for so few tokens")
    return Choice(True, "repays itself for so many tokens")


def rows_at_once(cfg: ModelConfig, element_bytes: int, free_bytes: int) -> int:
    """How many texts are computed in one batch: as many as have room for their keys and values, up to MOST_ROWS."""
    row = 2 * cfg.n_layer * cfg.n_kv_head * cfg.head_dim * cfg.block_size * element_bytes
    return max(1, min(MOST_ROWS, int(CACHE_SHARE * free_bytes) // row))
