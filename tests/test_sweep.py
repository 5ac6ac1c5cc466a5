"""A sweep: every point a process and a run of its own, failures that spoil nothing, and a table that is true."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge import best
from gptforge.arguments import Grammar, parse
from gptforge.compose import compose, options
from gptforge.config import SCHEMAS, SweepConfig
from gptforge.config.saved import as_saved
from gptforge.errors import CheckpointError, ConfigError
from gptforge.report import sweep_page
from gptforge.signals import StopSignals
from gptforge.sweep import halving
from gptforge.sweep.board import Board
from gptforge.sweep.points import Point, Sweep, best_bits, read, reconcile
from gptforge.sweep.pool import Pool, Task
from gptforge.sweep.pool import command as command_of
from gptforge.sweep.run import finish, with_threads
from gptforge.sweep.table import importance, table

TINY = ["model=tiny", "model.n_embd=16", "model.block_size=16", "train.batch_size=2", "sample.max_new_tokens=5"]
TINY += ["runtime.threads=1"]
SHORT = ["train.steps=3", "eval.every=3", "data=text.txt"]
ENDLESS = ["data=text.txt", "train.steps=1000000", "eval.every=1000000", "checkpoint.every=5"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a text in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    return folder


def command(*words):
    return [sys.executable, "-m", "gptforge", "train", "-m", *words]


def sweep(*words):
    return subprocess.run(command(*TINY, *words), capture_output=True, text=True, timeout=300)


def go_on(*words):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=300)


def wait_for(found, seconds=60):
    until = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return result


def weights(place, point):
    return json.loads((place / str(point.number) / "summary.json").read_text())["weights_sha256"]


# The real command -----------------------------------------------------------------------------------------------


def test_points_are_runs_and_an_impossible_one_is_a_clear_failure(here):
    text = 'a, "b" = ${c} \\'
    done = sweep(*SHORT, "model.n_head=2,5", "seed=1,2", f"prompt={text}", "hydra.sweep.dir=out/my, sweep")
    place = here / "out" / "my, sweep"
    points = read(place).points
    assert [p.status for p in points] == ["done", "done", "failed", "failed"], done.stderr
    assert [p.exit_code for p in points] == [0, 0, 2, 2] and done.returncode == 2 and done.stdout == ""
    for n, seed in ((0, 1), (1, 2)):
        config = json.loads((place / str(n) / "config.json").read_text())["config"]
        assert (config["seed"], config["model"]["n_head"], config["prompt"]) == (seed, 2, text)
        assert json.loads((place / str(n) / "summary.json").read_text())["status"] == "done"
        assert f"seed={seed}" in points[n].overrides and points[n].results["best_val_loss"] > 0
    assert not (place / "2").exists() and not (place / "3").exists()
    tail = done.stderr[done.stderr.index("point  status") :].splitlines()
    assert [line.split()[:2] for line in tail[1:3]] == [["0,1", "done"], ["2,3", "failed"]]
    assert done.stderr.count("model.n_embd=16 is not divisible by model.n_head=5") == 4  # when it comes, and at the end
    assert "sweep in out/my, sweep: 2 of 4 points done" in tail and "retry" not in done.stderr
    assert "Traceback" not in done.stderr
    again = sweep("hydra.sweep.dir=out/my, sweep")
    assert again.returncode == 2 and "holds a sweep already" in again.stderr


def test_a_failed_point_does_not_stop_the_others_and_is_tried_again_on_request(here):
    Path("bad.txt").write_bytes(b"\xff" * 2000)
    done = sweep(*SHORT[:2], "data=bad.txt,text.txt")
    (place,) = Path("runs").glob("sweep_*")
    points = read(place).points
    assert [p.status for p in points] == ["failed", "done"] and done.returncode == 3
    assert "bad.txt is not UTF-8" in points[0].error and "bad.txt is not UTF-8" in done.stderr
    assert sorted(p.name for p in place.iterdir()) == [
        ".lock",
        "1",
        "experiment",
        "points",
        "report.html",
        "sweep.json",
    ]
    before = (place / "1" / "summary.json").stat().st_mtime_ns
    again = go_on(f"resume={place}")
    assert again.returncode == 3 and "begins" not in again.stderr  # what has failed stays so
    Path("bad.txt").write_text("all the world's a stage\n" * 50)
    again = go_on("resume=latest", "retry=true")
    assert again.returncode == 0 and "point 0 begins" in again.stderr and "point 1 begins" not in again.stderr
    assert [p.status for p in read(place).points] == ["done", "done"]
    assert (place / "1" / "summary.json").stat().st_mtime_ns == before


def test_after_a_failure_no_point_begins_with_fail_fast(here):
    Path("bad.txt").write_bytes(b"\xff" * 2000)
    done = sweep(*SHORT[:2], "data=bad.txt,text.txt", "--fail-fast")
    (place,) = Path("runs").glob("sweep_*")
    assert [p.status for p in read(place).points] == ["failed", "skipped"] and done.returncode == 3
    assert f"gptforge train -m resume={place}" in done.stderr
    assert go_on(f"resume={place}").returncode == 3  # it is what was asked for: to go on without that one
    assert [p.status for p in read(place).points] == ["failed", "done"]


def test_a_sweep_that_cannot_be_leaves_nothing(here):
    asked = {
        "cannot be read": ["lr=[1"],
        "modell": ["modell=3"],
        "smal": ["model=tiny,smal"],
        "a sweep of 1,000 points": ["seed=range(0,1000)"],
        "is a range": ["lr=interval(1e-4,1e-2)"],
        "n_jobs": ["seed=1,2", "n_jobs=0"],
        "rungs": ["seed=1,2", "halfing=3", "rung=2"],
        "is no sweep": ["resume=."],
    }
    for said, words in asked.items():
        done = sweep(*words) if words[0] != "resume=." else go_on(*words)
        assert done.returncode in (2, 4) and said in done.stderr and len(done.stderr.splitlines()) <= 8, done.stderr
    done = subprocess.run([*command()[:-1], "n_jobs=2"], capture_output=True, text=True)
    assert done.returncode == 2 and "-m" in done.stderr
    assert [p.name for p in here.iterdir()] == ["text.txt"]


def test_an_interrupted_sweep_goes_on_where_it_stood(here):
    words = [*TINY, "data=text.txt", "seed=1,2", "train.steps=12", "eval.every=4", "checkpoint.every=2"]
    assert subprocess.run(command(*words, "hydra.sweep.dir=whole"), capture_output=True).returncode == 0
    process = subprocess.Popen(command(*words, "hydra.sweep.dir=parts"), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: Path("parts/0/checkpoints/latest").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "gptforge train -m resume=parts" in err, err
    assert [p.status for p in read(Path("parts")).points][1:] == ["skipped"]
    other = go_on("resume=parts", "lr=1e-3")
    assert other.returncode == 2 and "optimizer.lr cannot change" in other.stderr
    done = go_on("resume=parts")
    assert done.returncode == 0, done.stderr
    for one, other in zip(read(Path("whole")).points, read(Path("parts")).points, strict=True):
        assert one.bits == other.bits
        assert weights(Path("whole"), one) == weights(Path("parts"), other)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_sweep_leaves_no_point_running_and_goes_on(here):
    parent = subprocess.Popen(command(*TINY, *ENDLESS, "seed=1,2", "n_jobs=2"), stderr=subprocess.DEVNULL)
    (place,) = wait_for(lambda: list(Path("runs").glob("sweep_*")))
    wait_for(lambda: all((place / n / "checkpoints" / "latest").exists() for n in "01"))
    children = [int((place / n / ".lock").read_text().split()[1]) for n in "01"]
    parent.kill()
    parent.wait()
    for child in children:
        wait_for(lambda child=child: not Path(f"/proc/{child}").exists())
    assert all(json.loads((place / n / "summary.json").read_text())["status"] == "stopped" for n in "01")
    sweep = read(place)
    assert [p.status for p in sweep.points] == ["running", "running"]
    reconcile(sweep)
    assert [p.status for p in sweep.points] == ["stopped", "stopped"]


def test_a_second_process_is_refused(here):
    first = subprocess.Popen(command(*TINY, *ENDLESS, "hydra.sweep.dir=one"), stderr=subprocess.DEVNULL)
    wait_for(lambda: Path("one/sweep.json").exists())
    second, third = go_on("resume=one"), sweep(*SHORT, "hydra.sweep.dir=one")
    assert second.returncode == third.returncode == 7
    assert f"process {first.pid}" in second.stderr and f"process {first.pid}" in third.stderr
    first.terminate()
    assert first.wait(60) == 75


def test_a_sweep_has_no_dry_run(here):
    done = sweep(*SHORT, "seed=1,2", "dry_run=true")
    assert done.returncode == 2 and "not a sweep" in done.stderr
    assert not Path("runs").exists()


@pytest.mark.slow
def test_halving_ends_as_the_whole_run_would(here):
    words = [*TINY, "data=text.txt", "optimizer.lr=1e-6,1e-5,3e-4,3e-3", "train.steps=16"]
    done = subprocess.run(command(*words, "halving=2", "hydra.sweep.dir=halved"), capture_output=True, text=True)
    assert done.returncode == 0 and "3 cut on the way" in done.stderr, done.stderr
    points = read(Path("halved")).points
    assert sorted(p.status for p in points) == ["cut"] * 3 + ["done"]
    steps = [json.loads(Path("halved", str(p.number), "summary.json").read_text())["steps"] for p in points]
    assert sorted(steps) == [4, 4, 8, 16]
    winner = next(p for p in points if p.status == "done")
    whole = [*command()[:-1], f"config=halved/points/{winner.number}.json", f"hydra.run.dir=whole/{winner.number}"]
    assert subprocess.run(whole, capture_output=True).returncode == 0
    assert weights(Path("whole"), winner) == weights(Path("halved"), winner)
    assert "begins" not in go_on("resume=halved").stderr  # nothing is left to do


# Pieces ---------------------------------------------------------------------------------------------------------


def made(points, path=Path("sweep"), **cfg):
    return Sweep(path, SweepConfig(**cfg), points)


def result(bits, loss=2.0, seconds=61.0):
    return {"best_val_bpb": bits, "best_val_loss": loss, "seconds": seconds}


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for Python")
@pytest.mark.parametrize(
    ("script", "status", "code", "error"),
    [
        ("echo 'gptforge: warning: odd' >&2; kill -9 $$", "failed", -9, "its process was ended by SIGKILL"),
        ("exit 3", "failed", 3, "its process ended with 3"),
        ("echo 'gptforge: data error: a'>&2; echo '  try: b'>&2; exit 3", "failed", 3, "data error: a\n  try: b"),
        ("exit 75", "stopped", 75, ""),
        ("exit 0", "done", 0, ""),
    ],
)
def test_how_a_process_ends_is_told(here, monkeypatch, capsys, script, status, code, error):
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    (here / "python").write_text(f"#!/bin/sh\n{script}\n")
    os.chmod(here / "python", 0o755)
    sweep = made([Point(0, ["seed=1"])], here)
    Pool(sweep, [{}], Board(sweep), StopSignals()).run([Task(sweep.points[0])])
    (point,) = read(here).points
    assert (point.status, point.exit_code, point.error) == (status, code, error)
    assert ("point 0: warning: odd" in capsys.readouterr().err) == ("warning" in script)


def test_a_failure_is_told_at_once_and_places_are_used_again(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    (here / "python").write_text('#!/bin/sh\necho "$PLACE" >> places; case "$*" in *0.json*) exit 6;; esac\n')
    os.chmod(here / "python", 0o755)
    sweep = made([Point(n, [f"seed={n}"]) for n in range(5)], here, n_jobs=2)
    pool = Pool(sweep, [{"PLACE": "a"}, {"PLACE": "b"}], Board(sweep), StopSignals())
    pool.run(Task(p) for p in sweep.points)
    assert [p.status for p in sweep.points] == ["failed", *["done"] * 4]
    places = Path("places").read_text().split()
    assert len(places) == 5 and set(places) == {"a", "b"}
    said = capsys.readouterr().err
    assert said.index("point 0 failed") < said.index("point 4 begins")


def test_the_table_puts_the_best_first_and_takes_seeds_together(here, capsys):
    points = [
        Point(0, ["model=tiny", "lr=1", "seed=1"], "done", 0, results=result(1.5)),
        Point(1, ["model=tiny", "lr=1", "seed=2"], "done", 0, results=result(1.7)),
        Point(2, ["model=tiny", "lr=2", "seed=1"], "done", 0, results=result(1.4)),
        Point(3, ["model=tiny", "lr=2", "seed=2"], "failed", 6, "numerical error: the loss is nan"),
        Point(4, ["model=tiny", "lr=3", "seed=1"], "done", 0, results=result(1.65)),
        Point(5, ["model=tiny", "lr=3", "seed=2"], "done", 0, results=result(1.45)),
    ]
    sweep = made(points, here)
    assert [line.split()[:4] for line in table(sweep)] == [
        ["point", "status", "bits/byte", "spread"],
        ["4,5", "done", "1.5500", "0.1414"],
        ["0,1", "done", "1.6000", "0.1414"],
        ["2,3", "done,failed", "1.4000", "-"],  # a mean of fewer seeds is no winner
    ]
    assert all("model=tiny" not in line for line in table(sweep))  # what all have tells nothing
    assert finish(sweep, lambda sweep: None) == 6
    assert "point 3 (lr=2 seed=2) failed: numerical error" in capsys.readouterr().err


@given(st.permutations(range(12)))
def test_importance_finds_what_made_the_difference(order):
    points = [
        Point(n, [f"lr={lr}", f"seed={seed}", f"model={model}"], "done", 0, results=result(1.0 + lr + 0.001 * seed))
        for n, (lr, seed, model) in enumerate((lr, s, m) for lr in (1, 2, 3) for s in (1, 2) for m in ("a", "b"))
    ]
    sweep = made([points[n] for n in order])
    found = importance(sweep)
    assert next(iter(found)) == "lr" and found["lr"] > 0.99 and found["seed"] < 0.01 and found["model"] == 0
    assert importance(made([p for p in points if p.number == 3])) == {}


def test_importance_of_many_numbers_and_of_chance():
    even = [Point(n, [f"lr={n + 1}", f"other={n * 7 % 16}"], "done", 0, results=result(1.0 + n)) for n in range(16)]
    found = importance(made(even))
    assert found["lr"] > 0.9 > found["other"]
    alone = [Point(n, [f"name={chr(97 + n)}"], "done", 0, results=result(1.0 + n)) for n in range(6)]
    assert importance(made(alone)) == {}  # as many values as points: nothing can be said


def test_bits_of_the_best_evaluation():
    assert best_bits({"val_loss": 2.0, "val_bpb": 3.0, "best_val_loss": 1.0}) == 1.5
    assert best_bits({"val_loss": None, "val_bpb": 3.0, "best_val_loss": 1.0}) is None
    assert best_bits({}) is None


@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 3))
def test_halving_keeps_the_best_and_at_least_one(n, eta, rungs):
    bits = {number: (number * 7919 % 101) / 10 for number in range(n)}
    alive = bits
    for _ in range(rungs):
        chosen = halving.best([[number] for number in alive], alive, eta)
        assert len(chosen) == max(1, len(alive) // eta)
        assert max(alive[c] for c in chosen) <= min([b for c, b in alive.items() if c not in chosen], default=99)
        alive = {number: alive[number] for number in chosen}
    assert min(bits, key=lambda number: (bits[number], number)) in alive


def test_what_has_no_bits_per_byte_cannot_be_chosen_by_them():
    halving.check_bits({"config": {}})
    halving.check_bits({"config": {"objective": {"kind": "next_token"}}})
    with pytest.raises(ConfigError, match="which hidden tokens"):
        halving.check_bits({"config": {"objective": {"kind": "mlm"}}})


def test_halving_takes_seeds_together():
    bits = {0: 1.0, 1: 4.0, 2: 2.0, 3: 2.0, 4: 0.5}
    assert halving.best([[0, 1], [2, 3]], bits, 2) == {2, 3}
    assert halving.best([[0, 1], [4, 5], [6, 7]], bits, 2) == {0, 1}  # one of the others has failed, both of the last
    assert halving.best([[6, 7]], bits, 2) == set()


def test_a_run_that_was_stopped_in_its_evaluation_at_a_rung_comes_to_it(here):
    sweep = made([Point(0, [])], here / "swept")
    run = sweep.run(sweep.points[0])
    (run.checkpoints / "step-000002").mkdir(parents=True)
    run.config.write_text("{}")
    assert command_of(sweep, Task(sweep.points[0], 2))[-1] == "train.stop_after=1"
    assert command_of(sweep, Task(sweep.points[0], 8))[-1] == "train.stop_after=6"


def test_a_damaged_file_of_a_point_is_no_record_and_spoils_no_page(here):
    points = [Point(0, [], "done", 0, results=result(1.5) | {"val_bpb": 1.5}), Point(1, [], "stopped")]
    sweep = made(points, here / "swept")
    for point in sweep.points:
        sweep.run(point).path.mkdir(parents=True)
        sweep.run(point).metrics.write_bytes(b'{"step": 2, "val_bpb": 1.5}\n\0\0\0\n{"step": 4}\n')
    assert [halving.bits_at(sweep, p, 2) for p in sweep.points] == [1.5, None]
    assert sweep_page.courses(sweep) == []


@given(
    st.integers(1, 10_000) | st.sampled_from([49, 729, 14641]),
    st.integers(2, 11),
    st.integers(1, 4),
    st.none() | st.integers(1, 500),
)
def test_rungs_are_steps_at_which_is_evaluated(steps, eta, rungs, every):
    saved = {"config": {"train": {"steps": steps}, "eval": {"every": every}}}
    if steps // eta**rungs < 1:
        with pytest.raises(ConfigError, match="too few"):
            halving.prepared(saved, eta, rungs)
        return
    ready = halving.prepared(saved, eta, rungs)
    every = ready["config"]["eval"]["every"]
    found = [halving.rung(ready, eta, power) for power in range(rungs, 0, -1)]
    assert found == sorted(found) and all(step % every == 0 or step == steps for step in found)
    assert all(1 <= step <= steps for step in found)
    with pytest.raises(ConfigError, match=r"length of a run in steps"):
        halving.prepared({"config": {"train": {"steps": None}, "eval": {"every": None}}}, eta, rungs)


def composed(*words):
    line = parse(list(words), Grammar("train", SCHEMAS["train"], options("train", [best.conf_dir()])))
    made = compose("train", line, [best.conf_dir()])
    return as_saved(made.config, made.call.choices)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=tiny", "data=pydoc", "optimizer=adamw", "lr=1e-3", "tokenizer=bpe", "tokenizer.vocab_size=500"],
        ["experiment=nanogpt_char_cpu", "model.n_layer=2"],
        ["objective=mlm", "objective.mask_rate=0.3", "model=tiny"],
        ["prompt=${x} \\${y} 'a': [b]", "optimizer.betas=[0.8,0.9]", "seed=0"],
    ],
)
def test_the_best_point_is_an_option_that_gives_its_config_again(here, words):
    from gptforge.compose import conf_dirs
    from gptforge.jsonfile import write_json

    saved = composed(*words)
    sweep = made([Point(0, list(words), "done", 0, results=result(1.5))], here / "swept")
    assert best.write(made([Point(0, [], "failed")], here / "swept")) is None
    sweep.frozen(sweep.points[0]).parent.mkdir(parents=True)
    write_json(sweep.frozen(sweep.points[0]), saved)
    assert best.write(sweep) == here / "swept" / "experiment" / "best.yaml"
    dirs = [*conf_dirs([here / "swept"])]
    line = parse(["experiment=best"], Grammar("train", SCHEMAS["train"], options("train", dirs)))
    again = compose("train", line, dirs)
    assert as_saved(again.config, {})["config"] == saved["config"]
    saved["config"]["runtime"]["threads"] = 3
    assert "threads" not in best.option(saved).get("runtime", {})  # a share of this machine
    assert best.option(saved, ["runtime.threads"])["runtime"]["threads"] == 3


def test_of_points_that_learnt_other_things_none_is_the_best(here):
    from gptforge.jsonfile import write_json

    points = [Point(n, [f"objective={kind}"], "done", 0) for n, kind in enumerate(("next_token", "mlm"))]
    points[0].results = result(1.5)
    sweep = made(points, here / "swept")
    sweep.frozen(points[0]).parent.mkdir(parents=True)
    for point in points:
        write_json(sweep.frozen(point), composed(*point.overrides))
    assert best.write(sweep) is None
    write_json(sweep.frozen(points[1]), composed())
    assert best.write(sweep) is not None


def test_threads_are_shared_unless_asked_for(monkeypatch):
    monkeypatch.setattr("gptforge.sweep.run.physical_cores", lambda: 8)
    saved = composed("model=tiny")
    assert with_threads(saved, 1) is saved
    assert with_threads(saved, 3)["config"]["runtime"]["threads"] == 2
    assert with_threads(saved, 99)["config"]["runtime"]["threads"] == 1
    assert saved["config"]["runtime"]["threads"] is None
    assert with_threads(composed("threads=5"), 2)["config"]["runtime"]["threads"] == 5
    both = composed("parallel=ddp", "parallel.nproc=2")
    assert with_threads(both, 2)["config"]["runtime"]["threads"] == 2


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"points": 3}', '{"points": [{"a": 1}]}', '{"points": [], "sweep": 7}']
)
def test_a_sweep_that_cannot_be_read_says_so(here, content):
    Path("sweep.json").write_text(content)
    with pytest.raises(CheckpointError, match="sweep"):
        read(Path())


def test_the_states_of_runs_are_found_after_a_kill(here):
    def summary(number, **said):
        (here / str(number)).mkdir()
        (here / str(number) / "summary.json").write_text(json.dumps(said))

    points = [Point(n, [], "running") for n in range(6)]
    points[4].status, points[5].status = "failed", "cut"
    sweep = made(points, here)
    summary(0, status="done", val_loss=2.0, val_bpb=3.0, best_val_loss=2.0)
    summary(1, status="failed", error="the loss is nan", exit_code=6)
    summary(2, status="stopped")
    (here / "points").mkdir()
    for n in range(6):
        (here / "points" / f"{n}.json").write_text("{}")
    reconcile(sweep)
    assert [p.status for p in points] == ["done", "failed", "stopped", "waiting", "failed", "cut"]
    assert (points[1].exit_code, points[1].error, points[0].bits) == (6, "the loss is nan", 3.0)
    reconcile(sweep, retry=True)
    assert [p.status for p in points] == ["done", "waiting", "stopped", "waiting", "waiting", "cut"]
    shutil.rmtree(here / "points")
    points[4].status = "failed"
    reconcile(sweep, retry=True)
    assert points[4].status == "failed"  # its config cannot be
    assert (points[3].status, points[3].exit_code) == ("failed", 4) and "3.json" in points[3].error  # it is lost
