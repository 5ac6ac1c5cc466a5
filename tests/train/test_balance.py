"""The biases of routers: they move against the load of a whole batch, and are part of what a run goes on from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import small
from gptforge.checkpoint import load_model
from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.dist import Dist
from gptforge.model.moe import MoE
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from gptforge.train.balance import Balance
from gptforge.train.objectives import Loss

EXPERTS = {
    "model__moe__n_expert": 4, "model__moe__top_k": 2, "model__moe__width": 16, "model__moe__n_shared": 1,
    "model__moe__bias_rate": 0.01, "model__mlp__kind": "swiglu",
}  # fmt: skip
ALONE = Dist(torch.device("cpu"))


@pytest.fixture(autouse=True)
def here(own_folder, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.write_text()
    return own_folder


def layer(**moe) -> MoE:
    made = MoE(build(ModelConfig, {"n_embd": 8, "n_head": 2, "moe": {"n_expert": 4, "width": 8, **moe}}))
    for tensor in made.state_dict().values():
        tensor.zero_()
    return made.train()


def biases(trainer) -> torch.Tensor:
    return torch.stack([block.mlp.router.choice_bias.clone() for block in trainer.parts.model.blocks])


def test_the_bias_moves_by_its_rate_against_the_load():
    made = layer(bias_rate=0.25)
    made.router.move(torch.tensor([7, 3, 5, 5]))
    assert made.router.choice_bias.tolist() == [-0.25, 0.25, 0.0, 0.0]
    made.router.move(torch.tensor([9, 0, 1, 0]))
    assert made.router.choice_bias.tolist() == [-0.5, 0.5, 0.25, 0.25]


def test_a_planted_skew_is_balanced():
    """Tokens that all prefer the first two experts, at first without exception."""
    made = layer(bias_rate=0.004)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.router.weight.copy_(torch.randn(4, 8, generator=draw) * 0.2)
        made.router.weight[:2, 0] += 2.0
    x = torch.randn(2000, 8, generator=draw)
    x[:, 0] = 1.0
    balance, course = Balance(made, ALONE), []
    for _ in range(260):
        balance.begin()
        made(x)
        balance.move()
        course.append(balance.figures()["moe_load_max"])
    assert course[0] == pytest.approx(2.0, abs=0.1)  # all that there is: two of four experts
    assert max(course[-20:]) < 1.1


def test_only_training_is_counted_and_only_since_the_begin():
    made, balance = layer(), None
    balance = Balance(made, ALONE)
    assert balance.figures() == {}
    balance.begin()
    made(torch.ones(3, 8))
    balance.begin()
    made.eval()(torch.ones(3, 8))
    assert made.load.tolist() == [0, 0, 0, 0]
    made.train()(torch.ones(3, 8))
    made(torch.ones(2, 8))
    assert made.load.sum() == 10
    assert Balance(torch.nn.Linear(2, 2), ALONE).figures() == {}


def test_a_run_records_the_load_and_keeps_the_bias(capsys):
    cfg = small.config(**EXPERTS, optimizer__kind="adamw", optimizer__weight_decay=10.0)
    trainer = small.trainer(cfg)
    trainer.fit()
    loads = [record["moe_load_max"] for record in small.records("run") if "train_loss" in record]
    assert len(loads) == 12 and all(1 <= load <= 2 for load in loads)
    (own,) = biases(trainer)
    steps = own / 0.01
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)  # nothing else has moved it
    assert own.any()
    loaded = load_model("run")
    assert torch.equal(loaded.model.blocks[0].mlp.router.choice_bias, own)
    with torch.no_grad():
        ids = torch.arange(20)[None]
        assert torch.equal(loaded.model(ids), trainer.parts.model.eval()(ids))
    plan = small.log("run")
    assert "2 of 4 and 1 shared experts" in plan and "active" in plan
    assert small.gptforge("sample", "ckpt=run", "max_new_tokens=5", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["step"] == 12


def test_a_run_without_experts_records_no_load():
    small.trainer(small.config()).fit()
    assert not any("moe_load_max" in record for record in small.records("run"))
    assert "moe_load_max" in Path("run", "metrics.csv").read_text().partition("\n")[0]


def test_nothing_that_keeps_loads_even_is_said():
    unbalanced = {"model__moe__bias": False}, {"model__moe__bias_rate": 0.0}
    trainer = small.trainer(small.config())
    for changes, said in ((EXPERTS | unbalanced[0], True), (EXPERTS | unbalanced[1], True), (EXPERTS, False)):
        warned = trainer_module.plan.warnings(small.config(**changes), trainer.parts)
        assert any("loads of the experts" in text for text in warned) is said
    for changes in unbalanced:  # of what is not there
        assert not any(
            "experts" in text for text in trainer_module.plan.warnings(small.config(**changes), trainer.parts)
        )


def test_micro_batches_do_not_matter():
    found = []
    for parts in (1, 2, 8):
        keys = {"train__grad_accum": parts, "runtime__dtype": "float32", "model__dropout": 0.0}
        trainer = small.trainer(small.config(**EXPERTS | keys), f"run-{parts}")
        for _ in range(2):
            trainer.step()
        found.append((biases(trainer), trainer.balance.figures(), trainer.parts.model.blocks[0].mlp.load))
    assert found[0][2].sum() == 8 * 32 * 2  # of all micro-batches
    for other in found[1:]:
        assert torch.equal(other[0], found[0][0]) and other[1] == found[0][1] and torch.equal(other[2], found[0][2])


def test_a_batch_that_is_passed_over_moves_nothing():
    trainer = small.trainer(small.config(**EXPERTS, train__on_nonfinite="skip"))
    trainer.step()
    objective, before = trainer.parts.objective, biases(trainer)
    trainer.parts.objective = lambda model, batch: Loss(objective(model, batch).total * torch.nan, {})
    assert trainer.step() is None
    assert torch.equal(biases(trainer), before)
    trainer.parts.objective = objective
    assert trainer.step() is not None
    assert trainer.parts.model.blocks[0].mlp.load.sum() == 8 * 32 * 2  # of this batch alone
    assert not torch.equal(biases(trainer), before)


def test_a_run_that_goes_back_takes_the_bias_back():
    trainer = small.trainer(small.config(**EXPERTS, train__on_nonfinite="rollback"))
    objective, restore, calls, seen = trainer.parts.objective, trainer._restore, [], []

    def poisoned(model, batch):
        calls.append(batch)
        loss = objective(model, batch)
        return Loss(loss.total * torch.nan, {}) if len(calls) == 15 else loss  # in step 8 of two micro-batches each

    def watched(path):
        before, said = biases(trainer), restore(path)
        seen.append((before[0], biases(trainer)[0], load_file(path / "model.safetensors")))
        return said

    trainer.parts.objective, trainer._restore = poisoned, watched
    assert trainer.fit()["rollbacks"] == 1
    ((before, after, kept),) = seen
    assert torch.equal(after, kept["blocks.0.mlp.router.choice_bias"]) and not torch.equal(after, before)


def test_a_run_that_was_stopped_goes_on_bit_for_bit():
    """With an average, so that there are two biases to keep, and in the middle of an evaluation's interval."""
    cfg = small.config(**EXPERTS, optimizer__kind="muon", optimizer__ema_decay=0.9)
    assert small.gptforge(*small.typed(cfg, "whole")) == 0
    assert small.gptforge(*small.typed(cfg, "stopped"), "train.stop_after=6") == 75
    assert small.gptforge("train", "resume=stopped") == 0
    assert small.course("stopped") == small.course("whole")
    for name in ("model.safetensors", "unaveraged.safetensors"):
        whole, stopped = (Run(Path(run)).newest_first()[0] / name for run in ("whole", "stopped"))
        assert small.sha256(whole) == small.sha256(stopped)


def test_an_averaged_router_goes_with_its_averaged_bias():
    trainer = small.trainer(small.config(**EXPERTS, optimizer__ema_decay=0.5))
    name, expected = "blocks.0.mlp.router.choice_bias", torch.zeros(4)
    for step in range(1, 9):
        trainer.step()
        decay = min(0.5, step / (10 + step))
        expected = decay * expected + (1 - decay) * biases(trainer)[0]
    torch.testing.assert_close(trainer.parts.average.weights[name], expected)
    own = biases(trainer)
    with trainer.parts.best_weights():
        torch.testing.assert_close(biases(trainer)[0], expected)
    assert torch.equal(biases(trainer), own)
