"""Search by TPE: each point is chosen by the results of those before it, with optuna (extra `search`).

J. Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011). The study is kept in the sweep's
directory, search.db, where optuna's own tools can read it. Points are named as soon as a place is free, so that
several are chosen while others train: for those that have no result yet optuna assumes a bad one ("constant liar").
Hydra imports this module in every Hydra application of the environment, so optuna and gptforge only come when used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.gptforge_launcher.launcher import ProcessLauncher
from hydra_plugins.gptforge_search.random_search import DIGITS, values

STUDY = "search.db"
POINT = "point"  # the attribute of a trial that says which point it is
ATTEMPTS = 100  # to find a point that there is not yet


@dataclass
class TpeSweeperConf:
    """The sweeper as hydra/sweeper=gptforge_tpe; `_target_` is how Hydra itself finds a plugin's class."""

    _target_: str = "hydra_plugins.gptforge_search.tpe.TpeSweeper"
    trials: int = 20
    seed: int = 1
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="gptforge_tpe", node=TpeSweeperConf, provider="gptforge")


class TpeSweeper(Sweeper):
    """Hands an optuna study to gptforge's launcher, which asks it for points."""

    def __init__(self, trials: int, seed: int, params: dict[str, Any]) -> None:
        self.trials, self.seed, self.params = trials, seed, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.directory = Path(config.hydra.sweep.dir)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)

    def sweep(self, arguments: list[str]) -> Any:
        """Hydra's call: the launcher trains the points, and asks for them."""
        from gptforge.errors import ConfigError
        from gptforge.sweep.run import search

        if not isinstance(self.launcher, ProcessLauncher):
            raise ConfigError("search=tpe needs gptforge's own launcher", where="hydra/launcher")
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        source = Study(self.directory / STUDY, self.parser.parse_overrides(words), self.seed, self.launcher)
        chosen = {"search": "tpe", "trials": self.trials, "search_seed": self.seed}
        search(self.directory, replace(self.launcher.settings(), **chosen), words, source)


class Study:
    """The source of a search's points: an optuna study, whose trials say which point of the sweep they are."""

    def __init__(self, path: Path, overrides: Sequence[Override], seed: int, launcher: ProcessLauncher) -> None:
        import optuna
        from optuna.trial import TrialState
        from sqlalchemy.engine import URL

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._fixed = [found[0] for o in overrides if (found := values(o)) is not None and len(found) == 1]
        self._distributions = {o.get_key_element(): d for o in overrides if (d := _distribution(o)) is not None}
        self.keys = list(self._distributions)
        self._launcher = launcher
        self._study = optuna.create_study(
            storage=URL.create("sqlite", database=str(path)).render_as_string(),
            study_name="gptforge",
            load_if_exists=True,
            direction="minimize",
        )
        for trial in self._trials():  # those that a kill has kept from becoming points
            if POINT not in trial.user_attrs and not trial.state.is_finished():
                self._study.tell(trial.number, state=TrialState.FAIL)
        told = len(self._trials())  # so that a study that goes on does not draw its first points again
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + told)

    def ask(self, number: int) -> Any:
        """The point `number`: one that was chosen before a kill, or a new one; None if it finds no other."""
        from optuna.trial import TrialState

        trials = self._trials()
        chosen = next((t for t in trials if t.user_attrs.get(POINT) == number), None)
        if chosen is not None:
            return self._launcher.frozen(number, self._words(chosen.params))
        for _ in range(ATTEMPTS):
            trial = self._study.ask(self._distributions)
            words = self._words(trial.params)
            same = next((t for t in trials if POINT in t.user_attrs and self._words(t.params) == words), None)
            if same is None:
                trial.set_user_attr(POINT, number)
                return self._launcher.frozen(number, words)
            if same.state == TrialState.COMPLETE:
                self._study.tell(trial, same.value)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        return None

    def tell(self, point: Any) -> None:
        """The result of a point, once; and that of one which had failed and was tried again."""
        from optuna.trial import TrialState, create_trial

        found = [t for t in self._trials() if t.user_attrs.get(POINT) == point.number]
        if not found or found[-1].state == TrialState.COMPLETE:
            return
        trial = found[-1]
        good = point.status == "done" and point.bits is not None
        if trial.state.is_finished():
            if good:  # a trial that is told is as it is, so there is another one with what it chose
                kept = {"params": trial.params, "distributions": trial.distributions, "user_attrs": trial.user_attrs}
                self._study.add_trial(create_trial(value=point.bits, **kept))
        elif good:
            self._study.tell(trial.number, point.bits)
        elif point.status in ("done", "failed"):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _trials(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False)

    def _words(self, params: dict[str, Any]) -> list[str]:
        """A point as overrides."""
        shown = {key: f"{v:.{DIGITS}g}" if isinstance(v, float) else str(v) for key, v in params.items()}
        return [*self._fixed, *(f"{key}={value}" for key, value in shown.items())]


def _distribution(override: Override) -> Any:
    """What optuna draws for an override; None for one with a single value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    named = values(override)
    if named is not None:
        choices = [word.partition("=")[2] for word in named]
        return CategoricalDistribution(choices) if len(choices) > 1 else None
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None
    if isinstance(sweep.start, int) and isinstance(sweep.end, int):
        return IntDistribution(sweep.start, sweep.end, log="log" in sweep.tags)
    return FloatDistribution(sweep.start, sweep.end, log="log" in sweep.tags)
