"""gptforge: train, understand and use your own GPT."""

__version__ = "0.1.0"
