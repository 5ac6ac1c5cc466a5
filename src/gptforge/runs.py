"""One run directory: its name, its files, its claim and its lock. Knows no torch and not what the files mean.

runs/2026-11-23_10-41-07_shakespeare_small/
  config.json decisions.json overrides.txt data.json env.json metrics.jsonl metrics.csv train.log
  samples/ checkpoints/ loss.svg report.html passage.json summary.json .lock
runs/latest      the name of the newest run, a text file
"""

import contextlib
import difflib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptforge.durable import make_directories, sync_directory, unique, write_text
from gptforge.errors import CheckpointError, LockedError, UsageError, from_os_error, looks_secret, without_passwords
from gptforge.jsonfile import read_json, write_json
from gptforge.locks import try_lock

RUNS = Path("runs")
STEP_DIR = re.compile(r"step-(\d+)")
MANIFEST = "MANIFEST.json"  # the last file of a checkpoint to be written
CLAIM = "config.json"  # whoever creates it exclusively owns the directory
SWEEP = "sweep.json"  # a directory with it holds the runs of a sweep, by number
FIRST = "gptforge train model=small data=shakespeare"  # what to type where there is nothing yet
HYDRAS = "multirun.yaml"  # Hydra's notes of a sweep, written before its points are composed
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Call:
    """How a command was called: what was typed, the option chosen in each group, the run directory if one was given."""

    typed: list[str] = field(default_factory=list)
    choices: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The names in one run directory. `create` makes a new one, `find` opens one that is there."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CLAIM

    @property
    def decisions(self) -> Path:
        return self.path / "decisions.json"

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def environment(self) -> Path:
        return self.path / "env.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def pointer_name(self) -> str:
        """The run as `runs/latest` and messages name it: relative to runs/ where possible."""
        try:
            return self.path.resolve().relative_to(RUNS.resolve()).as_posix()
        except ValueError:
            return str(self.path)

    @classmethod
    def create(cls, config: Mapping[str, Any], name: str, call: Call) -> "Run":
        """A new directory that no other run has, with config.json in it.

        Raises UsageError when the directory that was asked for holds a run already, ResourceError
        when it cannot be written.
        """
        try:
            if call.directory is not None:
                make_directories(call.directory)
                run = cls(call.directory)
            else:
                run = cls(_new_directory(RUNS, name))
            _claim(run, config)
            write_text(run.path / "overrides.txt", "".join(redacted(word) + "\n" for word in call.typed))
            sync_directory(run.path)
        except OSError as e:
            raise from_os_error(e, "the run directory cannot be made") from e
        run.point_latest()
        return run

    def update(self, config: Mapping[str, Any], call: Call) -> None:
        """Records how the run was called once more, and the config if that changed it."""
        try:
            if read_json(self.config, "the saved config") != config:
                write_json(self.config, config)
            path = self.path / "overrides.txt"
            earlier = path.read_text(encoding="utf-8") if path.exists() else ""
            write_text(path, earlier + "".join(redacted(word) + "\n" for word in call.typed))
        except OSError as e:
            raise from_os_error(e, "the run directory cannot be written") from e

    @classmethod
    def find(cls, text: str) -> "Run":
        """The run that `latest`, a path, a name under runs/ or a checkpoint's path stands for."""
        return cls(_containing_run(_resolve(text)))

    def point_latest(self) -> None:
        """Makes this run the one that `latest` means. A runs/ folder that cannot be written is not this run's fault."""
        with contextlib.suppress(OSError):
            RUNS.mkdir(exist_ok=True)
            write_text(RUNS / "latest", self.pointer_name + "\n")

    def steps(self) -> list[int]:
        """The steps of all committed checkpoints, ascending."""
        if not self.checkpoints.is_dir():
            return []
        found = (STEP_DIR.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(m[1]) for m in found if m)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def newest_first(self) -> list[Path]:
        return [self.checkpoint(step) for step in reversed(self.steps())]

    def pointer(self, name: str) -> int | None:
        """The step that checkpoints/latest or checkpoints/best names."""
        try:
            m = STEP_DIR.fullmatch((self.checkpoints / name).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError):
            return None
        return int(m[1]) if m else None

    def _refuse_links(self) -> None:
        """Raises CheckpointError for a link that leads out of the run: what is written there would be somebody's."""
        home = os.path.realpath(self.path)
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                if os.path.islink(path) and not os.path.realpath(path).startswith(home + os.sep):
                    raise CheckpointError(
                        "a link in the run leads out of it", where=path, fix="put the file or folder itself there"
                    )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process; LockedError (exit 7) names the process that has it.

        The operating system drops the lock when its holder dies, so a stale one cannot remain.
        """
        self._refuse_links()
        with held(self.path):
            yield


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a directory for this process; LockedError (exit 7) names the process that has it."""
    try:
        handle = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - held for the work's lifetime
        handle.seek(0)  # where Windows locks
    except OSError as e:
        raise from_os_error(e, "the lock cannot be made") from e
    with handle:
        if not try_lock(handle):
            handle.seek(0)
            holder = handle.read(200).strip() or "another process"
            raise LockedError(f"{folder} is being used by {holder}", fix="wait for it, or end it first")
        handle.truncate(0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        handle.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
        handle.flush()
        yield


def candidates(text: str) -> list[Path]:
    """The checkpoint directories that `latest`, `best`, RUN, RUN/best or a checkpoint's path may mean, best first.

    A run stands for its checkpoints, newest first, so that a damaged one can be passed over; a
    checkpoint named exactly stands for itself alone.
    """
    if text == "best":
        return [_best(Run.find("latest"))]
    path = _resolve(text)
    if _is_checkpoint(path):
        return [path]
    if path.name in ("best", "latest") and not path.is_dir():
        run = Run(_containing_run(path.parent))
        return [_best(run)] if path.name == "best" else run.newest_first()
    run = Run(_containing_run(path))
    if not run.steps():
        raise CheckpointError(f"{run.path} has no checkpoint yet", fix=f"gptforge train resume={run.path}")
    return run.newest_first()


def _best(run: Run) -> Path:
    step = run.pointer("best")
    if step is None:
        raise CheckpointError(f"{run.path} has no best checkpoint yet", fix=f"ckpt={run.path} for its newest one")
    return run.checkpoint(step)


def run_name(data: str, model: str) -> str:
    """A sortable name: time, data, model."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data}_{model}")
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{label[:60].strip('-_')}"


@contextlib.contextmanager
def new_sweep_directory(given: str | None = None) -> Iterator[Path]:
    """runs/sweep_<time>, new, or the directory that was given, which must be empty; this process has it meanwhile.

    It is removed again if the work in it fails before anything was written. Raises UsageError, LockedError (exit 7).
    """
    try:
        if given is None:
            path = _new_directory(RUNS, f"sweep_{time.strftime('%Y-%m-%d_%H-%M-%S')}")
        else:
            path = Path(given)
            path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise from_os_error(e, "the sweep directory cannot be made") from e
    with held(path):
        if (path / SWEEP).exists():
            fixes = [f"gptforge train -m resume={path} goes on with it", "hydra.sweep.dir=PATH of a new folder"]
            raise UsageError(f"{path} holds a sweep already", fix=fixes)
        if any(entry.name != LOCK for entry in path.iterdir()):
            raise UsageError(f"{path} is not empty", fix="hydra.sweep.dir=PATH of a new folder")
        try:
            yield path
        except BaseException:
            if {entry.name for entry in path.iterdir()} <= {LOCK, HYDRAS, "points"}:
                shutil.rmtree(path, ignore_errors=True)
            raise


def find_sweep(text: str) -> Path:
    """The directory of the sweep that a name or a path stands for.

    `latest` is that of the newest run, or else the one below runs/ that was written last.
    """
    sweeps = sorted((p for p in RUNS.glob(f"*/{SWEEP}") if p.is_file()), key=lambda p: p.stat().st_mtime)
    try:
        path = _resolve(text)
    except CheckpointError as e:
        if text != "latest" or not sweeps:
            near = difflib.get_close_matches(Path(text).name, [p.parent.name for p in sweeps], 1, 0.6)
            raise CheckpointError(e.what, where=e.where, fix=f"resume={near[0]}" if near else e.fixes) from None
        return sweeps[-1].parent
    for candidate in (path, path.parent):
        if (candidate / SWEEP).is_file():
            return candidate
    if text == "latest" and sweeps:
        return sweeps[-1].parent
    fixes = [f"gptforge train resume={text}, without -m"] if (path / CLAIM).is_file() else []
    raise CheckpointError(f"{path} is no sweep", fix=fixes or "the folder that `sweep in …` named")


def redacted(word: str) -> str:
    """A typed word without what looks like a secret."""
    name, equals, _ = word.partition("=")
    return f"{name}=<redacted>" if equals and looks_secret(name) else without_passwords(word)


def _new_directory(root: Path, name: str) -> Path:
    """root/name, or root/name-2, -3 …: created, so never shared, even by runs started in the same second."""
    make_directories(root)
    for attempt in range(1, 10_000):
        path = root / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
            sync_directory(root)
            return path
        except FileExistsError:
            continue
    raise FileExistsError(f"no free name like {root / name}")


def _claim(run: Run, config: Mapping[str, Any]) -> None:
    """Creates config.json, which marks the directory as a run's.

    The finished file is linked into place, which fails if there is one: a claim is exclusive and never half written.
    """
    temporary = run.path / f".tmp-claim-{unique()}"
    try:
        write_json(temporary, config)
        try:
            _link(temporary, run.config)
        except FileExistsError:
            raise UsageError(
                f"{run.path} holds a run already",
                fix=[f"gptforge train resume={run.path} goes on with it", "hydra.run.dir=PATH of a new folder"],
            ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name unless that is taken; on file systems without links, a copy."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        with open(target, "xb") as f:
            f.write(source.read_bytes())


def _resolve(text: str) -> Path:
    """The path that a run's name, a path or `latest` stands for."""
    if text == "latest" or Path(text) == RUNS / "latest":
        try:
            text = (RUNS / "latest").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise CheckpointError("there is no run yet", where=str(RUNS / "latest"), fix=FIRST) from None
    places = [Path(text), RUNS / text] if text else []
    for path in places:
        if os.path.exists(path):  # unlike Path.exists it takes names that are too long
            return path
    for path in places:  # RUN/best and RUN/latest
        if path.name in ("best", "latest") and os.path.exists(path.parent / CLAIM):
            return path
    raise CheckpointError(
        f"there is no run or checkpoint {text[:60]!r}",
        where=" and ".join(dict.fromkeys(str(place)[:120] for place in places)),
        fix=_nearby(text),
    )


def _nearby(text: str) -> list[str]:
    places = [path.parent for claim in (f"*/{CLAIM}", f"*/[0-9]*/{CLAIM}") for path in RUNS.glob(claim)]
    runs = sorted((path.relative_to(RUNS).as_posix() for path in places), reverse=True)
    name = text.removeprefix(f"{RUNS}/")
    near = difflib.get_close_matches(name, runs, 1, 0.6) or difflib.get_close_matches(Path(name).name, runs, 1, 0.6)
    if near:
        return [f"{near[0]} (a run that is there)"]
    return [f"gptforge runs lists them; the newest is {runs[0]}" if runs else f"{FIRST} makes a run"]


def _containing_run(path: Path) -> Path:
    """The run directory at or above a path (a checkpoint, checkpoints/, config.json)."""
    for candidate in (path, *list(path.resolve().parents)[:2]):
        if (candidate / CLAIM).is_file() and not _is_checkpoint(candidate):
            return candidate
    if (path / SWEEP).is_file():
        fixes = [f"gptforge train -m resume={path} goes on with it", f"{path}/0 is the run of its first point"]
        raise CheckpointError(f"{path} is a sweep", fix=fixes)
    raise CheckpointError(f"{path} is no run and no checkpoint of one", fix="ckpt=latest, or a folder below runs/")


def _is_checkpoint(path: Path) -> bool:
    """Whether a directory is a checkpoint; one that has lost its manifest is known by its place."""
    place = path.resolve()
    return (path / MANIFEST).is_file() or (
        STEP_DIR.fullmatch(place.name) is not None and place.parent.name == "checkpoints" and path.is_dir()
    )
