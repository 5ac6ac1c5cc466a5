"""What the runs below a folder say of themselves, whatever state they are in: for lists and comparisons.

To read thousands of runs takes seconds, so that what was read is kept in an index, `.index.json` in that folder, with
the times and sizes of the files that it came from. It may be deleted at any time. Knows neither torch nor how a run is
made.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptforge.durable import write_text
from gptforge.errors import CheckpointError
from gptforge.jsonfile import DIGEST, digest_of, read_json, sealed
from gptforge.locks import is_held
from gptforge.runs import CLAIM, LOCK, RUNS, SWEEP, Run

INDEX = ".index.json"
NEXT_TOKEN = "next_token"  # the objective of runs that do not say
INDEX_VERSION = 2
LEFT_OVER = ("checkpoints", "metrics.jsonl", "summary.json", "train.log")  # of a run that has lost its config
RUNNING, DONE, STOPPED, FAILED, DEAD, BROKEN = "running", "done", "stopped", "failed", "dead", "broken"
STATUSES = (RUNNING, DONE, STOPPED, FAILED, DEAD, BROKEN)
_HOLDER = re.compile(r"process (\d+) on (\S+) since")
_TIME = "%Y-%m-%d_%H-%M-%S"  # with which the names of runs begin
_TAIL = 1 << 20  # bytes at the end of metrics.jsonl that are read of a run without a final summary


@dataclass(slots=True)
class Entry:
    """One run. `status`: running, done, stopped, failed (it has said why), dead (it has not), broken (cannot be read).

    `began` is in seconds since 1970, `seconds` were spent training, losses are in nats per token, `val_bpb` in bits per
    byte of the newest evaluation; `objective` says what the losses are of; None is what is not known. `note` says why
    it failed or what is broken.
    """

    name: str
    status: str
    began: float
    model: str | None = None
    objective: str | None = None
    data: str | None = None
    step: int | None = None
    steps: int | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    val_bpb: float | None = None
    parameters: int | None = None
    seconds: float | None = None
    tags: list[str] = field(default_factory=list)
    note: str = ""


COLUMNS = tuple(f.name for f in dataclasses.fields(Entry))


def entries(root: Path) -> list[Entry]:
    """All runs below a folder, those of sweeps too, the newest last. A run that is broken is one of them."""
    index = _Index(root)
    found = [index.entry(name, Run(root / name)) for name in _names(root)]
    index.keep()
    return sorted(found, key=lambda entry: (entry.began, entry.name))


def find(text: str) -> Run:
    """The run that `latest`, a name below runs/ or a path stands for, also one that has lost its config.

    Raises CheckpointError for what is none.
    """
    for path in (Path(text), RUNS / text) if text else ():
        files = {entry.name for entry in _scanned(path)}
        if SWEEP in files:
            points = [f"{text}/{number}" for number in sorted(_folders(path)) if number.isdigit()]
            raise CheckpointError(f"{text} is a sweep of {len(points)} runs", where=str(path), fix=points[:3])
        if CLAIM not in files and files.intersection(LEFT_OVER):
            return Run(path)
    return Run.find(text)


def _names(root: Path) -> Iterator[str]:
    """The names of runs relative to a folder: of its folders with a config, and of the numbered ones of a sweep."""
    for folder in _folders(root):
        files = {entry.name for entry in _scanned(root / folder)}
        if CLAIM in files or (SWEEP not in files and files.intersection(LEFT_OVER)):
            yield folder
        elif SWEEP in files:
            yield from (f"{folder}/{number}" for number in _folders(root / folder) if number.isdigit())


def _folders(root: Path) -> list[str]:
    return [entry.name for entry in _scanned(root) if entry.name[0] != "." and entry.is_dir()]


def _scanned(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return []


# One run ------------------------------------------------------------------------------------------------------


def read(name: str, run: Run) -> Entry:
    """What a run says of itself."""
    entry = Entry(name, BROKEN, _began(run))
    try:
        config = read_json(run.config, "the run's config")
        entry.model, entry.data = _text(config["choices"].get("model")), _text_of(config)
        entry.objective = _text(config["config"].get("objective", {}).get("kind", NEXT_TOKEN))
        summary = read_json(run.summary, "the summary") if run.summary.exists() else {"status": RUNNING}
    except CheckpointError as e:
        entry.note = e.what
        return entry
    except (LookupError, TypeError, AttributeError):
        entry.note = "the run's config is not complete"
        return entry
    entry.tags = tags(run)
    entry.step, entry.parameters = (_number(summary.get(key), int) for key in ("steps", "parameters"))
    for key in ("val_loss", "best_val_loss", "val_bpb", "seconds"):
        setattr(entry, key, _number(summary.get(key), float))
    said = summary.get("status")
    if said == RUNNING:
        entry.status = RUNNING if in_use(run) else DEAD
        _take_newest(entry, run)
    elif said in (DONE, STOPPED, FAILED):
        entry.status, entry.note = str(said), _text(summary.get("error")) or ""
    else:
        entry.note = f"its status is {said!r:.20}"
    return entry


def tags(run: Run) -> list[str]:
    """What the user has written on a run."""
    with contextlib.suppress(CheckpointError):
        held = read_json(run.path / "tags.json", "the tags").get("tags")
        if isinstance(held, list):
            return [tag for tag in held if isinstance(tag, str)]
    return []


def in_use(run: Run) -> bool:
    """Whether a process has a run. On this machine it is looked for first: to ask for the lock may take it away from
    one that is just about to begin."""
    pid = holder(run)
    if pid is not None and not _lives(pid):
        return False
    return is_held(run.path / LOCK)


def holder(run: Run) -> int | None:
    """The process that has or had a run, if that was on this machine."""
    try:
        found = _HOLDER.match((run.path / LOCK).read_text(encoding="utf-8")[:200])
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[1]) if found and found[2] == socket.gethostname() else None


def _lives(pid: int) -> bool:
    if os.name == "nt":  # where to ask would be to send it a signal
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _take_newest(entry: Entry, run: Run) -> None:
    """Where a run that has no final summary stands, by the end of its metrics; a torn line is no record."""
    for record in newest_records(run):
        if entry.step is None or entry.step < (_number(record.get("step"), int) or 0):
            entry.step = _number(record.get("step"), int)
            entry.seconds = _number(record.get("seconds"), float)
        if (loss := _number(record.get("val_loss"), float)) is not None:
            entry.val_loss = loss
            entry.best_val_loss = loss if entry.best_val_loss is None else min(loss, entry.best_val_loss)
            entry.val_bpb = _number(record.get("val_bpb"), float)
    with contextlib.suppress(CheckpointError, AttributeError):
        steps = read_json(run.decisions, "the decisions").get("steps", {}).get("value")
        entry.steps = _number(steps, int)


def newest_records(run: Run) -> list[dict[str, Any]]:
    """The last records of metrics.jsonl, in their order."""
    try:
        with open(run.metrics, "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - _TAIL))
            lines = f.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return found


def _began(run: Run) -> float:
    """When a run was begun: its name says so, or else its oldest file."""
    with contextlib.suppress(ValueError, OverflowError):
        return time.mktime(time.strptime(run.path.name[:19], _TIME))
    with contextlib.suppress(OSError):
        return min((entry.stat().st_mtime for entry in _scanned(run.path)), default=0.0)
    return 0.0


def _text_of(config: Mapping[str, Any]) -> str | None:
    """The name of the text that a run learns: of a built-in one, or of the file or folder."""
    path = config["config"]["data"].get("path")
    return Path(path).name if isinstance(path, str) else _text(config["choices"].get("data"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any, kind: type) -> Any:
    """The value as a number of this kind, if it is one; what anyone may have written may also be beyond all floats."""
    with contextlib.suppress(OverflowError):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return kind(value)
    return None


# The index ----------------------------------------------------------------------------------------------------


class _Index:
    """What was read of the runs in a folder, by name. What is not there, or is of other files, is read anew."""

    def __init__(self, root: Path) -> None:
        self._path = root / INDEX
        self._known: Mapping[str, Any] = {}
        self._kept: dict[str, Any] = {}
        with contextlib.suppress(CheckpointError, AttributeError):
            held = read_json(self._path, "the index")
            if held.get("version") == INDEX_VERSION and held.get(DIGEST) == digest_of(held):
                self._known = held["runs"]

    def entry(self, name: str, run: Run) -> Entry:
        """A run by its name. One that runs, or has died, is looked at each time."""
        stamp = [_stamp(path) for path in (run.config, run.summary, run.path / "tags.json")]
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            self._kept[name] = known
            return Entry(name, **known[1])
        entry = read(name, run)
        if entry.status in (DONE, STOPPED, FAILED):
            held = dataclasses.asdict(entry)
            self._kept[name] = [stamp, {key: value for key, value in held.items() if key != "name"}]
        return entry

    def keep(self) -> None:
        """Writes the index, if it is another one. A folder that cannot be written has none."""
        if self._kept != self._known:
            with contextlib.suppress(OSError):
                write_text(self._path, json.dumps(sealed({"version": INDEX_VERSION, "runs": self._kept})) + "\n")


def _stamp(path: Path) -> list[int]:
    """What changes when a file is written: its time in nanoseconds, and its size."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]
