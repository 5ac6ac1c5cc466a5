"""A sweep that is killed again and again: nothing runs twice, and the end is that of one left in peace."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptforge.sweep.points import read
from gptforge.sweep.table import rows

POINTS = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "sample.max_new_tokens=5"]
POINTS += ["data=text.txt", "train.steps=60", "eval.every=20", "checkpoint.every=5", "runtime.threads=1", "n_jobs=2"]
POINTS += ["optimizer.kind=adamw", "optimizer.lr=1e-4,3e-4,1e-3,2e-3,3e-3,1e-2,2e-2,1e30", "seed=1,2,3"]
KILLS = 5


def ended(*words):
    command = [sys.executable, "-m", "gptforge", "train", "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def killed(after, *words):
    """The command, killed once so many further points have ended."""
    place = Path("killed")
    process = subprocess.Popen([sys.executable, "-m", "gptforge", "train", "-m", *words], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not (place / "sweep.json").exists() or finished(place) < after:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    time.sleep(random.Random(after).uniform(0, 1.5))  # to meet the points that run at any place
    process.send_signal(signal.SIGKILL)
    process.wait()


def finished(place):
    return sum(p.status in ("done", "failed") for p in read(place).points)


def told(place):
    """The rows of the table, but for the time."""
    return [(row.overrides, [p.number for p in row.points], row.bits, row.finished) for row in rows(read(place))]


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_24_points_killed_five_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    whole = ended(*POINTS, "hydra.sweep.dir=whole")
    assert whole.returncode == 6, whole.stderr
    words = [*POINTS, "hydra.sweep.dir=killed"]
    for kill in range(KILLS):
        killed(3 + 4 * kill, *words)
        words = ["resume=killed"]
    last = ended("resume=killed")
    assert last.returncode == 6, last.stderr
    points = read(Path("killed")).points
    assert [p.status for p in points].count("done") == 21 and [p.status for p in points].count("failed") == 3
    assert told(Path("killed")) == told(Path("whole"))
    for p in points:
        run = Path("killed", str(p.number))
        if p.status == "done":
            assert steps(run) == steps(Path("whole", run.name))
            log = (run / "train.log").read_text().splitlines()
            assert " finish " in [line for line in log if " finish " in line or " start " in line][-1]
        else:
            assert (run / "train.log").read_text().count(" start ") == 1  # and it was not tried again
