"""Writing text with a model; knows neither training nor checkpoints."""

from gptforge.sampling.engine import generate, generate_text, unescaped
from gptforge.sampling.how import How, choose_step, rows_at_once
from gptforge.sampling.quantize import quantize

__all__ = ["How", "choose_step", "generate", "generate_text", "quantize", "rows_at_once", "unescaped"]
