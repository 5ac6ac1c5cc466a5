"""From a model's parameters to an optimizer and a learning rate; knows roles of parameters, not models."""

from gptforge.optim.build import build_optimizer
from gptforge.optim.schedule import lr_multiplier

__all__ = ["build_optimizer", "lr_multiplier"]
