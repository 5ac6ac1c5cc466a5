"""C1, C4, C5: checkpoints whose files are damaged, that a power cut came upon, and that live through a long life."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import small
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
        kind = draw.choice([*CHANGES, "removed", "of another step"])
        if kind == "removed":
            path.unlink()
            return Harm(kind, path)
        after = (other / path.name).read_bytes() if isinstance(kind, str) else kind(draw, before)
        if after != before:
            path.write_bytes(after)
            return Harm(kind if isinstance(kind, str) else kind.__name__, path)


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
    if harm.kind != "removed" and harm.file.name != MANIFEST:
        written = checkpoint.read_json(ground.checkpoint(12) / MANIFEST, "")["files"][harm.file.name]["sha256"]
        for which, sha256 in (("found", small.sha256(harm.file)), ("written", written)):
            assert sha256[:16] in warnings[0], f"{harm}: the hash of what is {which} is not in {warnings[0]!r}"
    try:
        checkpoint.load_model(str(newest))
    except CheckpointError as e:
        assert e.exit_code == 4 and str(harm.file) in str(e), f"{harm}: {e}"
    else:
        raise AssertionError(f"{harm}: loaded all the same")


FAULTS = [
    Fault(
        "C1",
        "damage to one file of a checkpoint is found, and the one before is taken",
        damaged_file,
        quick=800,
        full=4000,
        prepared=three_checkpoints,
    ),
]
