"""Short sequences first: when, how long, and that the tokens stay those of the run without."""

import pytest
import torch

import small
from gptforge.config import TrainConfig
from gptforge.config.schema import build
from gptforge.data.loader import TrainLoader
from gptforge.runtime import Machine, choose
from gptforge.train.context import lengths, pieces_at
from gptforge.train.decisions import as_before, decide


@pytest.mark.parametrize(
    ("steps", "step", "progress", "pieces"),
    [
        *[(100, 0, 0.0, 4), (100, 49, 0.01, 4), (100, 50, 0.01, 2), (100, 99, 0.02, 2), (100, 100, 0.02, 1)],
        # a short run, or one of fixed time whose steps are few
        *[(100, 10, 0.24, 4), (100, 10, 0.25, 2), (100, 10, 0.49, 2), (100, 10, 0.5, 1), (100, 10, 1.0, 1)],
        *[(0, 0, 0.0, 1), (0, 5, 0.3, 1)],
    ],
)
def test_pieces_follow_from_how_far_the_run_is(steps, step, progress, pieces):
    assert pieces_at(steps, step, progress) == pieces


def test_lengths_are_those_of_the_pieces():
    assert lengths(7, 256) == [64, 128, 256]
    assert lengths(7, 10) == [3, 5, 10]
    assert lengths(0, 10) == [10]


@pytest.mark.parametrize(
    ("length", "warmup"),
    [
        *[({"steps": 500}, 100), ({"steps": 501}, 0), ({"epochs": 1.0}, 100), ({}, 0)],
        *[({"time": "20s"}, 100), ({"time": "1h"}, 0)],  # by estimate: on two cores a step takes a tenth of a second
        *[({"steps": 5000, "context_warmup": 7}, 7), ({"steps": 5, "context_warmup": 0}, 0)],
    ],
)
def test_short_runs_begin_with_short_sequences(length, warmup):
    cfg = build(TrainConfig, {"train": length})
    machine = Machine(("cpu",), "", None, 2, 10**10, "a laptop")
    d = decide(cfg, choose(cfg.runtime, machine), machine, 65, 200, 1000, {})
    assert d.context_warmup.value == warmup
    assert d.to_dict()["context_warmup"]["reason"]


def test_a_run_keeps_its_short_sequences_on_a_faster_machine_and_when_it_becomes_longer():
    slow, fast = (Machine(("cpu",), "", None, cores, 10**10, "a CPU") for cores in (1, 32))
    cfg = build(TrainConfig, {"train": {"time": "20s"}})
    began = decide(cfg, choose(cfg.runtime, slow), slow, 65, 200, 1000, {}).to_dict()
    assert began["context_warmup"]["value"] == 100
    assert decide(cfg, choose(cfg.runtime, fast), fast, 65, 200, 1000, {}).context_warmup.value == 0
    for length in ({"time": "20s"}, {"time": "5h"}):
        cfg = build(TrainConfig, {"train": length})
        kept = as_before(cfg, began | {"device": {"value": "cuda", "reason": ""}}, fast)
        assert kept.keys() == {"context_warmup"}
        assert decide(cfg, choose(cfg.runtime, fast), fast, 65, 200, 1000, kept).context_warmup.value == 100
    asked = build(TrainConfig, {"train": {"context_warmup": 0}})
    assert "context_warmup" not in as_before(asked, began, slow)


@pytest.mark.parametrize("warmup", [0, 2, 100])
@pytest.mark.usefixtures("own_folder")
def test_a_run_sees_its_tokens_in_sequences_that_grow(monkeypatch, warmup):
    small.write_text()
    trainer = small.trainer(small.config(train__context_warmup=warmup, train__steps=8, eval__every=100))
    seen, tokens = [], []
    objective, batch = trainer.parts.objective, TrainLoader.batch
    trainer.parts.objective = lambda model, b: seen.append(b.inputs.size(1)) or objective(model, b)
    monkeypatch.setattr(TrainLoader, "batch", lambda self, *a: tokens.append(found := batch(self, *a)) or found)
    trainer.fit()
    T, micros = trainer.cfg.model.block_size, len(seen) // 8
    wanted = {0: [T] * 8, 2: [T // 4, T // 2] + [T] * 6, 100: [T // 4] * 2 + [T // 2] * 2 + [T] * 4}[warmup]
    assert seen[::micros] == wanted
    assert trainer.state.tokens == sum(b.learnt for b in tokens) == 8 * trainer.cfg.train.batch_size * T
    plain = small.trainer(small.config(train__context_warmup=0, train__steps=8), "plain")
    for step, found in enumerate(tuple(tokens)):
        assert torch.equal(found.inputs, plain.parts.loader.batch(step).inputs)
