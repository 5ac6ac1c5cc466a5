"""Hydra's other launchers: a point is the same whoever starts it, and what they lose is found again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import launchers
from gptforge.config import SweepConfig
from gptforge.errors import ConfigError, UserError
from gptforge.history import DONE, FAILED, STOPPED
from gptforge.sweep.board import Board
from gptforge.sweep.elsewhere import Elsewhere
from gptforge.sweep.points import Point, Sweep, read
from gptforge.sweep.pool import Task
from gptforge.sweep.run import Frozen, begin, go_on

TINY = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "sample.max_new_tokens=5"]
TINY += ["train.steps=6", "eval.every=3", "data=text.txt", "runtime.threads=1"]
POINTS = ["optimizer.kind=adamw", "optimizer.lr=1e-3,1e30", "model.n_head=2,5"]  # two of them fail, one cannot be


def sweep(*words):
    command = [sys.executable, "-m", "gptforge", "train", "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "a (1), [b] = c"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)


def told(place):
    """How the points of a sweep have ended, and with which weights."""
    points = read(Path(place)).points
    summaries = {p.number: Path(place, str(p.number), "summary.json") for p in points if p.status == DONE}
    weights = {number: json.loads(path.read_text())["weights_sha256"] for number, path in summaries.items()}
    return [(p.status, p.exit_code, p.error.partition("\n")[0]) for p in points], weights


@pytest.mark.slow
def test_points_are_the_same_whoever_starts_them(here):
    own = sweep(*TINY, *POINTS, "hydra.sweep.dir=own")
    assert own.returncode == 2 and [status for status, *_ in told("own")[0]] == [DONE, FAILED, FAILED, FAILED]
    joblib = sweep(*TINY, *POINTS, "hydra/launcher=joblib", "n_jobs=2", "hydra.sweep.dir=joblib")
    submitit = sweep(*TINY, *POINTS, "launcher=submitit_local", "hydra.launcher.timeout_min=5", "hydra.sweep.dir=local")
    for place, done in (("joblib", joblib), ("local", submitit)):
        assert done.returncode == 2 and told(place) == told("own"), done.stderr
        assert f"points given to launcher={read(Path(place)).cfg.launcher}: 2" in done.stderr
    again = sweep("resume=joblib", "retry=true", "launcher=submitit_local")
    assert "points given to launcher=submitit_local: 1" in again.stderr and told("joblib") == told("own"), again.stderr


@pytest.mark.parametrize(
    ("cfg", "what"),
    [
        (SweepConfig(launcher="joblip"), "launcher=joblib"),
        (
            SweepConfig(launcher="joblib", launcher_options=["hydra.launcher.n_job=3"]),
            r"no hydra.launcher.n_job\n.*n_jobs=…",
        ),
        (SweepConfig(launcher="submitit_local", launcher_options=["hydra.launcher.timeout_min=x"]), "timeout_min"),
    ],
)
def test_what_hydra_does_not_know_is_told_before_anything_begins(cfg, what):
    with pytest.raises(ConfigError, match=what):
        launchers.check(cfg)


def test_a_launcher_that_is_not_installed_names_its_extra():
    error = launchers._unknown("submitit_slurm", ["basic", "gptforge"])
    assert isinstance(error, UserError) and "gptforge[slurm]" in str(error)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["launcher=joblib", "fail_fast=true"], "fail_fast"),
        (["launcher=joblib", "search=tpe"], "search=random"),
        (["hydra.launcher.timeout_min=3"], "own launcher has no such key"),
        (["launcher=joblip"], "launcher=joblib"),
        (["launcher=joblib", "hydra.launcher.jobs=3"], "hydra.launcher.jobs"),
    ],
)
def test_what_cannot_be_together_is_refused_and_leaves_nothing(here, words, said):
    done = sweep(*TINY, "seed=1,2", *words)
    assert done.returncode == 2 and said in done.stderr and not Path("runs").exists(), done.stderr


# Without Hydra --------------------------------------------------------------------------------------------------


def made(n):
    swept = Sweep(Path("sweep"), SweepConfig(launcher="other"), [Point(i, [f"seed={i}"]) for i in range(n)])
    Path("sweep/points").mkdir(parents=True)
    for point in swept.points:
        swept.frozen(point).write_text("{}")
    return swept


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind there")
def test_ctrl_c_lets_the_points_save_and_begins_no_other(here):
    words = [
        *TINY[:-4],
        "train.steps=1000000",
        "eval.every=1000000",
        "data=text.txt",
        "runtime.threads=1",
        "seed=1,2,3",
    ]
    command = [sys.executable, "-m", "gptforge", "train", "-m", *words, "launcher=joblib", "n_jobs=2"]
    process = subprocess.Popen([*command, "hydra.sweep.dir=swept"], stderr=-1, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while not all(Path("swept", n, "metrics.jsonl").exists() for n in "01"):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75 and [p.status for p in read(Path("swept")).points[:2]] == [STOPPED] * 2, said
    assert [json.loads(Path("swept", n, "summary.json").read_text())["status"] for n in "01"] == [STOPPED] * 2
    assert not Path("swept", "2").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the queue is gone")])
def test_a_launcher_that_fails_loses_nothing(here, capsys, error):
    swept = made(3)
    for number, status in ((0, DONE), (1, FAILED)):
        swept.run(swept.points[number]).path.mkdir()
        swept.run(swept.points[number]).summary.write_text(json.dumps({"status": status, "exit_code": 6}))

    def fails(*_):
        raise error

    elsewhere = Elsewhere(swept, Board(swept), fails)
    elsewhere.run([Task(p) for p in swept.points])
    assert [p.status for p in swept.points] == [DONE, FAILED, "waiting"] and elsewhere.stopping()
    assert "launcher=other has not ended well" in capsys.readouterr().err
    elsewhere.run([Task(swept.points[2])])  # and nothing is given to it again
    assert swept.points[2].status == "waiting"


def test_how_tasks_ended_is_taken_from_the_launcher(here, capsys):
    swept = made(3)
    elsewhere = Elsewhere(swept, Board(swept), lambda *_: [(0, []), (6, ["no loss", "  fix: lr=1"]), (75, [])])
    elsewhere.run(Task(p) for p in swept.points)
    assert [p.status for p in swept.points] == [DONE, FAILED, STOPPED]
    assert "gptforge: no loss\n  fix: lr=1" in capsys.readouterr().err
    assert [p.status for p in read(Path("sweep")).points] == [DONE, FAILED, STOPPED]


class Trainer:
    """A launcher that writes what runs would write. It is interrupted after `left` runs, if that is a number."""

    def __init__(self, bits, fails, left=None):
        self.bits, self.fails, self.left, self.trained = bits, fails, left, []

    def __call__(self, sweep, tasks):
        return [self.train(sweep, task) for task in tasks]

    def train(self, sweep, task):
        if self.left is not None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        number, run = task.point.number, sweep.run(task.point)
        fails_at, until = self.fails.get(number, 100), task.until or STEPS
        last = min(until, fails_at)
        self.trained.append((number, task.until))
        run.path.mkdir(exist_ok=True)
        row = self.bits[number]
        records = [{"step": s, "val_loss": 1.0, "val_bpb": row[s // 10 - 1]} for s in range(10, last + 1, 10)]
        run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
        status, code = (FAILED, 6) if last < until else (DONE, 0) if until == STEPS else (STOPPED, 75)
        told = {"status": status, "exit_code": code, "val_loss": 1.0, "best_val_loss": 1.0}
        run.summary.write_text(json.dumps(told | {"val_bpb": records[-1]["val_bpb"] if records else None}))
        return code, ["it failed"] if code == 6 else []


STEPS = 90
ROW = st.lists(st.sampled_from([1.0, 1.5, 2.0, 2.5]), min_size=9, max_size=9)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.lists(ROW, min_size=2, max_size=9),
    fails=st.dictionaries(st.integers(0, 8), st.sampled_from([5, 15, 35, 85]), max_size=3),
    interruptions=st.lists(st.integers(0, 5), max_size=4),
    eta=st.sampled_from([2, 3]),
    seeds=st.sampled_from([1, 2]),
)
def test_halving_chooses_the_same_points_however_often_it_is_interrupted(bits, fails, interruptions, eta, seeds):
    saved = {"config": {"train": {"steps": STEPS}, "eval": {"every": 10}}}
    cfg = SweepConfig(launcher="other", halving=eta, rungs=2)
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        for name, stops in (("whole", []), ("interrupted", interruptions)):
            place = Path(folder, name)
            place.mkdir()
            frozen = [Frozen(Point(n, [f"lr={n // seeds}", f"seed={n % seeds}"]), saved) for n in range(len(bits))]
            trainers = [Trainer(bits, fails, left) for left in [*stops, None]]
            begin(place, cfg, frozen, trainers[0])
            for trainer in trainers[1:]:
                go_on(place, {}, lambda sweep: None, trainer)
            ends.append([p.status for p in read(place).points])
            trained = [one for trainer in trainers for one in trainer.trained]
            assert len(trained) == len(set(trained))  # nothing runs twice
    assert ends[0] == ends[1]
