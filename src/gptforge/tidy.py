"""Runs kept in order: removed, pruned of checkpoints, tagged. Knows no torch and not what anybody is told of it.

What goes first loses its name, by one rename: a process that is killed meanwhile leaves no half run, but a hidden
folder, which the next one clears away. Nothing that a process uses is touched, and no link is followed.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gptforge import history
from gptforge.config.schema import shown
from gptforge.durable import sync_directory, unique, write_text
from gptforge.errors import CheckpointError, LockedError, UsageError, from_os_error
from gptforge.jsonfile import write_json
from gptforge.locks import try_lock
from gptforge.runs import CLAIM, RUNS, SWEEP, Run

REMOVED = ".tmp-removed-"  # how the name of what is being removed begins; one of durable.LITTER
KEPT = ("best", "latest", "none")
TAG = re.compile(r"\w[\w.:+/@-]{0,49}")
FILES = re.compile(  # what gptforge itself puts into a run
    r"\..*|config\.json|decisions\.json|overrides\.txt|data\.json|env\.json|tags\.json|summary\.json|metrics\.(jsonl|csv)"
    r"|train\.log|loss\.(svg|png)|report\.(html|json)|eval-.*\.json|samples|checkpoints"
    r"|passage\.json|trackers\.json|tensorboard|wandb|mlruns"
)
FILES_OF_A_SWEEP = re.compile(r"\..*|\d+|sweep\.json|points|experiment|report\.html|search\.db.*")


# Removing ---------------------------------------------------------------------


def named(text: str) -> Run:
    """The run, or the sweep, that a word means itself, with its whole path.

    Raises UserError for what may not be removed as one.
    """
    meant = [Path(text), RUNS / text] if text else []
    swept = next((path for path in meant if (path / SWEEP).is_file()), None)
    run = Run(swept) if swept else history.find(text)
    if text != "latest" and Path(text) != RUNS / "latest":
        if not any(os.path.realpath(path) == os.path.realpath(run.path) for path in meant):
            raise UsageError(f"{text} is a part of the run {run.path}", fix=f"gptforge runs rm {run.path}")
        if link := next((path for path in meant if path.is_symlink()), None):
            raise CheckpointError(f"{link} is a link", where=os.path.realpath(link), fix=f"rm {link}")
    path = run.path.resolve()
    if Path.cwd().is_relative_to(path) or (path / ".git").exists():
        raise UsageError(f"{path} is more than a run: you work in it", fix="remove its files by hand")
    points = [path / name for name in _points_in(path)] if swept else []
    if inner := next((one for one in _runs_in(path) if one not in points), None):
        raise UsageError(f"another run is in {path}", where=str(inner), fix=f"gptforge runs rm {inner}")
    if used := next((one for one in [path, *points] if history.in_use(Run(one))), None):
        raise LockedError(f"{run.path if used == path else used} is in use", fix="wait for it, or end it first")
    return Run(path)


def points_of(run: Run) -> int | None:
    """How many runs a sweep has; None of a run."""
    return len(_points_in(run.path)) if (run.path / SWEEP).is_file() else None


def _points_in(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(path) if name.isdigit())
    return []


def _runs_in(path: Path) -> Iterator[Path]:
    """The runs below a folder; each has config.json of its own, as has each of its checkpoints."""
    for folder, folders, files in os.walk(path):
        if CLAIM in files or folder == str(path):
            folders[:] = [name for name in folders if name != "checkpoints"]
        if CLAIM in files and folder != str(path):
            yield Path(folder)


def strangers(run: Run) -> list[str]:
    """What is in a run's folder that gptforge did not put there."""
    folders = [("", FILES)]
    if points_of(run) is not None:
        folders = [("", FILES_OF_A_SWEEP), *((f"{name}/", FILES) for name in _points_in(run.path))]
    found: list[str] = []
    for folder, ours in folders:
        with contextlib.suppress(OSError):
            found += (folder + name for name in os.listdir(run.path / folder) if not ours.fullmatch(name))
    return sorted(found)


def remove(run: Run) -> None:
    """Removes a run or a sweep that `named` has given. Raises LockedError if somebody uses it by now, ResourceError."""
    clear(run.path.parent)
    with _held(run) as lock:
        if os.name == "nt":  # where a folder with an open file in it keeps its name
            lock.close()
        try:
            pointed = _mend_latest(run)
            try:
                _discard(run.path)
            except OSError:
                if pointed:
                    run.point_latest()
                raise
        except OSError as e:
            raise from_os_error(e, f"{run.path} cannot be removed") from e


def clear(folder: Path) -> None:
    """Finishes what removals that were killed have begun in a folder."""
    for path in folder.glob(f"{REMOVED}*"):
        if not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _discard(path: Path) -> None:
    """Takes the name away, then the content."""
    trash = path.with_name(f"{REMOVED}{path.name}-{unique()}")
    os.rename(path, trash)
    sync_directory(path.parent)
    shutil.rmtree(trash, ignore_errors=True)


@contextlib.contextmanager
def _held(run: Run) -> Iterator[IO[bytes]]:
    """Holds a run's lock without a look at what is in the run. Raises LockedError, ResourceError."""
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        handle = os.fdopen(os.open(run.path / ".lock", flags, 0o644), "r+b")
    except OSError as e:
        raise from_os_error(e, f"the lock of {run.path} cannot be taken") from e
    with handle:
        if not try_lock(handle):
            raise LockedError(f"{run.path} is in use", fix="wait for it, or end it first")
        yield handle


def _mend_latest(gone: Run) -> bool:
    """Lets `latest` mean the newest of the other runs, if it means this one; whether it did."""
    pointer = RUNS / "latest"
    try:
        text = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return False
    if not text or not any(path.resolve().is_relative_to(gone.path) for path in (Path(text), RUNS / text)):
        return False
    others = [entry for entry in history.entries(RUNS) if not (RUNS / entry.name).resolve().is_relative_to(gone.path)]
    if sound := [entry for entry in others if entry.status != history.BROKEN]:
        Run(RUNS / sound[-1].name).point_latest()
    else:
        pointer.unlink(missing_ok=True)
    return True


# Pruning ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prune:
    """What of a run would go: `steps` of checkpoints, and `folders` that hold them and those once set aside."""

    name: str
    run: Run
    status: str
    keeps: list[int]
    steps: list[int]
    folders: list[Path]


def prunable(name: str, run: Run, status: str, keep: str) -> Prune | None:
    """What would go of a run; None if nothing. A run that can go on keeps its latest too, unless keep=none.

    Of a run that is running or broken nothing goes, nor through links.
    """
    if status in (history.RUNNING, history.BROKEN) or run.path.is_symlink() or run.checkpoints.is_symlink():
        return None
    try:
        steps = run.steps()
        aside = [path for path in run.checkpoints.glob("set-aside-*") if path.is_dir() and not path.is_symlink()]
    except OSError:
        return None
    best, latest = run.pointer("best"), steps[-1:]
    kept = set(latest) if keep == "latest" or (keep == "best" and status != history.DONE) else set()
    if keep == "best":
        kept |= {best} if best in steps else set(latest)
    goes = [step for step in steps if step not in kept and not run.checkpoint(step).is_symlink()]
    folders = [*(run.checkpoint(step) for step in goes), *aside]
    return Prune(name, run, status, sorted(kept), goes, folders) if folders else None


def prune(plan: Prune) -> None:
    """Removes it. Raises CheckpointError if a checkpoint that stays is damaged, LockedError, ResourceError."""
    from gptforge.checkpoint import verify  # here, for it brings torch along

    for step in plan.keeps:
        verify(plan.run.checkpoint(step))
    run = plan.run
    with _held(run):
        try:
            clear(run.checkpoints)
            for name in ("best", "latest"):  # first, so that they never name what is not there
                if run.pointer(name) in plan.steps:
                    _point_away(run, name, plan.keeps)
            for folder in plan.folders:
                _discard(folder)
        except OSError as e:
            raise from_os_error(e, f"the checkpoints of {run.path} cannot be removed") from e


def _point_away(run: Run, name: str, keeps: Sequence[int]) -> None:
    """`latest` names the newest that stays; what is no longer there is nobody's best."""
    if name == "latest" and keeps:
        write_text(run.checkpoints / name, run.checkpoint(keeps[-1]).name + "\n")
    else:
        (run.checkpoints / name).unlink(missing_ok=True)


# Tags -------------------------------------------------------------------------


def tagged(run: Run, add: Iterable[str], remove: Iterable[str], all_of: Iterable[str] | None) -> list[str]:
    """Writes the tags of a run: those it has, or `all_of` these, with some more and some less; returns them.

    Raises UsageError for a tag that cannot be one, or is not there to be taken away; ResourceError.
    """
    before, gone = history.tags(run), set(remove)
    tags = list(dict.fromkeys([*(before if all_of is None else all_of), *add]))
    for tag in tags:
        if not TAG.fullmatch(tag):
            fix = "letters, digits and . : + / @ - _, up to 50, such as baseline or lr-study"
            raise UsageError(f"{shown(tag)!r} cannot be a tag", fix=fix)
    if strange := sorted(gone.difference(tags)):
        raise UsageError(f"the run has no tag {shown(strange[0])!r}", where=str(run.path), fix=", ".join(tags))
    tags = [tag for tag in tags if tag not in gone]
    if tags != before:
        content: dict[str, Any] = {"tags": tags}
        try:
            write_json(run.path / "tags.json", content)
        except OSError as e:
            raise from_os_error(e, "the tags cannot be written") from e
    return tags
