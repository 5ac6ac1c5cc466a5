"""Random search: points drawn from the values and ranges that a sweep names.

J. Bergstra and Y. Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012): where few of the keys
matter, it finds more than a grid of the same size. Hydra imports this module in every Hydra application of the
environment.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

DIGITS = 4  # significant ones of a number that is drawn
ATTEMPTS = 100  # to draw a point that there is not yet, times the points that are wanted


@dataclass
class RandomSweeperConf:
    """The sweeper as hydra/sweeper=gptforge_random; `_target_` is how Hydra itself finds a plugin's class."""

    _target_: str = "hydra_plugins.gptforge_search.random_search.RandomSweeper"
    trials: int = 20
    seed: int = 1
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="gptforge_random", node=RandomSweeperConf, provider="gptforge")


class RandomSweeper(Sweeper):
    """Draws `trials` different points, or all if there are fewer, and launches them together."""

    def __init__(self, trials: int, seed: int, params: dict[str, Any]) -> None:
        self.trials, self.seed, self.params = trials, seed, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)

    def sweep(self, arguments: list[str]) -> Any:
        """Hydra's call: the launcher gets the points as lists of overrides."""
        overrides = self.parser.parse_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments])
        return [self._launcher.launch(drawn(overrides, self.trials, self.seed), initial_job_idx=0)]


def drawn(overrides: Sequence[Override], trials: int, seed: int) -> list[list[str]]:
    """Up to `trials` different points, the same ones for the same seed."""
    lists = [values(override) for override in overrides]
    finite = [values for values in lists if values is not None]
    rng = random.Random(seed)
    if len(finite) == len(lists) and math.prod(map(len, finite)) <= trials:
        return [list(point) for point in itertools.product(*finite)]
    points: dict[tuple[str, ...], None] = {}
    for _ in range(trials * ATTEMPTS):
        point = (
            rng.choice(values) if values is not None else f"{override.get_key_element()}={_number(override, rng)}"
            for override, values in zip(overrides, lists, strict=True)
        )
        points.setdefault(tuple(point))
        if len(points) == trials:
            break
    return [list(point) for point in points]


def values(override: Override) -> list[str] | None:
    """The values that an override names, as overrides; None for a range of numbers."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return None


def _number(override: Override, rng: random.Random) -> str:
    """A number out of interval(a, b), evenly in its logarithm with tag(log, …), whole with int(interval(a, b))."""
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None
    low, high = sweep.start, sweep.end
    whole = isinstance(low, int) and isinstance(high, int)
    if "log" in sweep.tags:
        value = math.exp(rng.uniform(math.log(low), math.log(high + 1 if whole else high)))
    else:
        value = rng.uniform(low, high + 1 if whole else high)
    return str(min(high, max(low, int(value) if whole else float(f"{value:.{DIGITS}g}"))))
