"""Writing text with a model; knows neither training nor checkpoints."""

from gptforge.sampling.engine import escaped, generate, generate_text, must_write, unescaped, write
from gptforge.sampling.how import How, choose_step, how_for, rows_at_once
from gptforge.sampling.quantize import quantize

__all__ = [
    "How", "choose_step", "escaped", "generate", "generate_text", "how_for", "must_write", "quantize", "rows_at_once",
    "unescaped",
    "write",
]  # fmt: skip
