"""Two processes train as one does: the same samples, the same losses, and a run that stops and goes on bit for bit."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import small
from abreast import DDP, masked, train_all
from gptforge import launch
from gptforge.data.loader import TrainLoader
from gptforge.data.order import WindowOrder
from gptforge.dist import Dist
from gptforge.evals.loss import own_share
from gptforge.parallel import share
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from gptforge.train.parts import build_parts

LONG = {
    "train__steps": 50, "model__dropout": 0.0, "runtime__dtype": "float32", "eval__every": 10,
    "checkpoint__every": 50, "train__grad_accum": 1, "optimizer__kind": "adamw",
}  # fmt: skip
MUON = LONG | {"optimizer__kind": "muon"}
EXPERTS = LONG | {
    "train__steps": 12, "model__moe__n_expert": 4, "model__moe__width": 16, "model__moe__bias_rate": 0.01,
    "optimizer__kind": "muon",
}  # fmt: skip
SHORT = {"train__steps": 12, "runtime__dtype": "float32"}  # with dropout
COMPARED = ("train_loss", "val_loss", "train_eval_loss", "grad_norm")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All runs of two processes, one after the other in the same two, and their counterparts of one process."""
    path = tmp_path_factory.mktemp("abreast")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        jobs = [
            ("whole", small.config(**LONG, **DDP)),
            ("parted", small.config(**LONG | {"train__grad_accum": 2}, **DDP)),
            ("masked", small.config(**LONG | {"train__grad_accum": 2}, **DDP)),
            ("muon", small.config(**MUON, **DDP)),
            ("experts", small.config(**EXPERTS | {"train__grad_accum": 2}, **DDP)),
            ("uninterrupted", small.config(**SHORT, **DDP)),
            ("stopped", small.config(**SHORT, **DDP, train__stop_after="5")),
            ("left", small.config(**SHORT, **DDP, train__stop_after="5")),
            ("stopped", small.config(**SHORT, **DDP, resume="stopped")),
            ("signalled", small.config(**SHORT, **DDP)),
            ("signalled", small.config(**SHORT, **DDP, resume="signalled")),
            ("interrupted", small.config(**SHORT, **DDP)),
            ("interrupted", small.config(**SHORT, **DDP, resume="interrupted")),
            ("timed", small.config(**SHORT | {"train__steps": None}, **DDP, train__time="1s", eval__every=None)),
            ("early", small.config(**LONG, **DDP, train__early_stop_patience=1, optimizer__lr=1e-12)),
        ]
        assert launch.run(train_all, (jobs,), 2) == 0
        small.trainer(small.config(**LONG), "one").fit()
        small.trainer(small.config(**MUON), "one-muon").fit()
        small.trainer(small.config(**EXPERTS), "one-experts").fit()
        parts, _ = build_parts(small.config(**LONG))
        small.trainer(small.config(**LONG), "one-masked", masked(parts)).fit()
    return path


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def decided(run: str) -> dict[str, object]:
    return {name: choice["value"] for name, choice in json.loads(Path(run, "decisions.json").read_text()).items()}


# The same as one process -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("two", "one"), [("whole", "one"), ("parted", "one"), ("masked", "one-masked"), ("muon", "one-muon")]
)
def test_two_processes_learn_what_one_learns(here, two, one):
    found, expected = small.records(two), small.records(one)
    assert len(found) == len(expected) == 55
    apart = 0.0
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys() and mine["step"] == theirs["step"] and mine["tokens"] == theirs["tokens"]
        apart = max([apart, *(abs(mine[k] - theirs[k]) for k in COMPARED if k in mine)])
    print(f"largest difference of {two} in 50 steps: {apart:.1e}")
    assert apart < 1e-5
    losses = [r["train_loss"] for r in expected if "train_loss" in r]
    assert losses[-1] < losses[0] - 0.4  # it is a run in which something is learnt


def test_the_loads_of_experts_are_those_of_the_whole_batch(here):
    """Biases move by whole steps, by the loads of all processes and micro-batches."""
    mine, theirs = (small.records(run) for run in ("experts", "one-experts"))
    assert [r.get("moe_load_max") for r in mine] == [r.get("moe_load_max") for r in theirs]
    assert max(abs(a[k] - b[k]) for a, b in zip(mine, theirs, strict=True) for k in COMPARED if k in a) < 1e-5
    weights = [load_file(Run(Path(run)).newest_first()[0] / "model.safetensors") for run in ("experts", "one-experts")]
    biases = [held["blocks.0.mlp.router.choice_bias"] for held in weights]
    assert biases[0].any() and torch.equal(*biases)
    assert "different weights" not in small.log("experts")


def test_the_batch_was_shared(here):
    assert (decided("whole")["processes"], decided("whole")["micro_batch_size"]) == (2, 4)
    assert decided("parted")["micro_batch_size"] == 2
    assert "2 processes x 2 micro-batches" in small.log("parted")
    assert "different weights" not in small.log("parted")  # each has the same at the end


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_shares_are_the_batch_in_its_order(size):
    loader = TrainLoader(np.arange(400, dtype=np.uint16), 8, 6, WindowOrder(400, 8, seed=3))
    for step in (0, 5, 23):
        shares = [share(6, Dist(torch.device("cpu"), rank, size)) for rank in range(size)]
        rows = torch.cat([loader.batch(step, rows).inputs for rows in shares])
        assert torch.equal(rows, loader.batch(step).inputs)


@pytest.mark.parametrize("batches", range(8))
def test_every_batch_is_evaluated_once_and_all_take_as_many_turns(batches):
    turns = [list(own_share(range(batches), Dist(torch.device("cpu"), rank, 3))) for rank in range(3)]
    assert len({len(turn) for turn in turns}) == 1
    assert sorted(n for turn in turns for n in turn if n is not None) == list(range(batches))


def test_tensors_keep_their_names(here):
    for name in ("model.safetensors", "optimizer.safetensors"):
        files = [Run(Path(run)).newest_first()[0] / name for run in ("whole", "one")]
        mine, theirs = map(load_file, files)
        assert {k: (v.shape, v.dtype) for k, v in mine.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}


def test_it_can_be_used_like_any_run(here, capsys):
    assert small.gptforge("sample", "ckpt=whole", "max_new_tokens=5", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["step"] == 50


# Ends and new beginnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "why", "step"),
    [
        ("stopped", "train.stop_after=5", 5),
        ("signalled", "by a signal", 5),  # sent to the second process alone
        ("interrupted", "by a signal", 8),  # the same, in the middle of an evaluation
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(here, run, why, step):
    said = small.log(run)
    assert f"{why} after step {step}" in said.replace(" asks", "") and f"resumed after step {step}" in said
    assert "not bit for bit" not in said
    assert small.course(run) == small.course("uninterrupted")


def test_each_process_has_random_numbers_of_its_own(here):
    states = load_file(Run(Path("uninterrupted")).newest_first()[0] / "rng.safetensors")
    assert states.keys() == {"cpu", "1/cpu"} and not torch.equal(states["cpu"], states["1/cpu"])


def test_it_goes_on_with_another_number_of_processes(here):
    assert small.gptforge("train", "resume=left", "parallel.kind=none", "parallel.nproc=null") == 0
    said = small.log("left")
    assert "not bit for bit as without a stop: micro_batch_size 2 -> 4, world_size 2 -> 1" in said
    assert small.summary("left")["status"] == "done" and small.summary("left")["steps"] == 12
    for mine, theirs in zip(small.records("left"), small.records("uninterrupted"), strict=True):
        assert mine["tokens"] == theirs["tokens"]
        if mine["step"] <= 5:
            assert mine == theirs


def test_a_run_of_fixed_time_ends_on_the_same_step(here):
    summary = small.summary("timed")
    assert summary["status"] == "done" and 0.5 < summary["seconds"] < 5 and summary["steps"] >= 1


def test_want_of_progress_ends_all(here):
    assert small.summary("early")["status"] == "done"
    assert small.summary("early")["steps"] < 50 and "the run ends early" in small.log("early")
    assert math.isfinite(small.summary("early")["best_val_loss"])
