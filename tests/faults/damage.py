"""C1, C4: checkpoints whose files are damaged, or that a power cut came upon."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import small
from faults.power import Mark, Recorder, leave
from faults.storage import watched
from faults.suite import Draw, Fault
from gptforge import checkpoint
from gptforge.errors import CheckpointError
from gptforge.runs import MANIFEST, Run
from gptforge.train import trainer as trainer_module

PAGE, SECTOR = 4096, 512  # bytes


def three_checkpoints() -> Run:
    """A finished run with checkpoints of steps 4, 8 and 12."""
    trainer_module.measured_peak = lambda runtime: 1e12
    small.write_text()
    small.trainer(small.config(train__steps=12, checkpoint__every=4, checkpoint__keep=3)).fit()
    return Run(Path("run").resolve())


# C1 ----------------------------------------------------------------------------------------------------------


def flipped(draw: Draw, content: bytes) -> bytes:
    bit = draw.randrange(8 * len(content))
    spoilt = bytearray(content)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def truncated(draw: Draw, content: bytes) -> bytes:
    return content[: draw.choice([draw.randrange(len(content)), len(content) - 1, 0])]


def zeroed_page(draw: Draw, content: bytes) -> bytes:
    begin = PAGE * draw.randrange(-(-len(content) // PAGE))
    page = content[begin : begin + PAGE]
    return content[:begin] + bytes(len(page)) + content[begin + PAGE :]


def zeroed_tail(draw: Draw, content: bytes) -> bytes:
    begin = draw.randrange(len(content))
    return content[:begin] + bytes(len(content) - begin)


def appended(draw: Draw, content: bytes) -> bytes:
    more = draw.choice([b"\n", b" ", b"\0", b"\0" * SECTOR, content, draw.randbytes(draw.randint(1, 2 * PAGE))])
    return content + more


def swapped_sectors(draw: Draw, content: bytes) -> bytes:
    """Two pieces of the length of a sector, or of half the file where that is shorter, in each other's place."""
    size = min(SECTOR, len(content) // 2)
    a, b = sorted(draw.sample(range(len(content) // size), 2))
    first, second = content[a * size : (a + 1) * size], content[b * size : (b + 1) * size]
    return content[: a * size] + second + content[(a + 1) * size : b * size] + first + content[(b + 1) * size :]


CHANGES: list[Callable[[Draw, bytes], bytes]] = [
    flipped, truncated, zeroed_page, zeroed_tail, appended, swapped_sectors,
]  # fmt: skip


REMOVED, OTHER = "removed", "that of another step"


@dataclass(frozen=True, slots=True)
class Harm:
    """What was done to one file of a checkpoint."""

    kind: str
    file: Path

    def __str__(self) -> str:
        return f"{self.kind}: {self.file.name}"


def damaged(draw: Draw, newest: Path, other: Path) -> Harm:
    """Draws a file and a kind of damage until the file is another one, and leaves it so."""
    names = sorted(path.name for path in newest.iterdir())
    while True:
        path = newest / draw.choice(names)
        before = path.read_bytes()
        change = draw.choice([*CHANGES, REMOVED, OTHER])
        if change == REMOVED:
            path.unlink()
            return Harm(REMOVED, path)
        after = (other / path.name).read_bytes() if isinstance(change, str) else change(draw, before)
        if after != before:
            path.write_bytes(after)
            return Harm(change if isinstance(change, str) else change.__name__, path)


def damaged_file(draw: Draw, ground: Run) -> None:
    """A damaged newest checkpoint is found and named, and the one before is what a run goes on from."""
    run = Run(Path(shutil.copytree(ground.path, Path("run").resolve())))
    newest, before, first = run.newest_first()
    harm = damaged(draw, newest, draw.choice([before, first]))
    found, path, warnings = checkpoint.to_go_on_from(str(run.path))
    assert found == run, f"{harm}: {found} is meant"
    assert path == before, f"{harm}: not found, {path} is taken"
    assert len(warnings) == 1, f"{harm}: {warnings}"
    assert str(harm.file) in warnings[0], f"{harm}: not named in {warnings[0]!r}"
    if harm.kind != REMOVED and harm.file.name != MANIFEST:
        written = checkpoint.read_json(ground.checkpoint(12) / MANIFEST, "")["files"][harm.file.name]["sha256"]
        for which, sha256 in (("found", small.sha256(harm.file)), ("written", written)):
            assert sha256[:16] in warnings[0], f"{harm}: the hash of what is {which} is not in {warnings[0]!r}"
    try:
        checkpoint.load_model(str(newest))
    except CheckpointError as e:
        assert e.exit_code == 4 and str(harm.file) in str(e), f"{harm}: {e}"
    else:
        raise AssertionError(f"{harm}: loaded all the same")


# C4 ----------------------------------------------------------------------------------------------------------

LIFE = {"train__steps": 16, "checkpoint__every": 8, "checkpoint__keep": 1, "eval__every": 12}


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that a run did to the disk, the files of each checkpoint that it committed, and how it ended."""

    folder: Path
    disk: Recorder
    checkpoints: dict[int, dict[str, bytes]]
    whole: tuple


def recorded_run() -> Recorded:
    trainer_module.measured_peak = lambda runtime: 1e12
    small.write_text()
    Path("disk").mkdir()
    disk = Recorder(Path("disk"))
    checkpoints: dict[int, dict[str, bytes]] = {}
    commit, point = checkpoint.commit, checkpoint.point

    def committed(run: Run, step: int, files: Mapping[str, bytes]) -> Path:
        path = commit(run, step, files)
        disk.mark(f"newest {step}")
        checkpoints[step] = small.contents(path)
        return path

    def pointed(run: Run, name: str, step: int) -> None:
        point(run, name, step)
        disk.mark(f"{name} {step}")

    with (
        watched(Path("disk"), disk),
        mock.patch.object(checkpoint, "commit", committed),
        mock.patch.object(checkpoint, "point", pointed),
    ):
        assert small.gptforge(*small.typed(small.config(**LIFE), "run")[:-1], "hydra.run.dir=disk/run") == 0
    return Recorded(Path.cwd(), disk, checkpoints, small.course("disk/run"))


def promised(ground: Recorded, cut: int, name: str) -> tuple[int | None, int | None]:
    """The step that `newest` or `best` had been promised to be, and the one that it was to be next."""
    told = [
        [int(m.name.split()[1]) for m in steps if isinstance(m, Mark) and m.name.split()[0] == name]
        for steps in (ground.disk.steps[:cut], ground.disk.steps[cut:])
    ]
    before, after = told
    return before[-1] if before else None, after[0] if after else None


def power_cut(draw: Draw, ground: Recorded) -> None:
    """Whatever a power cut leaves, the newest checkpoint that was promised is there, and the run goes on from it."""
    steps = ground.disk.steps
    ends = [n for n, step in enumerate(steps) if isinstance(step, Mark)]
    cut = draw.randint(0, len(steps)) if draw.random() < 0.5 else max(0, draw.choice(ends) + 1 - draw.randrange(40))
    leave(ground.disk, cut, draw, Path("disk"))
    shutil.copy(ground.folder / "text.txt", "text.txt")
    run, what = (
        Run(Path("disk/run")),
        f"cut after {cut} of {len(steps)} steps, the last was {['none', *ground.disk.said][cut]}",
    )
    newest, best = promised(ground, cut, "newest"), promised(ground, cut, "best")
    if newest[0] is None and not run.config.exists():
        shutil.rmtree(run.path, ignore_errors=True)  # nothing was promised, and what is there is no run
        words = [*small.typed(small.config(**LIFE), "run")[:-1], "hydra.run.dir=disk/run"]
    else:
        _, path, warnings = checkpoint.to_go_on_from(str(run.path))
        step = path and int(path.name.removeprefix("step-"))
        assert step in newest, f"{what}: step {step} is taken instead of {newest}: {warnings}"
        if path and step:
            assert not warnings, f"{what}: {warnings}"
            assert small.contents(path) == ground.checkpoints[step], f"{what}: step {step} is a mix"
        assert run.pointer("best") in best, f"{what}: best is {run.pointer('best')} instead of {best}"
        if run.pointer("best"):
            checkpoint.verify(run.checkpoint(run.pointer("best") or 0))
        words = ["train", "resume=disk/run"]
    assert small.gptforge(*words) == 0, f"{what}: the run does not go on"
    assert small.course(run.path) == ground.whole, f"{what}: the run takes another course"
    assert not small.litter(run.path), f"{what}: {small.litter(run.path)}"


FAULTS = [
    Fault(
        "C1",
        "damage to one file of a checkpoint is found, and the one before is taken",
        damaged_file,
        quick=800,
        full=4000,
        prepared=three_checkpoints,
    ),
    Fault(
        "C4",
        "after a power cut in a save the checkpoint before or the new one is there, whole",
        power_cut,
        quick=150,
        full=1000,
        prepared=recorded_run,
    ),
]
