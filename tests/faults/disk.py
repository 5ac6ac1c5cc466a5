"""C2, C3: disks that are full, or do not do what they are asked to, while a run is saved or a text is prepared."""

import contextlib
import errno
import io
import os
import shutil
import subprocess
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import small
from faults.storage import Change, watched
from faults.suite import Draw, Fault
from gptforge import checkpoint
from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data.prepare import prepare, stored_in
from gptforge.data.store import Dataset
from gptforge.errors import MAX_LINES, ResourceError
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from gptforge.train.keeper import Keeper

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
REFUSABLE = ("open", "write", "fsync", "rename", "link", "mkdir", "truncate")  # a full disk lets files be removed
SAVED, LAST = 3, 6  # the steps that are saved
CALLS = 240  # at least as many as there are calls to refuse, so that the quick set refuses each of them once
MB = 2**20
SIZES = 20  # of full disks
SMALLEST, LARGEST = 16 * 2**10, 17 * MB  # bytes; a save wants 16 MiB and what it writes, so the largest will do
LEFT, ENOUGH = 200_000, 150_000  # bytes, of which a save needs the less
SETTINGS = {"train__steps": LAST, "checkpoint__every": 3, "checkpoint__keep": 1, "eval__every": 3}
EARLIER = DataConfig(source="files", path="earlier.txt"), TokenizerConfig(), CleanConfig()
TEXT = DataConfig(source="files", path="text.txt"), TokenizerConfig(), CleanConfig()
RECIPES = {
    "first": TEXT,  # into a cache that is not there yet
    "text": TEXT,
    "cleaned": (
        DataConfig(source="files", path="texts"),
        TokenizerConfig(kind="bpe", vocab_size=300),
        CleanConfig(whitespace=True, exact_duplicates="documents", near_duplicates="drop"),
    ),
}


@dataclass(frozen=True, slots=True)
class Ground:
    """A run that was stopped after its first checkpoint, how it ends undisturbed, and every call that may fail.

    `calls` are (what is done, the number of the call); `stored` the files of each data set that is prepared.
    """

    folder: Path
    whole: tuple
    calls: list[tuple[str, int]]
    stored: dict[str, dict[str, bytes]]


def write_texts() -> None:
    """A text, a folder of texts that repeat each other, and another text, prepared before."""
    small.write_text()
    small.write_text(Path("earlier.txt"), seed=1)
    Path("texts").mkdir()
    for n in range(6):
        small.write_text(Path(f"texts/{n}.txt"), words=300, seed=n % 4)


def stopped_run() -> Ground:
    trainer_module.measured_peak = lambda runtime: 1e12
    write_texts()
    assert small.gptforge(*small.typed(small.config(**SETTINGS), "whole")) == 0
    assert small.gptforge(*small.typed(small.config(**SETTINGS, train__stop_after="3"), "run")) == 75
    calls, stored = [], {}
    shutil.copytree("run", "counted")
    for what in ("save", *RECIPES):
        count = Refusal(None, 0, False)
        if what == "save":
            with saving(count):
                assert small.gptforge("train", "resume=counted") == 0
        else:
            with own_cache(what):
                prepared_earlier(what)
                with watched(Path.cwd(), count):
                    count.armed = True
                    stored[what] = small.contents(stored_in(prepared(RECIPES[what])))
        calls += [(what, number) for number in range(count.seen)]
    assert len(calls) <= CALLS, f"{len(calls)} calls may fail: CALLS is too small to refuse each of them once"
    return Ground(Path.cwd(), small.course("whole"), calls, stored)


# Failing calls -----------------------------------------------------------------------------------------------


class Refusal:
    """Fails the call of that number, from the moment it is armed; with `lasting` all calls after it too.

    A write that fails may have written half of it before: then the call after it fails.
    """

    def __init__(self, code: int | None, number: int, lasting: bool, half: bool = False) -> None:
        self.armed = False
        self.seen = 0
        self.refused: Change | None = None
        self._code, self._number, self._lasting, self._half = code, number, lasting, half

    def __call__(self, change: Change) -> int | None:
        if not self.armed or change.kind not in REFUSABLE:
            return None
        number, self.seen = self.seen, self.seen + 1
        if self._code is None or number < self._number or (number > self._number and not self._lasting):
            return None
        if number == self._number and self._half and change.kind == "write" and len(change.data) > 1:
            self._number += 1
            return len(change.data) // 2
        self.refused = self.refused or change
        raise OSError(self._code, os.strerror(self._code), str(change.path))


@contextlib.contextmanager
def saving(refusal: Refusal) -> Iterator[None]:
    """Arms a refusal when the last checkpoint is about to be saved; after the save only a lasting one stays."""
    save = Keeper.save

    def armed(keeper: Keeper, state, rngs) -> None:
        refusal.armed = state.step == LAST
        save(keeper, state, rngs)
        refusal.armed = refusal.armed and refusal.refused is not None

    with watched(Path.cwd(), refusal), mock.patch.object(Keeper, "save", armed):
        yield


def told(*words: str) -> tuple[int, str]:
    """The exit code of a command line and what it said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = small.gptforge(*words)
    return code, said.getvalue()


def check_message(what: str, said: str, reason: str) -> None:
    """One message of the right kind that gives the reason."""
    assert said.count("gptforge: resource error:") == 1 and "Traceback" not in said, f"{what}: {said}"
    message = said[said.index("gptforge: resource error:") :]
    assert reason in message and len(message.splitlines()) <= MAX_LINES, f"{what}: {message}"


def check_old_state(what: str, run: Run, ground: Ground) -> None:
    """The checkpoint that was there is there, or the new one is: whole, and `best` with it."""
    _, path, warnings = checkpoint.to_go_on_from(str(run.path))
    assert path is not None and not warnings, f"{what}: {warnings}"
    best = run.pointer("best")
    assert best in run.steps(), f"{what}: best is step {best}, there are {run.steps()}"
    checkpoint.verify(run.checkpoint(best))
    earlier = ground.folder / "run" / "checkpoints" / f"step-{SAVED:06d}"
    kept = [small.contents(run.checkpoint(step)) for step in run.steps() if step == SAVED]
    assert kept in ([], [small.contents(earlier)]), f"{what}: step {SAVED} was changed"


def check_going_on(what: str, run: Run, ground: Ground) -> None:
    """The next start ends as if nothing had happened, and nothing lies about."""
    code, said = told("train", f"resume={run.path}")
    assert code == 0, f"{what}: exit {code} at the next start: {said}"
    assert small.course(run.path) == ground.whole, f"{what}: another course"
    assert not small.litter(run.path), f"{what}: {small.litter(run.path)}"


def refused_save(refusal: Refusal, reason: str, ground: Ground) -> None:
    run = Run(Path(shutil.copytree(ground.folder / "run", "run")))
    shutil.copy(ground.folder / "text.txt", "text.txt")
    with saving(refusal):
        code, said = told("train", "resume=run")
    what = f"{refusal.refused}: {reason}"
    assert refusal.refused, "nothing was refused"
    tidying = refusal.refused.target is not None and refusal.refused.target.name.startswith(".trash-")
    assert code == 5 or (code == 0 and tidying), f"{what}: exit {code}: {said}"
    if code:
        check_message(what, said, reason)
    check_old_state(what, run, ground)
    check_going_on(what, run, ground)


@contextlib.contextmanager
def own_cache(name: str) -> Iterator[Path]:
    folder = Path(name).resolve()
    with mock.patch.dict(os.environ, GPTFORGE_CACHE=str(folder)):
        yield folder


def prepared(recipe: tuple[DataConfig, TokenizerConfig, CleanConfig]) -> Dataset:
    data, tokenizer, clean = recipe
    return prepare(data, tokenizer, clean=clean)


def prepared_earlier(what: str) -> dict[str, bytes]:
    """The files of another text that is in the cache before; none where there is to be no cache."""
    return {} if what == "first" else small.contents(stored_in(prepared(EARLIER)))


def refused_preparation(refusal: Refusal, reason: str, what: str, ground: Ground) -> None:
    write_texts()
    with own_cache("cache") as cache:
        before = prepared_earlier(what)
        try:
            with watched(Path.cwd(), refusal):
                refusal.armed = True
                prepared(RECIPES[what])
        except ResourceError as e:
            check_message(f"{refusal.refused}", f"gptforge: {e}", reason)
        else:
            raise AssertionError(f"{refusal.refused}: no error")
        assert refusal.refused, "nothing was refused"
        assert not small.litter(cache), f"{refusal.refused}: {small.litter(cache)}"
        assert prepared_earlier(what) == before, f"{refusal.refused}: the earlier text is another"
        again = prepared(RECIPES[what])
        assert small.contents(stored_in(again)) == ground.stored[what], f"{refusal.refused}: other tokens"
        assert not [w for w in again.warnings if "damaged" in w], f"{refusal.refused}: {again.warnings}"
        assert not small.litter(cache), f"{refusal.refused}: {small.litter(cache)} after the next start"


def refused_call(draw: Draw, ground: Ground) -> None:
    """Each call of a save and of preparing a text fails in turn."""
    turn, case = divmod(draw.number, len(ground.calls))
    what, number = ground.calls[case]
    code = CODES[(case + turn) % len(CODES)]
    refusal = Refusal(code, number, lasting=draw.random() < 0.5, half=draw.random() < 0.5)
    if what == "save":
        refused_save(refusal, os.strerror(code), ground)
    else:
        refused_preparation(refusal, os.strerror(code), what, ground)


# Full disks --------------------------------------------------------------------------------------------------


def mount(*words: str) -> None:
    """Calls mount(8) for a disk in memory; skips the trial where that is not allowed."""
    try:
        subprocess.run(["mount", "-t", "tmpfs", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise unittest.SkipTest("no disk of a small size can be mounted here, which root can on Linux") from e


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A disk of that many bytes."""
    folder = Path("disk").resolve()
    folder.mkdir()
    mount("-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:  # lazily: tokens may still be mapped from it
        subprocess.run(["umount", "--lazy", folder], check=True)


def too_small_disk(size: int, ground: Ground) -> None:
    """A run and its cache on a disk that is full sooner or later; then it grows, and the same words go on."""
    shutil.copy(ground.folder / "text.txt", "text.txt")
    words = small.typed(small.config(**SETTINGS), "run")[:-1]
    with small_disk(size) as disk, own_cache("disk/cache"):
        run = Run(disk / "run")
        code, said = told(*words, f"hydra.run.dir={run.path}")
        what = f"a disk of {size:,} bytes"
        assert code in (0, 5), f"{what}: exit {code}: {said}"
        if code:
            check_message(what, said, "")
            mount("-o", f"remount,size={64 * MB}", "tmpfs", str(disk))
            if not run.config.exists():
                code, said = told(*words, f"hydra.run.dir={run.path}")
                assert code == 0, f"{what}: exit {code} once it has grown: {said}"
        check_going_on(what, run, ground)


def filled_disk(left: int, ground: Ground) -> None:
    """A disk that somebody else fills but for `left` bytes, after the last save has found it large enough."""
    shutil.copy(ground.folder / "text.txt", "text.txt")
    enough = checkpoint._check_space

    def filled(folder: Path, size: int) -> None:
        enough(folder, size)
        if Path(folder, f"step-{SAVED:06d}").exists():
            os.truncate(ballast, 0)
            with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while (free := shutil.disk_usage(folder).free - left) > 0:
                    file.write(bytes(min(free, MB)))

    with small_disk(32 * MB) as disk:
        run = Run(Path(shutil.copytree(ground.folder / "run", disk / "run")))
        (ballast := disk / "ballast").touch()
        with mock.patch.object(checkpoint, "_check_space", filled):
            code, said = told("train", f"resume={run.path}")
        what = f"a disk with {left:,} bytes left"
        assert code == 5 or (code == 0 and left > ENOUGH), f"{what}: exit {code}: {said}"
        if code:
            check_message(what, said, os.strerror(errno.ENOSPC))
        check_old_state(what, run, ground)
        ballast.unlink()
        check_going_on(what, run, ground)


def full_disk(draw: Draw, ground: Ground) -> None:
    """Disks of twenty sizes, and as many amounts that others leave of one."""
    which, case = draw.number % 2, 7 * (draw.number // 2) % SIZES  # in an order that few trials spread over
    if which:
        filled_disk(LEFT * case // (SIZES - 1), ground)
    else:
        too_small_disk(int(SMALLEST * (LARGEST / SMALLEST) ** (case / (SIZES - 1))), ground)


FAULTS = [
    Fault(
        "C2",
        "a save or a preparation whose write, sync, rename or mkdir fails spoils nothing",
        refused_call,
        quick=CALLS,
        full=len(CODES) * CALLS,
        prepared=stopped_run,
    ),
    Fault(
        "C3",
        "a disk that is full spoils nothing, and a run goes on once there is space",
        full_disk,
        quick=6,
        full=2 * SIZES,
        prepared=stopped_run,
    ),
]
