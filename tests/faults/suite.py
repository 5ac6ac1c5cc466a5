"""What a fault is, and how faults are run and told: one line each, and seeds that replay a failure.

A fault is something that happens to users (a process dies, a disk is full, a file is damaged) and a promise about it.
Its trials draw from their seed alone, so that one which failed can be run again by itself. Knows nothing of what is
broken.
"""

import contextlib
import io
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
import unittest
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

FIRST_SEED = 1
T = TypeVar("T")


class Draw(random.Random):
    """What a trial draws from: a random generator of its own. `number` is its seed as a count from 0."""

    number = 0

    def in_turn(self, items: Sequence[T], shuffled: bool = True) -> T:
        """One of the items, by the seed: trials of consecutive seeds take them in turn, each once in a round."""
        order = list(items)
        if shuffled:  # always alike, so that a few trials see something of everything
            random.Random(0).shuffle(order)
        return order[self.number % len(order)]


def drawn(fault: str, seed: int) -> Draw:
    """What the trial with this seed draws from."""
    draw = Draw(f"{fault}-{seed}")
    draw.number = seed - FIRST_SEED
    return draw


def nothing() -> None:
    """The ground of trials that share none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`trial(draw, ground)` does one harm in an empty folder, its working directory, and raises if the promise breaks.

    What this machine does not allow raises unittest.SkipTest, and counts as not tried. `ground` is what `prepared()`
    gave, made once a process, in a folder that stays: what trials share and must not change. `quick` and `full` are how
    many trials there are; `least` is the share of them that must pass. A trial with `alone` gets the machine for
    itself: it measures time.
    """

    id: str
    promise: str
    trial: Callable[[Draw, Any], None]
    quick: int
    full: int
    prepared: Callable[[], Any] = nothing
    least: float = 1.0
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial: how long it took, and what went wrong or why it was not tried, nothing if all went well."""

    seed: int
    seconds: float
    wrong: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All trials of a fault."""

    fault: Fault
    outcomes: Sequence[Outcome]

    @property
    def passed(self) -> int:
        return sum(not outcome.wrong and not outcome.skipped for outcome in self.outcomes)

    @property
    def skipped(self) -> list[str]:
        """Why trials were not tried, a reason for each of them."""
        return [outcome.skipped for outcome in self.outcomes if outcome.skipped]

    @property
    def kept(self) -> bool:
        """Whether the promise holds, as far as it was tried."""
        return bool(self.outcomes) and self.passed >= self.fault.least * (len(self.outcomes) - len(self.skipped))

    def line(self) -> str:
        """id, passed/N, worst-case seconds, seed: of the first failure, else of the first trial."""
        failed = [outcome.seed for outcome in self.outcomes if outcome.wrong]
        worst = max(outcome.seconds for outcome in self.outcomes)
        count = f"{self.passed}/{len(self.outcomes)}"
        seed = (failed or [self.outcomes[0].seed])[0]
        mark = "" if self.kept else "  FAILED"
        if self.skipped:
            mark += f"  {len(self.skipped)} SKIPPED: {self.skipped[0]}"
        return f"{self.fault.id:<3} {count:>11} {worst:7.2f} s  seed {seed:<6} {self.fault.promise}{mark}"


def run(fault: Fault, seeds: Sequence[int], workers: int) -> Iterator[Outcome]:
    """The outcomes of the trials of these seeds, in their order, by so many processes."""
    if fault.alone:
        workers = 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(seeds)), context, _begin, (fault,)) as pool:
        yield from pool.map(_one, seeds)


_fault: Fault
_ground: Any = None
_unprepared = ""  # why there is no ground to stand on: then no trial passes


def _begin(fault: Fault) -> None:
    """What a process does once: the ground that its trials stand on."""
    global _fault, _ground, _unprepared
    _fault = fault
    folder = tempfile.mkdtemp(prefix=f"gptforge-fault-{fault.id}-", dir=os.environ["GPTFORGE_FAULTS"])
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _ground = fault.prepared()
    except Exception:
        _unprepared = f"the ground of the trials could not be made:\n{traceback.format_exc()}{said.getvalue()[-2000:]}"


def _one(seed: int) -> Outcome:
    began = time.perf_counter()
    wrong, skipped = _unprepared, ""
    if wrong:
        return Outcome(seed, 0.0, wrong)
    said = io.StringIO()
    home = Path.cwd()
    with tempfile.TemporaryDirectory(dir=os.environ["GPTFORGE_FAULTS"], ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                _fault.trial(drawn(_fault.id, seed), _ground)
        except unittest.SkipTest as e:
            skipped = str(e)
        except Exception:
            wrong = traceback.format_exc() + said.getvalue()[-2000:]
        finally:
            os.chdir(home)
    return Outcome(seed, time.perf_counter() - began, wrong, skipped)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
