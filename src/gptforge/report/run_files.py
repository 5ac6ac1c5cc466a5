"""What the files of a run say, whatever state they are in: for a page about it.

A file that is missing, damaged or somebody else's is said in `missing`, and what it would have told is empty. Values
that look like secrets are left out. Knows neither torch nor pages.
"""

import contextlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptforge import history
from gptforge.errors import CheckpointError, looks_secret, without_passwords
from gptforge.history import LEFT_OVER, Entry
from gptforge.jsonfile import read_json
from gptforge.logs.series import Point
from gptforge.runs import MANIFEST, RUNS, Run, redacted

SERIES = ("train_loss", "lr", "grad_norm", "tokens_per_second", "data_wait")
EVALUATED = ("val_loss", "val_bpb", "val_ppl", "train_eval_loss")
LARGEST = 1e30  # beyond it the arithmetic of axes is not safe, and nothing can be read off
LOG_BYTES = 32_000_000  # of train.log that are read, the last ones
LINES_AT_ONCE = 2_000
SAMPLE_BYTES = 8_000
TYPED_BYTES = 100_000
SAMPLES = 12  # that are read, evenly spread over the run
EVALUATIONS = 20  # results of `gptforge eval` that are read, the newest
SAMPLE = re.compile(r"step-(\d{1,15})\.txt")
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\w+) +(.*)")
_PLANNED = re.compile(r"([^:]+): (.*?)(?: \((.*)\))?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that was committed. `pointed` names what points at it; `complete`: it has its manifest."""

    step: int
    size: int
    pointed: tuple[str, ...]
    complete: bool


@dataclass(slots=True)
class Log:
    """train.log: how often the run was started, what the last start planned, and what was told since the first."""

    starts: int = 0
    plan: list[tuple[str, str, str]] = field(default_factory=list)  # what, value, reason
    told: list[tuple[str, str, str]] = field(default_factory=list)  # time, kind, text

    def warnings(self) -> list[str]:
        """The different ones, in their order."""
        return list(dict.fromkeys(text for _, kind, text in self.told if kind == "warning"))


@dataclass(slots=True)
class Told:
    """One run. `series` has points (step, value) by column of training records; `evaluations` the others, by step;
    `newest` are the numbers of the last record."""

    run: Run
    entry: Entry
    config: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    series: dict[str, list[Point]] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    newest: dict[str, float] = field(default_factory=dict)
    samples: list[tuple[int, str]] = field(default_factory=list)
    n_samples: int = 0
    passage: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    missing: list[str] = field(default_factory=list)


def find(text: str) -> Run:
    """The run that a name stands for, also one that has lost its config. Raises CheckpointError."""
    try:
        return Run.find(text)
    except CheckpointError:
        for folder in (Path(text), RUNS / text) if text and text != "latest" else ():
            if any(os.path.exists(folder / name) for name in LEFT_OVER):
                return Run(folder)
        raise


def read(run: Run) -> Told:
    """Everything that the files of a run say. What cannot be read is said, never raised."""
    told = Told(run, history.read(run.path.name, run))
    told.entry.note = without_passwords(told.entry.note)
    files = _Files(run.path, told.missing)
    saved = files.json(run.config)
    told.config, told.choices = _object(saved.get("config")), _object(saved.get("choices"))
    told.summary, told.decisions = files.json(run.summary), files.json(run.decisions)
    told.environment = files.json(run.path / "env.json")
    told.typed = [redacted(line) for line in files.text(run.path / "overrides.txt", TYPED_BYTES).splitlines()]
    _read_metrics(told, files)
    told.log = _log(files.text(run.path / "train.log", LOG_BYTES, from_end=True))
    _read_samples(told, files)
    told.passage = files.json(run.path / "passage.json", needed=False)
    names = sorted(p.name for p in _listed(run.path) if re.fullmatch(r"eval-\d+-.*\.json", p.name))
    told.results = [files.json(run.path / name) for name in names[-EVALUATIONS:]]
    told.checkpoints = [_checkpoint(run, step) for step in _steps(run)]
    if not told.checkpoints:
        told.missing.append("there is no checkpoint")
    else:
        state = files.json(run.checkpoint(told.checkpoints[-1].step) / "state.json")
        told.fingerprint = _object(state.get("fingerprint"))
    return told


class _Files:
    """Reads files of one run; what is wrong with them goes into `missing`."""

    def __init__(self, folder: Path, missing: list[str]) -> None:
        self._folder, self._home, self._missing = folder, os.path.realpath(folder), missing

    def json(self, path: Path, needed: bool = True) -> dict[str, Any]:
        """A JSON object, without what looks secret; empty where there is none."""
        if not self._there(path, needed):
            return {}
        try:
            return _object(open_to_all(read_json(path, path.name)))
        except CheckpointError as e:
            self._missing.append(e.what)
            return {}

    def text(self, path: Path, most: int, from_end: bool = False) -> str:
        """At most so many bytes of a text, from its begin or its end; empty where there is none."""
        if not self._there(path, needed=True):
            return ""
        try:
            with path.open("rb") as f:
                if from_end:
                    f.seek(max(0, os.fstat(f.fileno()).st_size - most))
                return f.read(most).decode("utf-8", "replace")
        except OSError as e:
            self._missing.append(f"{path.name} cannot be read: {e.strerror}")
            return ""

    def lines(self, path: Path) -> Iterator[bytes]:
        """The lines of a file, the last one too if it is not torn."""
        if self._there(path, needed=True):
            try:
                with path.open("rb") as f:
                    yield from (line for line in f if line.endswith(b"\n"))
            except OSError as e:
                self._missing.append(f"{path.name} cannot be read: {e.strerror}")

    def _there(self, path: Path, needed: bool) -> bool:
        """Whether there is a file, and one of the run's own: not a link to somebody else's, nor a pipe."""
        name = path.relative_to(self._folder).as_posix()
        if not path.is_file():
            if needed or os.path.lexists(path):
                self._missing.append(f"{name} is {'no file' if os.path.lexists(path) else 'missing'}")
            return False
        if not os.path.realpath(path).startswith(self._home + os.sep):
            self._missing.append(f"{name} is a link that leads out of the run: it is not read")
            return False
        return True


def open_to_all(value: Any, name: str = "") -> Any:
    """A JSON value without what looks secret by its name, or stands in an address before its @."""
    if isinstance(value, Mapping):
        return {key: open_to_all(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [open_to_all(inner, name) for inner in value]
    if isinstance(value, str):
        return "<redacted>" if looks_secret(name) and value else without_passwords(value)
    return value


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


# Metrics ------------------------------------------------------------------------------------------------------


def _read_metrics(told: Told, files: _Files) -> None:
    """Takes the numbers that can be drawn; lines that hold none are counted."""
    series: dict[str, list[Point]] = {name: [] for name in SERIES}
    unreadable, last, before, ascending = 0, {}, 0.0, True
    for record in _records(files.lines(told.run.metrics)):
        step = number(record.get("step")) if isinstance(record, dict) else None
        if step is None:
            unreadable += 1
            continue
        if "val_loss" in record:
            values = {name: number(record.get(name)) for name in EVALUATED}
            if values["val_loss"] is not None:
                told.evaluations.append({"step": step} | {k: v for k, v in values.items() if v is not None})
        for name, points in series.items():
            if (value := record.get(name)) is not None and (found := number(value)) is not None:
                points.append((step, found))
        ascending, last, before = ascending and step >= before, record, step
    if told.evaluations or any(series.values()):
        told.newest = {k: found for k, v in last.items() if (found := number(v)) is not None}
    told.series = {name: points for name, points in series.items() if points}
    if not ascending:
        told.series = {name: sorted(points, key=lambda point: point[0]) for name, points in told.series.items()}
    told.evaluations.sort(key=lambda one: one["step"])
    if unreadable:
        told.missing.append(f"{unreadable:,} line{'s' * (unreadable != 1)} of metrics.jsonl cannot be read")


def _records(lines: Iterable[bytes]) -> Iterator[Any]:
    """The JSON values of lines, None for one that is none. Many at once, which takes a third of the time."""
    waiting = iter(lines)
    while portion := list(itertools.islice(waiting, LINES_AT_ONCE)):
        try:
            yield from json.loads(b"[" + b",".join(portion) + b"]")
        except (ValueError, RecursionError):
            yield from map(_record, portion)


def _record(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def number(value: Any) -> float | None:
    """A JSON value as a number that can be drawn; None for anything else."""
    if type(value) is float or type(value) is int:  # no bool, and quicker than isinstance
        return float(value) if -LARGEST < value < LARGEST else None
    return None


# Log, samples, checkpoints ------------------------------------------------------------------------------------


def _log(text: str) -> Log:
    log = Log()
    for line in text.split("\n"):
        if line.startswith("    ") and log.told:
            time, kind, said = log.told[-1]
            log.told[-1] = (time, kind, f"{said}\n{line[4:]}")
            continue
        if line[20:27] == "metrics" or not (match := _LINE.fullmatch(line)):
            continue
        time, kind, said = match.groups()
        if kind == "start":
            log.starts, log.plan = log.starts + 1, []
        elif kind == "plan" and (planned := _PLANNED.fullmatch(said)):
            log.plan.append((planned[1], without_passwords(planned[2]), without_passwords(planned[3] or "")))
            continue
        if kind in ("start", "note", "warning", "error"):
            log.told.append((time, kind, without_passwords(said)))
    return log


def _read_samples(told: Told, files: _Files) -> None:
    folder = told.run.path / "samples"
    found = sorted((int(m[1]), path) for path in _listed(folder) if (m := SAMPLE.fullmatch(path.name)))
    told.n_samples = len(found)
    for n in sorted({round(i * (len(found) - 1) / max(1, SAMPLES - 1)) for i in range(SAMPLES)} if found else ()):
        step, path = found[n]
        told.samples.append((step, files.text(path, SAMPLE_BYTES)))


def _steps(run: Run) -> list[int]:
    try:
        return run.steps()
    except OSError:
        return []


def _checkpoint(run: Run, step: int) -> Checkpoint:
    size = 0
    path = run.checkpoint(step)
    for file in _listed(path):
        with contextlib.suppress(OSError):
            size += file.lstat().st_size
    pointed = tuple(name for name in ("latest", "best") if run.pointer(name) == step)
    return Checkpoint(step, size, pointed, (path / MANIFEST).is_file())


def best_of(evaluations: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The evaluation with the lowest val_loss; empty where there is none."""
    return min(evaluations, key=lambda one: one.get("val_loss", math.inf), default={})
