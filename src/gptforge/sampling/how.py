"""How texts are computed: by which step, with which weights, how many at once; each with its reason.

Knows sizes and the machine's memory; not the model's insides, nor text.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from gptforge import compiling
from gptforge.config import ModelConfig, SampleConfig
from gptforge.model import Transformer
from gptforge.runtime import Choice
from gptforge.sampling import fused
from gptforge.sampling.quantize import Quantized, quantize

MOST_ROWS = 64
CACHE_SHARE = 0.25  # of the free memory, for keys and values


@dataclass(frozen=True)
class How:
    """From which weights steps are computed (those of `quantize`, or None), by which step, and who is warned.

    `draft` is a smaller model of the same tokens that guesses so many of a single text `ahead`, with its own How.
    """

    int8: Mapping[str, Quantized] | None = None
    step: str = "plain"  # or fused, compiled: as in FastDecoder
    warn: Callable[[str], object] = warnings.warn
    draft: "tuple[Transformer, How] | None" = None
    ahead: int = 0


def choose_step(asked: bool | None, model: Transformer, capability: tuple[int, int] | None) -> Choice:
    """The step for a model: `asked` is runtime.compile, `capability` that of a GPU.

    On a CPU C code, which is compiled in a second. torch.compile takes 10 to 60 s, so only if asked for.
    """
    if asked is False:
        return Choice("plain", "asked for")
    weight = model.tok_emb.weight
    if weight.device.type == "cpu":
        found = fused.unknown(model.cfg) or fused.obstacle(weight)
        return Choice("plain", found) if found else Choice("fused", "one call of C code a token")
    if not asked:
        return Choice("plain", "compiling takes longer than most texts")
    found = compiling.obstacle(weight.device.type, capability)
    return Choice("plain", found) if found else Choice("compiled", "asked for")


def how_for(
    model: Transformer,
    cfg: SampleConfig,
    capability: tuple[int, int] | None,
    warn: Callable[[str], object],
    draft: tuple[Transformer, How] | None = None,
) -> How:
    """Puts a model into the number format that is asked for, in place, and chooses how its texts are computed."""
    if cfg.runtime.dtype == "bfloat16":  # float32 unless asked for: a text should not depend on the machine
        model.to(torch.bfloat16)
    int8 = quantize(model) if cfg.weights == "int8" else None
    step = choose_step(cfg.runtime.compile, model, capability)
    if cfg.runtime.compile and step.value == "plain":
        warn(f"not compiled: {step.reason}")
    return How(int8, str(step.value), warn, draft, cfg.draft_tokens if draft else 0)


def rows_at_once(cfg: ModelConfig, element_bytes: int, free_bytes: int) -> int:
    """How many texts are computed in one batch: as many as have room for their keys and values, up to MOST_ROWS."""
    row = 2 * cfg.n_layer * cfg.n_kv_head * cfg.head_dim * cfg.block_size * element_bytes
    return max(1, min(MOST_ROWS, int(CACHE_SHARE * free_bytes) // row))
