"""Going on without the compiler: a step whose compilation fails is done again, as if it had not been tried."""

import random
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from torch import nn

from gptforge import compiling
from gptforge.train.state import restore_torch_rng, torch_rng

T = TypeVar("T")


def or_eager(model: nn.Module, compute: Callable[[], T], on_failure: Callable[[BaseException], object]) -> T:
    """What `compute` returns: forward and backward passes of a model, whose gradients were none before.

    torch compiles the forward pass when it is first called and the backward pass when that is, so either
    may fail. Then random states and gradients are put back to what they were, `on_failure` is called with the
    error (it may raise), and the model computes without the compiler from there on.
    """
    if not compiling.is_compiled(model):
        return compute()
    states = torch_rng(), random.getstate(), np.random.get_state()
    try:
        return compute()
    except Exception as error:
        if not compiling.failed(error):
            raise
        restore_torch_rng(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
        model.zero_grad(set_to_none=True)
        on_failure(error)
        compiling.undo(model)
    return compute()
