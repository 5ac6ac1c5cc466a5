"""From a model's parameters to an optimizer and a learning rate; knows roles of parameters, not models."""

from gptforge.optim.average import WeightAverage
from gptforge.optim.build import Roles, build_optimizer
from gptforge.optim.schedule import lr_multiplier
from gptforge.optim.together import Together, each

__all__ = ["Roles", "Together", "WeightAverage", "build_optimizer", "each", "lr_multiplier"]
