"""Hydra's other launchers, such as joblib's and submitit's for SLURM: how they are chosen, and how they get work.

Knows how Hydra starts them, not what they do. A job of theirs says no more than which point of a sweep is meant; where
it runs, it starts the process that gptforge's own launcher would have started here, so a point is the same anywhere.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gptforge.arguments import quoted
from gptforge.compose import HYDRA_VERSION_BASE, explained
from gptforge.config import SweepConfig
from gptforge.config.schema import nearest, shown
from gptforge.config.sweep import OWN_LAUNCHER
from gptforge.errors import EXIT_STOPPED, ConfigError, missing_extra
from gptforge.signals import PARENT
from gptforge.sweep.points import RUNNING, Sweep, read
from gptforge.sweep.pool import Task, command, hear

GROUP = "hydra/launcher"
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def check(cfg: SweepConfig) -> None:
    """Raises ConfigError where Hydra does not know the launcher of a sweep or what is set of it."""
    if cfg.launcher == "submitit_slurm" and shutil.which("srun") is None:
        raise ConfigError(
            "there is no SLURM on this machine", where="srun", fix=["launcher=submitit_local", "n_jobs=2"]
        )
    if cfg.launcher != OWN_LAUNCHER:
        with _composed(cfg, Path()):
            pass


def launch(sweep: Sweep, tasks: Sequence[Task]) -> list[tuple[int, list[str]]]:
    """Lets the sweep's launcher run the tasks: of each the exit code and what it said of its failure."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    with _composed(sweep.cfg, sweep.path) as config:
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        found = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=train, config=config)
        jobs = [[f"+point={task.point.number}", f"+until={shown(task.until)}"] for task in tasks]
        return [job.return_value for job in found.launch(jobs, initial_job_idx=0)]


def train(job: Any) -> tuple[int, list[str]]:
    """A job, wherever its launcher runs it: the process of one point."""
    from hydra.core.hydra_config import HydraConfig

    sweep = read(Path(HydraConfig.get().sweep.dir))
    if sweep.points[job.point].status != RUNNING:  # the sweep was told to stop before this one's turn came
        return EXIT_STOPPED, []
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a process of the launcher, in its main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's, which tells the points themselves
    process = subprocess.Popen(
        command(sweep, Task(sweep.points[job.point], job.until)),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, PARENT: str(os.getpid())},
    )
    assert process.stderr is not None
    error: list[str] = []
    try:
        for line in process.stderr:
            hear(error, line.decode("utf-8", "replace").rstrip("\r\n"))
        return process.wait(), error
    except BaseException:
        process.send_signal(signal.SIGTERM)  # it stops and saves
        process.wait()
        raise


@contextlib.contextmanager
def _composed(cfg: SweepConfig, path: Path) -> Iterator[Any]:
    """Hydra's own config with the sweep's launcher, inside of which Hydra is set up. Raises ConfigError."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    words = [f"{GROUP}={cfg.launcher}", *cfg.launcher_options]
    words += [f"hydra.sweep.dir={quoted(path.resolve().as_posix())}", "hydra.sweep.subdir=."]
    words += ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    if cfg.launcher == "joblib":
        words.append(f"hydra.launcher.n_jobs={cfg.n_jobs}")
    around = GlobalHydra.instance().hydra  # which is composing the sweep
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize(None, version_base=HYDRA_VERSION_BASE, job_name="gptforge"):
            found = GlobalHydra.instance().hydra
            assert found is not None
            known = found.config_loader.get_group_options(GROUP)
            if cfg.launcher not in known:
                raise _unknown(cfg.launcher, known)
            compose = partial(found.compose_config, None, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
            try:
                config = compose(words)
            except Exception as e:
                keys = [f"hydra.launcher.{key}" for key in compose(words[:1]).hydra.launcher]
                raise _explained(e, cfg, keys) from e
            yield config
    finally:
        GlobalHydra.instance().hydra = around


def _explained(error: Exception, cfg: SweepConfig, keys: list[str]) -> Exception:
    """Why the settings of a launcher cannot be, with the key that was probably meant."""
    told = explained(error, "train", cfg.launcher_options)
    unknown = [name for option in cfg.launcher_options if (name := option.partition("=")[0]) not in keys]
    if isinstance(told, ConfigError) and unknown:
        near = nearest(unknown[0], keys, 1)
        return ConfigError(f"launcher={cfg.launcher} has no {unknown[0]}", fix=f"{near[0]}=…" if near else "")
    return told


def _unknown(name: str, known: Sequence[str]) -> Exception:
    if name in EXTRAS:
        return missing_extra(EXTRAS[name], f"{GROUP}={name}")
    near = nearest(name, [*known, *EXTRAS], 1) or ["gptforge"]
    return ConfigError(f"there is no launcher {name!r}", where="launcher", fix=f"launcher={near[0]}")
