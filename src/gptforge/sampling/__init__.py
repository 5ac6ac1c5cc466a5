"""Writing text with a model; knows neither training nor checkpoints."""

from gptforge.sampling.engine import generate, generate_text

__all__ = ["generate", "generate_text"]
