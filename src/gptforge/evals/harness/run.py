"""Tasks of the lm-evaluation-harness, from their names to everything that is found, as JSON values.

Knows the harness's tasks and results; neither terminal nor files of results.
"""

import contextlib
import difflib
import fnmatch
import logging
import os
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval import evaluate  # pyright: ignore[reportMissingImports]
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

from gptforge import __version__
from gptforge import runtime as machine
from gptforge.checkpoint import Loaded
from gptforge.config import EvalTextConfig
from gptforge.errors import ConfigError, DataError, UserError
from gptforge.evals.harness import adapter
from gptforge.sampling import quantize

SCHEMA_VERSION = 1
NO_STDERR = "N/A"  # what the harness says where it has none
GROUP = re.compile(r"""^{?["']?group["']?\s*:""", re.MULTILINE)  # in the YAML of a group of tasks
SEEDS = {"random": 0, "other": 1234}  # the defaults of its command, for numbers that can be compared with others'


def run_tasks(
    cfg: EvalTextConfig,
    loaded: Loaded,
    chosen: machine.Runtime,
    warn: Callable[[str], None],
    on_progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """What the harness finds for cfg.tasks. `warn` is told what the user should know.

    Few-shot examples are drawn with the harness's own seeds, as its command draws them. Raises ConfigError for a task
    that is not there, DataError for one that fails, by its data, its definition or characters without a token.
    """
    began = time.perf_counter()
    if cfg.weights:
        quantize(loaded.model)
    model = adapter.HarnessModel(loaded.model, loaded.tokenizer, chosen, cfg.batch_size, cfg.seed, on_progress)
    with _quiet():
        loaded_tasks = load(cfg.tasks)
        fixed = _set_shots(loaded_tasks["tasks"], cfg.num_fewshot)
        warnings = [f"num_fewshot={cfg.num_fewshot} is not for {', '.join(fixed)}: 0 by definition"] if fixed else []
        for warning in warnings:
            warn(warning)
        with faults():
            got: Any = evaluate(model, loaded_tasks, limit=cfg.limit, bootstrap_iters=cfg.resamples, log_samples=False)
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": {"path": str(loaded.path), "step": loaded.step},
        "how": _how(cfg, chosen),
        "tasks": list(_tasks(got)),
        "groups": list(_groups(got)),
        "warnings": warnings,
        "seconds": time.perf_counter() - began,
    }


# Which tasks -----------------------------------------------------------------


def load(words: Sequence[str]) -> Any:
    """The tasks and groups that the words mean, with their data. Raises ConfigError for what is not there.

    A word with a slash, or that ends in .yaml, is a file or a folder of files; others are names of tasks, groups and
    tags, or patterns such as mmlu_*.
    """
    random.seed(SEEDS["random"])  # as the harness does it: a definition may draw
    np.random.seed(SEEDS["other"])
    torch.manual_seed(SEEDS["other"])
    paths = [Path(word).expanduser().resolve() for word in words if _is_path(word)]
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no task {str(path)!r}", where="tasks=…", fix="a YAML file or a folder of them")
    names = [word for word in words if not _is_path(word)]
    groups = [path for path in paths if path.is_file() and GROUP.search(path.read_text("utf-8", "replace"))]
    folders: list[str | Path] = [path for path in paths if path.is_dir()]
    folders += [path.parent for path in groups]  # where the tasks that they name may be
    # Without the harness's own tasks, whose 15,000 files take seconds to read, unless they may be meant
    manager = TaskManager(include_path=folders, include_defaults=bool(names or groups))
    wanted = [name for path in paths for name in _inside(path, path in groups, manager)]
    wanted += [name for word in names for name in _matching(word, manager)]
    with faults():
        return manager.load(list(dict.fromkeys(wanted)))


def _is_path(word: str) -> bool:
    return "/" in word or os.sep in word or word.endswith((".yaml", ".yml"))


def _inside(path: Path, is_group: bool, manager: Any) -> list[str]:
    """What the harness is to load for a file, or for every task in a folder of files."""
    if path.is_dir():
        inside = TaskManager(include_path=str(path), include_defaults=False).all_subtasks
        if not inside:
            raise ConfigError(f"no YAML file in {str(path)!r} defines a task", where="tasks=…")
        return inside
    if is_group:  # which it finds by name only
        return [n for n, entry in manager.task_index.items() if entry.yaml_path and entry.yaml_path.resolve() == path]
    return [str(path)]


def _matching(word: str, manager: Any) -> list[str]:
    matching = fnmatch.filter(manager.all_tasks, word)
    if not matching:
        near = difflib.get_close_matches(word, manager.all_tasks, 3, 0.6)
        fix = ", ".join(near) or "a name that `lm_eval ls tasks` lists, or a path"
        raise ConfigError(f"there is no task {word!r}", where="tasks=…", fix=fix)
    return matching


def _set_shots(tasks: Mapping[str, Any], asked: int | None) -> list[str]:
    """Has each task show so many solved examples, drawn as the harness draws them; names those that have none ever."""
    fixed = []
    for name, task in tasks.items():
        own = task.get_config("num_fewshot")
        if asked and own == 0:
            fixed.append(name)
        elif asked is not None or own is None:
            task.set_config("num_fewshot", asked or 0)
        task.set_fewshot_seed(SEEDS["other"])
    return fixed


# What goes wrong -------------------------------------------------------------


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """Turns what goes wrong within the harness or a task into one DataError; not what goes wrong within our model."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        ours = any(frame.f_code.co_filename == adapter.__file__ for frame, _ in traceback.walk_tb(e.__traceback__))
        if ours:
            raise
        said = (str(e).strip().splitlines() or [""])[0][:300]
        if isinstance(e, ConnectionError):
            raise DataError(
                f"the data of a task cannot be fetched: {said}",
                where="they are on the Hugging Face hub, which needs a network",
                fix=[
                    "the same where there is one; later runs find the data in its cache",
                    "a task whose data are files here: docs/evaluation.md",
                ],
            ) from e
        raise DataError(f"a task cannot be used: {type(e).__name__}: {said}", where="tasks=…") from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps stdout for the result, where the harness prints too, and the bootstrap within this process."""
    log = logging.getLogger("lm_eval")
    before = os.environ.get("DISABLE_MULTIPROC"), log.level
    os.environ["DISABLE_MULTIPROC"] = "1"  # a fork of a process with threads may hang
    log.setLevel(logging.ERROR)  # its warnings tell which defaults a task leaves in force
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        log.setLevel(before[1])
        os.environ.pop("DISABLE_MULTIPROC") if before[0] is None else os.environ.update(DISABLE_MULTIPROC=before[0])


# What was found --------------------------------------------------------------


def _tasks(got: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, task in got["configs"].items():
        sizes = got["n-samples"][name]
        yield {
            "name": name,
            "version": v if isinstance(v := got["versions"].get(name), int | float) else None,
            "num_fewshot": got["n-shot"][name],
            "examples": sizes["effective"],
            "of": sizes["original"],
            "output_type": task["output_type"],
            "figures": list(_figures(got["results"][name], got["higher_is_better"].get(name, {}))),
        }


def _groups(got: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, entry in got.get("groups", {}).items():
        figures = list(_figures(entry, got["higher_is_better"].get(name, {})))
        yield {"name": name, "tasks": got["group_subtasks"].get(name, []), "figures": figures}


def _figures(entry: Mapping[str, Any], higher_is_better: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics of a task or group, which the harness names METRIC,FILTER."""
    for key, value in entry.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, str):
            continue
        stderr = entry.get(f"{metric}_stderr,{filtered}", NO_STDERR)
        yield {
            "metric": metric,
            "filter": filtered,
            "value": float(value),
            "stderr": None if stderr in (NO_STDERR, None) else float(stderr),
            "higher_is_better": higher_is_better.get(metric),
        }


def _how(cfg: EvalTextConfig, chosen: machine.Runtime) -> dict[str, Any]:
    return {
        "num_fewshot": cfg.num_fewshot,
        "limit": cfg.limit,
        "resamples": cfg.resamples,
        "seed": cfg.seed,
        "batch_size": cfg.batch_size,
        "device": chosen.device.value,
        "dtype": chosen.dtype.value,
        "weights": cfg.weights,
        "threads": chosen.threads.value,
        "gptforge": __version__,
        "torch": torch.__version__,
        "lm_eval": version("lm_eval"),
    }
