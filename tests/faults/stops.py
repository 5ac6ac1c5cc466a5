"""R6: SIGTERM, SIGINT and SIGUSR1 at any moment of a training: it ends soon, and nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import killing
import small
from faults.forks import done
from faults.suite import Draw, Fault
from gptforge.runs import Run
from gptforge.signals import SIGNALS

SLOW = 3  # how many times slower a busy machine may be
SECONDS = 5.0 * SLOW  # in which the process has ended
SECONDS_AT_ONCE = 1.0 * SLOW  # the same after a second signal
HELD_LONG = 120.0
RUN = "run"
PHASES = ["start", "import", "prepare", "train", "evaluate", "save", "sample", "end", "exit"]
PER_RUN = {"train": 12, "evaluate": 6, "save": 60, "sample": 3, "prepare": 2}  # at least so many calls there are
ASKED = ("train", "evaluate", "save", "sample", "end")  # where the first signal lets a step, or more, be finished


def peaceful() -> killing.Peaceful:
    """The run as it is when nobody disturbs it."""
    small.write_text()
    code, said = done(*words("uninterrupted"), environment=cache())
    assert code == 0, said
    return killing.Peaceful(small.course("uninterrupted"), 0, 0)


def words(run: str) -> list[str]:
    return small.typed(small.config(ui="plain"), run)


def cache() -> Mapping[str, str]:
    """A cache of this trial alone: its text is prepared anew."""
    return {"GPTFORGE_CACHE": str(Path("cache").absolute())}


def signalled(draw: Draw, ground: killing.Peaceful) -> None:
    """A signal in a phase, each with each by turns; in some a second one follows."""
    phase, number = draw.in_turn(PHASES, shuffled=False), draw.in_turn([*SIGNALS, signal.SIGTERM], shuffled=False)
    small.write_text()
    twice = phase in ASKED and draw.random() < 0.3
    nth, held = draw.randint(1, PER_RUN.get(phase, 1)), draw.choice([0.0, 0.5])
    what = f"{number.name} {'twice ' if twice else ''}in phase {phase}, call {nth}, held {held} s"
    early = phase == "start" and draw.random() < 0.5
    process = started(phase, nth, HELD_LONG if twice else held, wait=not early)
    time.sleep(draw.uniform(0, 0.4) if early or held else draw.uniform(0, 0.05))
    code, said = end(process, number, twice, draw.choice(SIGNALS))
    judge(code, what, said, early, twice)
    go_on(what)
    killing.assert_same(RUN, ground, what)


def started(phase: str, nth: int, held: float, wait: bool) -> subprocess.Popen[str]:
    """A training in a process of its own, which is now in this phase; without `wait` it has just been started."""
    path = os.pathsep.join([str(Path(small.__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.held", phase, str(nth), str(held), *words(RUN)],
        env=os.environ | cache() | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if wait and process.stdout.readline() != "here\n":
        raise AssertionError(f"it did not come to phase {phase}, call {nth}: {process.communicate()[1]}")
    return process


def end(process: subprocess.Popen[str], number: int, twice: bool, second: int) -> tuple[int, str]:
    """Sends one signal, or two. The exit code, and what it said; raises if it takes too long."""
    patience = SECONDS
    process.send_signal(number)
    if twice:
        time.sleep(0.3)
        assert process.poll() is None, f"the first signal ended a step that lasts: {process.communicate()[1]}"
        process.send_signal(second)
        patience = SECONDS_AT_ONCE
    began = time.monotonic()
    try:
        _, said = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it had not ended after {time.monotonic() - began:.1f} s") from None
    return process.returncode, said


def judge(code: int, what: str, said: str, early: bool, twice: bool) -> None:
    """Whether it ended with the right code, and left the run, if there is one yet, as the code says."""
    what = f"{what}: exit {code}, {said}"
    assert early or "Traceback" not in said, what
    claimed = Path(RUN, "config.json").exists()
    if early and not claimed:  # Python itself may have been starting still
        assert code, what
        return
    assert code in ((130, 0) if twice else (75, 0)), what
    if not claimed:
        assert code == 75 and not Path("runs").exists() and not Path(RUN).exists(), what
        assert not list(Path("cache").rglob(".*")), f"{what}; in the cache is {list(Path('cache').rglob('.*'))}"
        return
    if twice:
        return
    summary = small.summary(RUN)
    assert summary["status"] in ("stopped", "done") and (code == 75 or summary["status"] == "done"), what
    told, steps = small.records(RUN), Run(Path(RUN)).steps()
    assert summary["steps"] == (told[-1]["step"] if told else 0) == (steps[-1] if steps else 0), f"{what}: a step lost"


def go_on(what: str) -> None:
    """Has the run, or one that begins anew, come to its end."""
    resumed = ["train", f"resume={RUN}"] if Path(RUN, "config.json").exists() else words(RUN)
    code, said = done(*resumed, environment=cache())
    assert code == 0, f"{what}, then it does not go on: exit {code}, {said}"


FAULTS = [
    Fault(
        "R6",
        "SIGTERM, SIGINT, SIGUSR1 in any phase: exit 75 within 5 s (x3), no step lost; a second one: 1 s (x3)",
        signalled,
        quick=9,
        full=120,
        prepared=peaceful,
        alone=True,
    )
]
