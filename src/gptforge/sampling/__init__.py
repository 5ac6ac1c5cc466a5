"""Writing text with a model; knows neither training nor checkpoints."""

from gptforge.sampling.engine import generate, generate_text, unescaped

__all__ = ["generate", "generate_text", "unescaped"]
