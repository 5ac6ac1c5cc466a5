"""Kills runs at drawn moments, goes on with them until they are done, and compares them with one left in peace.

Knows no way to start a process: `start(*words)` does that, and gives back something to wait for and to kill.
"""

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import small

PATIENCE = 600  # seconds after which a process is taken for stuck
POLL_SECONDS = 0.0005


class Victim(Protocol):
    """A command line at work."""

    def ended(self, seconds: float = PATIENCE) -> int | None:
        """Its exit code, as soon as it has one within so many seconds; below 0: the signal that ended it."""
        ...

    def kill(self) -> None: ...

    def said(self) -> str: ...


Start = Callable[..., Victim]
Moment = Callable[[Victim, Path], bool]  # waits for a moment in a run's life; False if the process ended before


class Command:
    """A command line in a process of its own. What it says goes to a file, so that it never waits for a reader."""

    _count = count(1)

    def __init__(self, *words: str, **options: Any) -> None:
        self._said = Path(f"said-{next(self._count)}.txt").absolute()
        with self._said.open("w") as told:
            self.process = small.start(*words, **{"stderr": told} | options)

    def ended(self, seconds: float = PATIENCE) -> int | None:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Peaceful:
    """A run that nobody disturbed: its course, and how long it took to start and to train."""

    course: tuple[str, str, list[dict[str, Any]]]
    started: float
    trained: float


def in_peace(start: Start, words: list[str], run: str = "uninterrupted") -> Peaceful:
    """Runs it once to the end."""
    began = time.monotonic()
    process = start(*words, f"hydra.run.dir={run}")
    assert process.ended() == 0, process.said()
    trained = small.summary(run)["seconds"]
    return Peaceful(small.course(run), time.monotonic() - began - trained, trained)


def kill_repeatedly(
    start: Start, words: list[str], peaceful: Peaceful, moments: Iterator[Moment], wanted: int
) -> list[str]:
    """Kills so many times and has every run that was hit finish like the peaceful one. Returns the runs."""
    kills, runs = 0, []
    for number in count(1):
        run = f"killed-{number}"
        kills += kill_and_go_on(start, [*words, f"hydra.run.dir={run}"], run, islice(moments, wanted - kills))
        assert_same(run, peaceful, f"{kills} kills in {number} runs of {' '.join(words)}")
        runs.append(run)
        if kills == wanted:
            return runs
    raise AssertionError


def kill_and_go_on(start: Start, begin: list[str], run: str, moments: Iterator[Moment]) -> int:
    """One run, killed at each of the moments that it lives to see, then let be. Returns how often it was killed."""
    kills = 0
    while True:
        again = Path(run, "config.json").exists()
        process = start(*(["train", f"resume={run}", "ui=quiet"] if again else begin))
        moment = next(moments, None)
        if moment is not None and moment(process, Path(run)):
            process.kill()
            kills += 1
            continue
        assert process.ended() == 0, f"after {kills} kills: {process.said()}"
        return kills


# Moments ------------------------------------------------------------------------------------------------------


def after(seconds: float) -> Moment:
    """So long after the start of the process."""
    return lambda victim, run: victim.ended(seconds) is None


def once_there(pattern: str, nth: int, seconds: float) -> Moment:
    """So long after the nth new path like this is seen in the run."""

    def moment(victim: Victim, run: Path) -> bool:
        seen = old = set(run.glob(pattern))
        while len(seen - old) < nth:
            if victim.ended(POLL_SECONDS) is not None:
                return False
            seen = seen | set(run.glob(pattern))
        time.sleep(seconds)
        return victim.ended(0) is None

    return moment


def at_any_time(draw: random.Random, peaceful: Peaceful, wanted: int) -> Iterator[Moment]:
    """Moments anywhere in a run, its start included, so that about `wanted` kills come before the end."""
    while True:
        early = peaceful.started * draw.uniform(0.2, 1)
        late = peaceful.started + draw.uniform(0, 1.6 * peaceful.trained / wanted)
        yield after(early if draw.random() < 0.25 else late)


# What must be so at the end -----------------------------------------------------------------------------------


def assert_same(run: str, peaceful: Peaceful, what: str) -> None:
    """The run has come to the same end by the same course, bit for bit, and nothing is left of its kills."""
    weights, optimizer, records = small.course(run)
    assert records == peaceful.course[2], f"{what}: other metrics\n{records}\n{peaceful.course[2]}"
    assert weights == peaceful.course[0], f"{what}: other weights"
    assert optimizer == peaceful.course[1], f"{what}: another state of the optimizer"
    assert small.summary(run)["status"] == "done", what
    assert_told_once(run, what)
    assert not litter(run), f"{what}: left behind are {litter(run)}"
    halves = list(Path(run).glob("checkpoints/set-aside-*/*"))
    assert not halves, f"{what}: a checkpoint that was not sound had its name already: {halves}"


def assert_told_once(run: str, what: str) -> None:
    """metrics.jsonl is JSON, line by line; each step is there once and in order; metrics.csv has as many lines."""
    text = Path(run, "metrics.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n"), f"{what}: the last line is cut"
    records = [json.loads(line) for line in text.splitlines()]
    for kind in ("train_loss", "val_loss"):
        steps = [record["step"] for record in records if kind in record]
        assert steps == sorted(set(steps)), f"{what}: {kind} is told of the steps {steps}"
    assert [record["step"] for record in records] == sorted(record["step"] for record in records), what
    lines = Path(run, "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(records) + 1, f"{what}: metrics.csv has {len(lines)} lines for {len(records)} records"


def litter(run: str) -> list[Path]:
    """What a write that was cut short has left."""
    return [path for path in Path(run).rglob(".*") if path.name != ".lock"]
