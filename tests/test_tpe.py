"""Search by TPE: it finds more than chance, asks for nothing twice, and goes on after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from hydra.core.override_parser.overrides_parser import OverridesParser

from gptforge.sweep.points import Point, read
from gptforge.sweep.run import Frozen
from hydra_plugins.gptforge_search.tpe import Study

TINY = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "sample.max_new_tokens=5"]
TINY += ["data=text.txt", "train.steps=8", "eval.every=8", "checkpoint.every=2", "runtime.threads=1"]


class Launcher:
    """Gives points without composing them."""

    def frozen(self, number, overrides):
        return Frozen(Point(number, overrides), {})


def study(path, *words, seed=1):
    return Study(path, OverridesParser.create().parse_overrides(list(words)), seed, Launcher())


def told(source, point, bits):
    point.status, point.results = "done", {"best_val_bpb": bits}
    source.tell(point)


def values(point):
    return dict(word.split("=", 1) for word in point.overrides)


def test_it_comes_closer_than_chance_would(tmp_path):
    source = study(tmp_path / "a.db", "model=tiny", "lr=tag(log,interval(1e-6,1))", "n=int(interval(1,9))", "k=a,b")
    found = []
    for number in range(40):
        point = source.ask(number).point
        held = values(point)
        assert point.number == number and held["model"] == "tiny" and 1 <= int(held["n"]) <= 9
        found.append(abs(float(held["lr"]) - 1e-3) / 1e-3 + abs(int(held["n"]) - 4) + (held["k"] == "b"))
        told(source, point, found[-1])
    assert source.keys == ["lr", "n", "k"]
    assert sorted(found[20:])[10] < sorted(found[:10])[5]  # medians: the later points are better than the first


def test_no_point_is_asked_for_twice(tmp_path):
    source = study(tmp_path / "a.db", "a=1,2,3", "b=x,y")
    points = []
    while (one := source.ask(len(points))) is not None:
        points.append(one.point)
        told(source, one.point, float(len(points)))
    assert len({tuple(p.overrides) for p in points}) == len(points) == 6


def test_a_study_goes_on(tmp_path):
    tmp_path = tmp_path / "what? 100%"
    tmp_path.mkdir()
    first = study(tmp_path / "a.db", "lr=interval(0,1)")
    points = [first.ask(n).point for n in range(3)]
    told(first, points[0], 1.0)
    points[1].status = "failed"
    first.tell(points[1])
    first._study.ask(first._distributions)  # a kill came before it was a point
    second = study(tmp_path / "a.db", "lr=interval(0,1)")
    assert [second.ask(n).point.overrides for n in range(3)] == [p.overrides for p in points]
    assert second.ask(3).point.overrides not in [p.overrides for p in points]
    told(second, points[0], 9.0)  # told once more: the first word counts
    told(second, points[2], 2.0)
    told(second, points[1], 3.0)  # it had failed, and was tried again
    told(second, points[1], 4.0)
    assert [t.value for t in second._trials() if t.value is not None] == [1.0, 2.0, 3.0]
    assert second.ask(1).point.overrides == points[1].overrides


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_search_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    words = [sys.executable, "-m", "gptforge", "train", "-m"]
    asked = [*TINY, "lr=1e-4,1e-3,1e-2", "search=tpe", "trials=5", "hydra.sweep.dir=found"]  # of which there are 3
    process = subprocess.Popen([*words, *asked], stderr=subprocess.DEVNULL, env={**os.environ})
    until = time.monotonic() + 120
    while not (Path("found/sweep.json").exists() and len(read(Path("found")).points) > 1):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read(Path("found")).points
    done = subprocess.run([*words, "resume=found"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    after = read(Path("found")).points
    assert [p.status for p in after] == ["done"] * 3
    assert [p.overrides for p in after[: len(before)]] == [p.overrides for p in before]
    assert "point 0 begins" not in done.stderr  # it was done before the kill
