"""D3, X1, X3, X4: many processes at once on one data set, one folder of runs, one run; and sweeps that fail in part."""

import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import killing
import small
from faults.forks import Forked, done
from faults.suite import Draw, Fault
from gptforge.runs import Call, Run
from gptforge.sweep.points import Point, read

SLOW = 3  # how many times slower a busy machine may be
PREPARING, STARTING = 8, 32
RUN = "run"


# D3: one data set ----------------------------------------------------------------------------------------------


def prepared_together(draw: Draw, ground: Any) -> None:
    """Eight processes want the same tokens at once; some that make them are killed, and some that wait."""
    small.write_text(words=draw.randint(20_000, 60_000), seed=draw.randrange(1000))
    tokenizer = draw.choice([["tokenizer=char"], ["tokenizer=byte"], ["tokenizer=bpe", "tokenizer.vocab_size=400"]])
    words = ["prepare", "data=text.txt", "json=true", "ui=quiet", *tokenizer]
    code, expected = done(*words, environment=cache("alone"))
    assert code == 0, expected
    builders, waiters = draw.randint(1, 3), draw.randint(0, 2)
    what = f"{builders} builders and {waiters} others killed, {tokenizer}"
    processes = [Forked(*words, environment=cache("together")) for _ in range(PREPARING)]
    left = list(processes)
    for _ in range(builders):
        if (builder := wait_for_builder(left)) is None:
            break
        time.sleep(draw.uniform(0, 0.15))
        strike(builder, left)
    for victim in draw.sample(left, min(waiters, len(left) - 1)):
        strike(victim, left)
    for process in left:
        assert process.ended() == 0, f"{what}: {process.said()}"
        assert facts(process.said()) == facts(expected), f"{what}: {process.said()}"
    assert stored("together") == stored("alone"), f"{what}: {sorted(stored('together'))}, {sorted(stored('alone'))}"
    assert_no_litter_in_time(words, what)


def cache(name: str) -> dict[str, str]:
    return {"GPTFORGE_CACHE": str(Path(name).absolute())}


def wait_for_builder(processes: list[Forked]) -> Forked | None:
    """The process that makes the tokens now, by the name of its folder; None if all are done."""
    by_pid = {str(process.pid): process for process in processes}
    while any(process.ended(0) is None for process in processes):
        for folder in Path("together/tokens").glob(".tmp-*"):
            if builder := by_pid.get(folder.name.split("-")[2]):
                return builder
        time.sleep(0.001)
    return None


def strike(process: Forked, left: list[Forked]) -> None:
    """Kills a process, if it is not done yet; it is then no longer among those left."""
    if process.ended(0) is None:
        process.kill()
        left.remove(process)


def facts(said: str) -> dict[str, Any]:
    """What prepare told of the data, without the lines for people."""
    return json.loads(said[said.index("{\n") : said.rindex("}") + 1])


def stored(name: str) -> dict[str, bytes]:
    """Every file of every data set in a cache, but for the reports, which are written at each use."""
    folder = Path(name, "tokens")
    files = (path for path in folder.glob("[!.]*/*") if not path.name.startswith((".", "report.")))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_no_litter_in_time(words: list[str], what: str) -> None:
    """A day later the next text that is prepared takes away what the killed have left."""
    then = time.time() - 25 * 3600
    for path in Path("together").rglob("*"):
        os.utime(path, (then, then))
    small.write_text(seed=1001)
    code, said = done(*words, environment=cache("together"))
    assert code == 0, said
    litter = list(Path("together").rglob(".*"))
    held = {str(path): sorted(map(str, path.rglob("*"))) for path in litter}
    assert not litter, f"{what}: left behind are {held}"


# X1: many starts -----------------------------------------------------------------------------------------------


def started_together(draw: Draw, ground: Any) -> None:
    """Runs that are named in the same moment, each by date and time, have a directory each."""
    small.write_text()
    code, said = done("prepare", "data=text.txt", "ui=quiet")
    assert code == 0, said
    config = small.config(train__steps=2, train__grad_accum=1, seed=draw.randrange(1000))
    words = small.typed(config, "any")[:-1]  # without hydra.run.dir=
    barrier = multiprocessing.get_context("fork").Barrier(STARTING)
    began = time.monotonic()
    processes = [Forked(*words, first=lambda: at_once(barrier)) for _ in range(STARTING)]
    for process in processes:
        assert process.ended() == 0, process.said()
    runs = sorted(path for path in Path("runs").iterdir() if path.is_dir())
    took = f"{time.monotonic() - began:.1f} s"
    assert len(runs) == STARTING, f"{STARTING} starts made {len(runs)} runs in {took}: {[run.name for run in runs]}"
    courses = {str(small.course(run)) for run in runs}
    assert len(courses) == 1 and all(small.summary(run)["status"] == "done" for run in runs)
    assert not [path for run in (*runs, "runs") for path in killing.litter(str(run))]
    assert Path("runs/latest").read_text(encoding="utf-8").strip() in {run.name for run in runs}


def at_once(barrier: Any) -> None:
    """Has all processes wait for each other before they make their run's directory."""
    create = Run.create

    def created(config: Mapping[str, Any], name: str, call: Call) -> Run:
        barrier.wait(killing.PATIENCE)
        return create(config, name, call)

    Run.create = created


# X3: one run ---------------------------------------------------------------------------------------------------


def resumed_twice(draw: Draw, ground: Any) -> None:
    """A run that is at work is refused to others; when its process has died, the next one takes it."""
    small.write_text()
    long = {"train__steps": 100_000, "eval__every": 50_000, "checkpoint__every": draw.randint(5, 20)}
    holder = Forked(*small.typed(small.config(**long), RUN))
    try:
        wait_until(lambda: Path(RUN, "checkpoints/latest").exists(), holder)
        for _ in range(draw.randint(1, 2)):
            refused(draw.choice([RUN, "latest", f"{RUN}/checkpoints"]), holder)
    finally:
        holder.kill()
    saved = Run(Path(RUN)).steps()[-1]
    began = time.monotonic()
    taking = [Forked("train", f"resume={RUN}", "train.stop_after=5") for _ in range(draw.choice([1, 1, 2, 4]))]
    codes = sorted(process.ended() or 0 for process in taking)
    told = "\n".join(process.said() for process in taking)
    assert codes[-1] == 75 and set(codes) <= {7, 75}, f"of {len(taking)} that take a dead one's run: {codes}\n{told}"
    taken = codes.count(75)  # one after the other, perhaps
    assert Run(Path(RUN)).steps()[-1] == saved + 5 * taken, f"{codes}: {saved} -> {Run(Path(RUN)).steps()}\n{told}"
    assert time.monotonic() - began < 10 * SLOW, f"taking over took {time.monotonic() - began:.1f} s"
    killing.assert_told_once(RUN, f"taken by {taken} of {len(taking)}")
    assert not killing.litter(RUN)


def refused(name: str, holder: Forked) -> None:
    code, said = done("train", f"resume={name}", patience=2 * SLOW)
    assert code == 7 and f"process {holder.pid} " in said, f"resume={name} of {holder.pid}'s run: exit {code}, {said}"
    assert holder.ended(0) is None, holder.said()


def wait_until(condition: Callable[[], bool], process: Forked) -> None:
    end = time.monotonic() + killing.PATIENCE
    while not condition():
        assert process.ended(0.005) is None and time.monotonic() < end, process.said()


# X4: a sweep ---------------------------------------------------------------------------------------------------

# What a point with a word in it ends with, and what is said of it; the first that is in it decides
WORDS = {
    "model.n_head=5": (2, "model.n_head=5"),
    'data.path="broken.txt"': (3, "broken.txt"),
    'data.path="short.txt"': (3, "tokens"),
    "optimizer.lr=1e+30": (6, "numerical error"),
}
OTHERS = ["model.n_head=2,5", "optimizer.lr=1e-3,1e30", "optimizer.lr=1e30,1e-3", "model.n_head=2"]
POINT = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "train.steps=4"]
POINT += ["sample.max_new_tokens=2", "optimizer.kind=adamw", "schedule.warmup_steps=0", "eval.every=4"]


def swept(draw: Draw, ground: Any) -> None:
    """A sweep over texts, some of which cannot be used, and over values, of which one may be impossible or fatal."""
    write_texts()
    texts = ["broken.txt", "short.txt", draw.choice(["text.txt", "other.txt"])]
    draw.shuffle(texts)
    other = draw.choice(OTHERS)
    command = killing.Command("train", "-m", *POINT, f"data={','.join(texts)}", other)
    code, said = command.ended(), command.said()
    places = list(Path("runs").glob("sweep_*"))
    assert len(places) == 1, said
    points = read(places[0]).points
    assert len(points) == len(texts) * len(other.split(",")), said
    codes = [judged(point, places[0], said) for point in points]
    assert code == next(filter(None, codes)), f"exit {code}, the points ended with {codes}: {said}"
    assert 0 in codes and "Traceback" not in said, said


def judged(point: Point, place: Path, said: str) -> int:
    """The code that a point must have ended with; raises if it has not, or is not told of as it should be."""
    code, why = next((WORDS[word] for word in WORDS if word in point.overrides), (0, ""))
    assert (point.exit_code, point.status) == (code, "failed" if code else "done"), f"{point}: {said}"
    tail = said[said.rindex("point  status") :]
    told = re.search(rf"^point {point.number} \(.*\) failed: .*{re.escape(why)}", tail, re.MULTILINE)
    assert bool(told) == bool(code), f"{point} is not told of as it ended: {tail}"
    if not code:
        assert small.summary(place / str(point.number))["status"] == "done", said
    return code


def write_texts() -> None:
    small.write_text()
    small.write_text(Path("other.txt"), seed=1)
    Path("broken.txt").write_bytes(b"\xff" * 2000)
    Path("short.txt").write_text("a b", encoding="utf-8")


FAULTS = [
    Fault(
        "D3",
        f"{PREPARING} processes prepare one text, some are killed: one result, the same bytes, no litter a day later",
        prepared_together,
        quick=2,
        full=50,
    ),
    Fault("X1", f"{STARTING} starts in one moment have {STARTING} directories", started_together, quick=1, full=5),
    Fault(
        "X3",
        "a run in use is refused within 2 s (x3) and its user named; a dead one's is taken over",
        resumed_twice,
        quick=10,
        full=100,
    ),
    Fault("X4", "a sweep tells all its failures, does the rest, and exits as the first", swept, quick=1, full=10),
]
