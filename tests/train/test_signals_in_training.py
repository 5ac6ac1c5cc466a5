"""Ctrl-C and SIGTERM at any moment of a training: the step is finished and saved, and the run can go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small
from gptforge.data.loader import TrainLoader
from gptforge.runs import Run
from gptforge.train import evaluation, parts
from gptforge.train import trainer as trainer_module

RUN = "run"
each_signal = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        small.write_text()
        small.trainer(small.config(), "uninterrupted").fit()
    return path


@pytest.fixture
def uninterrupted(folder, own_folder):
    small.write_text()
    return small.course(folder / "uninterrupted")


def begin(*words: str) -> int:
    return small.gptforge(*small.typed(small.config(), RUN), "ui=plain", *words)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@each_signal
@pytest.mark.parametrize("step", [1, 6, 11])
def test_during_a_step(uninterrupted, number, step, monkeypatch, capfd):
    batch = TrainLoader.batch

    def interrupted(self, at, *rows):
        if at == step - 1:
            send(number)
        return batch(self, at, *rows)

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(TrainLoader, "batch", interrupted)
        assert begin() == 75
    assert signal.getsignal(number) is handler
    assert Run(Path(RUN)).steps()[-1] == step
    assert small.summary(RUN)["status"] == "stopped" and small.summary(RUN)["steps"] == step
    said = capfd.readouterr().err
    assert signal.Signals(number).name in said
    assert f"gptforge train resume={Path(RUN).resolve()}" in said or f"gptforge train resume={RUN}" in said
    assert small.gptforge("train", f"resume={RUN}") == 0
    assert small.course(RUN) == uninterrupted


@each_signal
@pytest.mark.parametrize("which", [1, 3])  # the evaluations after steps 4 and 12
def test_during_an_evaluation(uninterrupted, number, which, monkeypatch):
    seen = []

    def interrupted(*arguments, **options):
        seen.append(arguments)
        for n, batch in enumerate(eval_batches(*arguments, **options)):
            if n == 1 and len(seen) == 2 * which - 1:  # the validation split comes before the training split
                send(number)
            yield batch

    eval_batches = evaluation.eval_batches
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "eval_batches", interrupted)
        assert begin() == 75
    assert Run(Path(RUN)).steps()[-1] == 4 * which
    assert sum("val_loss" in r for r in small.records(RUN)) == which - 1  # it was given up, not finished
    assert small.gptforge("train", f"resume={RUN}") == 0
    assert small.course(RUN) == uninterrupted
    assert Run(Path(RUN)).pointer("best") == small.summary(RUN)["best_step"]


@each_signal
def test_during_preparation(own_folder, number, monkeypatch, capfd):
    small.write_text()

    def interrupted(*arguments):
        send(number)
        raise AssertionError("the signal was not noticed")

    monkeypatch.setattr(parts, "prepare", interrupted)
    assert begin() == 75
    assert "stopped before the first step" in capfd.readouterr().err
    assert not Path(RUN).exists() and not Path("runs").exists()


def test_while_the_run_is_set_up(uninterrupted, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "measured_peak", lambda runtime: send(signal.SIGTERM))
        assert begin() == 75
    assert small.summary(RUN)["status"] == "stopped"
    assert small.gptforge("train", f"resume={RUN}") == 0
    assert small.course(RUN) == uninterrupted


# In a process of its own --------------------------------------------------------------------------------------


def wait_for(condition, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.02)


@each_signal
def test_a_real_process(own_folder, number):
    small.write_text()
    cfg = small.config(train__steps=100_000, eval__every=10_000, checkpoint__every=10_000)
    process = small.start(*small.typed(cfg, RUN), "ui=plain")
    metrics = Path(RUN, "metrics.jsonl")
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 500, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "gptforge train resume=" in said and "Traceback" not in said
    step = small.summary(RUN)["steps"]
    assert Run(Path(RUN)).steps()[-1] == step == small.records(RUN)[-1]["step"]


HANGS = """
import sys, time
from gptforge.data.loader import TrainLoader
batch = TrainLoader.batch
def slow(self, step, *rows):
    if step == 2:
        print("slow", flush=True)
        time.sleep(60)
    return batch(self, step, *rows)
TrainLoader.batch = slow
from gptforge import cli
sys.argv = ["gptforge", *sys.argv[1:]]
cli.main()
"""


def test_the_second_signal_ends_it_at_once(own_folder):
    small.write_text()
    words = small.typed(small.config(), RUN)
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "slow\n", process.communicate()[1]
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the first one lets the step finish
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert time.monotonic() - began < 3
    assert "stopped at once" in said and "Traceback" not in said
    assert small.gptforge("train", f"resume={RUN}") == 0  # steps 1 and 2 were not saved: it begins anew


@each_signal
@pytest.mark.parametrize("moment", [0.2, 0.8])
def test_while_it_is_being_imported(own_folder, number, moment):
    small.write_text()
    process = small.start(*small.typed(small.config(train__steps=100_000), RUN))
    time.sleep(moment)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 75 if Path(RUN).exists() else process.returncode != 0
