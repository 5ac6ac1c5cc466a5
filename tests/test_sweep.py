"""A sweep: every point a process and a run of its own, and failures that spoil nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from gptforge.signals import StopSignals
from gptforge.sweep import Point, _run, finish, read, table

TINY = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "sample.max_new_tokens=5"]
SHORT = ["train.steps=3", "eval.every=3", "data=text.txt"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a text in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    return folder


def sweep(*words):
    command = [sys.executable, "-m", "gptforge", "train", "-m", *TINY, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_points_are_runs_and_an_impossible_one_is_a_clear_failure(here):
    text = 'a, "b" = ${c} \\'
    done = sweep(*SHORT, "model.n_head=2,5", "seed=1,2", f"prompt={text}", "hydra.sweep.dir=out/my, sweep")
    place = here / "out" / "my, sweep"
    points = read(place)
    assert [p.status for p in points] == ["done", "done", "failed", "failed"], done.stderr
    assert [p.exit_code for p in points] == [0, 0, 2, 2] and done.returncode == 2 and done.stdout == ""
    for n, seed in ((0, 1), (1, 2)):
        config = json.loads((place / str(n) / "config.json").read_text())["config"]
        assert (config["seed"], config["model"]["n_head"], config["prompt"]) == (seed, 2, text)
        assert json.loads((place / str(n) / "summary.json").read_text())["status"] == "done"
        assert f"seed={seed}" in points[n].overrides and points[n].results["best_val_loss"] > 0
    assert not (place / "2").exists() and not (place / "3").exists()
    tail = done.stderr[done.stderr.index("point  status") :].splitlines()
    assert [line.split()[1] for line in tail[1:5]] == ["done", "done", "failed", "failed"]
    assert done.stderr.count("model.n_embd=16 is not divisible by model.n_head=5") == 4  # when it comes, and at the end
    assert tail[-1] == "sweep in out/my, sweep: 2 of 4 points done"
    assert "Traceback" not in done.stderr
    again = sweep("hydra.sweep.dir=out/my, sweep")
    assert again.returncode == 2 and "not empty" in again.stderr


def test_a_point_that_fails_on_its_way_does_not_stop_the_others(here):
    Path("bad.txt").write_bytes(b"\xff" * 2000)
    done = sweep(*SHORT[:2], "data=bad.txt,text.txt")
    (place,) = Path("runs").glob("sweep_*")
    points = read(place)
    assert [p.status for p in points] == ["failed", "done"] and done.returncode == 3
    assert "bad.txt is not UTF-8" in points[0].error and "bad.txt is not UTF-8" in done.stderr
    assert sorted(p.name for p in place.iterdir()) == ["1", "points", "sweep.json"]


def test_a_sweep_that_cannot_be_read_leaves_nothing(here):
    for words in (["lr=[1"], ["modell=3"], ["model=tiny,smal"]):
        done = sweep(*words)
        assert done.returncode == 2 and len(done.stderr.splitlines()) <= 8
    assert [p.name for p in here.iterdir()] == ["text.txt"]


def test_a_stopped_sweep_says_how_to_go_on(here):
    command = [sys.executable, "-m", "gptforge", "train", "-m", *TINY, "data=text.txt", "seed=1,2"]
    command += ["train.steps=1000000", "eval.every=1000000", "checkpoint.every=5"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    saved = None
    deadline = time.monotonic() + 60
    while saved is None and time.monotonic() < deadline:
        saved = next(iter(Path("runs").glob("sweep_*/0/checkpoints/latest")), None)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    (place,) = Path("runs").glob("sweep_*")
    assert process.returncode == 75, err
    assert [p.status for p in read(place)] == ["stopped", "skipped"]
    assert f"gptforge train resume={place}/0" in err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_sweep_leaves_no_point_running(here):
    command = [
        sys.executable,
        "-m",
        "gptforge",
        "train",
        "-m",
        *TINY,
        "data=text.txt",
        "train.steps=1000000",
        "seed=1,2",
    ]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lock = wait_for(lambda: next((p for p in Path("runs").glob("sweep_*/0/.lock") if p.read_text()), None))
    child = int(lock.read_text().split()[1])
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    assert json.loads((lock.parent / "summary.json").read_text())["status"] == "stopped"


def wait_for(found, seconds=60):
    until = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return result


def test_a_point_that_is_killed_is_said_to_be(here):
    point = Point(0, ["seed=1"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(here / "python"))
        (here / "python").write_text("#!/bin/sh\necho 'gptforge: warning: odd' >&2\nkill -9 $$\n")
        os.chmod(here / "python", 0o755)
        _run(here, point, StopSignals())
    assert point.status == "failed" and point.error == "its process was ended by SIGKILL"


def test_the_table_puts_the_best_first(here, capsys):
    results = {"val_loss": 3.0, "best_val_loss": 2.5, "val_bpb": 1.5, "seconds": 61.0, "parameters": 5, "steps": 3}
    points = [
        Point(0, ["seed=1"], "done", 0, results=results),
        Point(1, ["seed=2"], "failed", 6, "numerical error: the loss is nan"),
        Point(2, ["seed=3"], "done", 0, results={**results, "best_val_loss": 2.4}),
        Point(3, ["seed=4"], "skipped"),
    ]
    assert [line.split()[0] for line in table(points)] == ["point", "2", "0", "1", "3"]
    (here / "sweep.json").write_text(json.dumps({"time": 0, "points": [asdict(p) for p in points]}))
    assert finish(here) == 6
    assert "point 1 (seed=2) failed: numerical error" in capsys.readouterr().err


def test_a_sweep_has_no_dry_run(here):
    done = sweep(*SHORT, "seed=1,2", "dry_run=true")
    assert done.returncode == 2 and "not a sweep" in done.stderr
    assert not Path("runs").exists()
