"""The launcher of `gptforge train -m`: composes every point, freezes it, and runs it in a fresh process.

Hydra imports this module in every Hydra application of the environment, so it imports gptforge only when used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig


@dataclass
class ProcessLauncherConf:
    """The launcher as hydra/launcher=gptforge; `_target_` is how Hydra itself finds a plugin's class.

    The types of the rest are checked by gptforge, whose messages say more.
    """

    _target_: str = "hydra_plugins.gptforge_launcher.launcher.ProcessLauncher"
    n_jobs: Any = 1
    fail_fast: Any = False
    halving: Any = None
    rungs: Any = 2
    retry: Any = False
    launcher: Any = "gptforge"
    launcher_options: Any = field(default_factory=list)


ConfigStore.instance().store(group="hydra/launcher", name="gptforge", node=ProcessLauncherConf, provider="gptforge")


class ProcessLauncher(Launcher):
    """One fresh `gptforge train` process a point. The options are keys of gptforge.config.SweepConfig."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the points. Failures are recorded in the sweep, never raised, so the others run on."""
        from gptforge.launchers import launch
        from gptforge.runs import HYDRAS
        from gptforge.sweep.run import begin

        frozen = [self.frozen(initial_job_idx + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
        directory = Path(self.config.hydra.sweep.dir)
        (directory / HYDRAS).unlink(missing_ok=True)  # sweep.json and points/ say it all
        begin(directory, self.settings(), frozen, launch)
        returns = []
        for one in frozen:
            result = JobReturn(overrides=one.point.overrides, status=JobStatus.COMPLETED)
            result.return_value = one.point.bits
            returns.append(result)
        return returns

    def settings(self):
        """The options as a SweepConfig. Raises ConfigError."""
        from gptforge.config import SweepConfig
        from gptforge.config.schema import build

        options = {k: list(v) if isinstance(v, ListConfig) else v for k, v in self.options.items()}
        return build(SweepConfig, options, lambda key: f"hydra.launcher.{key}")

    def frozen(self, number: int, overrides: list[str]):
        """One point's frozen config, or what is wrong with it."""
        from gptforge.compose import conf_dirs, explained, from_hydra
        from gptforge.config.saved import as_saved
        from gptforge.errors import UserError
        from gptforge.runs import redacted
        from gptforge.sweep.points import Point
        from gptforge.sweep.run import Frozen
        from gptforge.trackers.found import check

        shown = [redacted(o) for o in filter_overrides(overrides) if not o.startswith("hydra")]
        try:
            cfg = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            composed = from_hydra("train", cfg, shown, conf_dirs([]), overrides)
            check(composed.config.tracker, "tracker")
        except Exception as e:
            error = explained(e, "train", overrides)
            if not isinstance(error, UserError):
                raise
            return Frozen(Point(number, shown), None, str(error))
        return Frozen(Point(number, shown), as_saved(composed.config, composed.call.choices))
