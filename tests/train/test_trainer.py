"""The loop learns, counts, decides, keeps and refuses as it says."""

import dataclasses
import errno
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import small
from gptforge import checkpoint
from gptforge.checkpoint import first_sound, weights_sha256
from gptforge.data.batch import IGNORE
from gptforge.data.loader import TrainLoader
from gptforge.errors import NumericalError, ResourceError
from gptforge.evals.loss import LossResult
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from gptforge.train.decisions import decide, length
from gptforge.train.objectives import Loss, next_token
from gptforge.train.parts import build_parts
from gptforge.train.state import OVERFIT_MARGIN, TrainState

RUN = "run"


@pytest.fixture(autouse=True)
def fast(monkeypatch, own_folder):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.write_text()


def quiet_step(trainer):
    """One step of a trainer that is not in `fit`."""
    trainer.sinks = SimpleNamespace(warn=lambda text: None, note=lambda text: None)
    return trainer.step()


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.parts.model.parameters()])


# Learning ----------------------------------------------------------------------------------------------------


def test_learns_a_tiny_text_by_heart():
    small.write_text(words=120)
    cfg = small.config(train__steps=150, model__dropout=0.0, model__n_embd=64, optimizer__lr=1e-2, eval__every=150)
    summary = small.trainer(cfg).fit()
    losses = [r["train_loss"] for r in small.records(RUN) if "train_loss" in r]
    assert abs(losses[0] - math.log(29)) < 0.5
    assert losses[-1] < 1.0
    assert summary["train_loss"] == losses[-1]


FP32 = {"runtime__dtype": "float32", "model__dropout": 0.0, "train__batch_size": 16, "optimizer__lr": 1e-3}


@pytest.mark.parametrize("accumulation", [2, 4, 16])
def test_accumulated_micro_batches_are_one_batch(accumulation):
    whole = small.trainer(small.config(**FP32, train__grad_accum=1), "whole")
    parted = small.trainer(small.config(**FP32, train__grad_accum=accumulation), "parted")
    assert (whole.micro, parted.micro) == (16, 16 // accumulation)
    for _ in range(3):
        a, b = quiet_step(whole), quiet_step(parted)
        assert a == pytest.approx(b, rel=1e-5)
    torch.testing.assert_close(weights(whole), weights(parted), rtol=0, atol=1e-5)
    assert whole.state.tokens == parted.state.tokens == 3 * 16 * 32


def uneven(batch_of):
    """A loader whose rows learn different numbers of tokens."""

    def batch(self, step, *rows):
        found = batch_of(self, step, *rows)
        for row in range(len(found.labels)):
            found.labels[row, row + 1 :] = IGNORE
        return found

    return batch


def test_the_loss_is_divided_by_the_learnt_tokens_of_the_step(monkeypatch):
    monkeypatch.setattr(TrainLoader, "batch", uneven(TrainLoader.batch))
    whole = small.trainer(
        small.config(**FP32, train__grad_accum=1, train__grad_clip=0, train__context_warmup=0), "whole"
    )
    parted = small.trainer(
        small.config(**FP32, train__grad_accum=16, train__grad_clip=0, train__context_warmup=0), "parted"
    )
    batch = whole.parts.loader.batch(0)
    assert batch.learnt == sum(range(1, 17))
    logits = whole.parts.model(batch.inputs)
    wanted = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE)
    gradients = torch.autograd.grad(wanted, list(whole.parts.model.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    for trainer in (whole, parted):
        stats = quiet_step(trainer)
        assert stats["loss"] == pytest.approx(wanted.item(), rel=1e-5)
        assert stats["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
        assert trainer.state.tokens == sum(range(1, 17))


def test_the_gradient_is_clipped():
    trainer = small.trainer(small.config(**FP32, train__grad_clip=1e-3))
    seen = {}
    step = trainer.parts.optimizer.step
    trainer.parts.optimizer.step = lambda: (
        seen.update(norm=torch.cat([p.grad.flatten() for p in trainer.parts.model.parameters()]).norm().item()),
        step(),
    )
    stats = quiet_step(trainer)
    assert stats["grad_norm"] > 0.1
    assert seen["norm"] == pytest.approx(1e-3, rel=1e-3)


def test_same_seed_same_weights_and_other_seed_others():
    first = small.trainer(small.config(), "first").fit()["weights_sha256"]
    assert small.trainer(small.config(), "second").fit()["weights_sha256"] == first
    assert small.trainer(small.config(seed=1), "third").fit()["weights_sha256"] != first


def test_looking_does_not_change_the_course():
    often = small.trainer(small.config(eval__every=1, checkpoint__every=1), "often").fit()
    rarely = small.trainer(small.config(eval__every=12, checkpoint__every=12), "rarely").fit()
    assert often["weights_sha256"] == rarely["weights_sha256"]
    assert often["val_loss"] == rarely["val_loss"]


def test_saved_config_reproduces_the_run():
    assert small.gptforge(*small.typed(small.config(), RUN)) == 0
    assert small.gptforge("train", f"config={RUN}/config.json", "hydra.run.dir=again") == 0
    assert small.course("again") == small.course(RUN)


def test_own_random_numbers_of_an_objective_are_seeded():
    drawn = []

    def objective(model, batch):
        import random

        import numpy as np

        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
        return next_token(model, batch)

    for name in ("first", "second"):
        parts, _ = build_parts(small.config())
        small.trainer(small.config(), name, dataclasses.replace(parts, objective=objective)).fit()
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]


# Faults ------------------------------------------------------------------------------------------------------


def failing(objective, at: int = 6):
    """A trainer whose objective is replaced in step `at`, and the weights before that step."""
    calls, before = [0], []
    parts, _ = build_parts(small.config(train__grad_accum=1))

    def chosen(model, batch):
        if not model.training:
            return next_token(model, batch)
        calls[0] += 1
        if calls[0] == at:
            before.append(weights_sha256(model))
            return objective(model, batch)
        return next_token(model, batch)

    trainer = small.trainer(small.config(train__grad_accum=1), RUN, dataclasses.replace(parts, objective=chosen))
    return trainer, before


class NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0] * math.nan


BAD = {
    "loss": lambda model, batch: Loss(next_token(model, batch).total * math.nan, {}),
    "infinite loss": lambda model, batch: Loss(next_token(model, batch).total * math.inf, {}),
    "gradient": lambda model, batch: Loss(NaNGradient.apply(next_token(model, batch).total), {}),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_finite_stops_before_the_update(kind):
    trainer, before = failing(BAD[kind])
    with pytest.raises(NumericalError, match=kind.split()[-1]) as caught:
        trainer.fit()
    assert caught.value.exit_code == 6
    assert weights_sha256(trainer.parts.model) == before[0]
    assert Run(Path(RUN)).steps() == [3, 4]
    summary = small.summary(RUN)
    assert summary["status"] == "failed" and summary["steps"] == 5 and summary["error"] in str(caught.value)
    assert max(r["step"] for r in small.records(RUN)) == 5
    assert "Traceback" not in small.log(RUN) and "numerical error" in small.log(RUN)


def test_a_validation_loss_that_is_not_finite_is_never_saved(monkeypatch):
    trainer = small.trainer(small.config())
    losses = trainer.evaluator.losses
    nan = LossResult(math.nan, 1, 1)
    monkeypatch.setattr(trainer.evaluator, "losses", lambda: (nan, nan) if trainer.state.step == 8 else losses())
    with pytest.raises(NumericalError):
        trainer.fit()
    assert Run(Path(RUN)).steps()[-1] < 8


def test_exit_code_of_a_numerical_fault():
    words = small.typed(small.config(optimizer__lr=1e25, train__grad_clip=0.0, runtime__dtype="float32"), RUN)
    assert small.gptforge(*words) == 6
    assert small.summary(RUN)["status"] == "failed"


def test_a_bug_leaves_its_traceback_in_the_log():
    def bug(model, batch):
        raise ZeroDivisionError("a bug of mine")

    trainer, _ = failing(bug)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert "Traceback" in small.log(RUN) and "a bug of mine" in small.log(RUN)
    assert small.summary(RUN)["error"] == "ZeroDivisionError: a bug of mine"


def test_initial_loss_is_judged():
    cfg = small.config(train__steps=1)
    small.trainer(cfg, "good").fit()
    assert "initial loss" not in small.log("good")
    cfg = small.config(train__steps=1, model__init_std=1.0)
    small.trainer(cfg, "bad").fit()
    assert "the initial loss is" in small.log("bad")


@pytest.mark.parametrize("option", ["small", "gpt2"])
def test_initial_loss_of_presets_is_ordinary(option):
    words = ["train", f"model={option}", "data=text.txt", "train.steps=1", "ui=quiet", "runtime.threads=1"]
    words += ["model.n_layer=2", "model.n_embd=96", "model.n_head=4", "model.block_size=64", "eval.every=1"]
    assert small.gptforge(*words, f"hydra.run.dir={RUN}") == 0
    assert "initial loss" not in small.log(RUN)


# Evaluations and what follows --------------------------------------------------------------------------------


def with_losses(monkeypatch, trainer, val, train=None):
    """Lets the evaluations of a trainer find these losses, one after the other."""
    pairs = iter(zip(val, train or val, strict=True))
    found = [tuple(LossResult(float(loss), 10, 10) for loss in pair) for pair in pairs]
    found = iter(found)
    monkeypatch.setattr(trainer.evaluator, "losses", lambda: next(found))


def test_ends_early_without_progress(monkeypatch):
    trainer = small.trainer(small.config(eval__every=1, train__early_stop_patience=2, train__steps=10))
    with_losses(monkeypatch, trainer, [3, 2, 2.5, 2.4, 1, 1, 1, 1, 1, 1])
    summary = trainer.fit()
    assert (summary["status"], summary["steps"], summary["best_step"]) == ("done", 4, 2)
    assert Run(Path(RUN)).steps()[-1] == 4
    assert "no better val_loss in 2 evaluations" in small.log(RUN)
    assert small.gptforge("train", f"resume={RUN}") == 0
    assert small.summary(RUN)["steps"] == 4


def test_patience_survives_a_stop(monkeypatch):
    changes = {"eval__every": 1, "train__early_stop_patience": 3, "train__steps": 10}
    trainer = small.trainer(small.config(**changes, train__stop_after="4"))
    with_losses(monkeypatch, trainer, [3, 2, 2.5, 2.4])
    with pytest.raises(trainer_module.Stopped):
        trainer.fit()
    again = trainer_module.Trainer(small.config(**changes), Run(Path(RUN)))
    with_losses(monkeypatch, again, [2.3, 1])
    assert again.fit(Run(Path(RUN)).newest_first()[0])["steps"] == 5


def test_overfitting_is_said_once(monkeypatch):
    trainer = small.trainer(small.config(eval__every=1, train__steps=5))
    with_losses(monkeypatch, trainer, [3, 2, 2.2, 2.4, 2.6], [3, 2, 1.8, 1.6, 1.4])
    trainer.fit()
    assert small.log(RUN).count("the model overfits: since step 2 val_loss rose from 2.000 to 2.200") == 1
    assert small.log(RUN).count("overfits") == 1


def test_a_loss_that_only_varies_is_not_called_overfitting(monkeypatch):
    trainer = small.trainer(small.config(eval__every=1, train__steps=4))
    with_losses(monkeypatch, trainer, [2, 2 * (1 + OVERFIT_MARGIN / 2), 2.5, 3], [2, 1.9, 2.1, 3])
    trainer.fit()
    assert "overfits" not in small.log(RUN)


def test_keeps_the_newest_and_the_best(monkeypatch):
    trainer = small.trainer(small.config(eval__every=1, checkpoint__every=1, checkpoint__keep=2, train__steps=6))
    with_losses(monkeypatch, trainer, [3, 2, 2.5, 2.5, 2.5, 2.5])
    trainer.fit()
    run = Run(Path(RUN))
    assert run.steps() == [2, 5, 6]
    assert (run.pointer("best"), run.pointer("latest")) == (2, 6)
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []


def test_best_is_kept_when_checkpoints_are_rare(monkeypatch):
    trainer = small.trainer(small.config(eval__every=1, checkpoint__every=5, checkpoint__keep=1, train__steps=6))
    with_losses(monkeypatch, trainer, [3, 2, 1, 2.5, 2.5, 2.5])
    assert trainer.fit()["best_step"] == 3
    assert Run(Path(RUN)).steps() == [3, 6]
    assert Run(Path(RUN)).pointer("best") == 3


# Length ------------------------------------------------------------------------------------------------------


def test_lengths():
    windows = 1000
    assert length(small.config(train__steps=7), windows).value == 7
    assert length(small.config(train__steps=None), windows).value == 2000
    assert length(small.config(train__steps=None, train__epochs=2.0), windows).value == 250
    assert length(small.config(train__steps=None, train__epochs=0.5), 1001).value == 63
    assert length(small.config(train__steps=None, train__tokens=1000), windows).value == 4  # 256 tokens a step
    assert length(small.config(train__steps=None, train__time="3m"), windows).value is None


def test_an_epoch_sees_every_window_once():
    cfg = small.config(train__steps=None, train__epochs=1.0, eval__every=100)
    trainer = small.trainer(cfg)
    windows = trainer.parts.loader.windows_per_epoch
    summary = trainer.fit()
    assert summary["steps"] == math.ceil(windows / 8)
    assert summary["tokens"] == summary["steps"] * 8 * 32


def test_decisions_of_a_run_of_steps():
    cfg = small.config(train__steps=1000, eval__every=None, log__every=None, checkpoint__every=None)
    parts, _ = build_parts(cfg)
    d = decide(cfg, parts.decisions.runtime, parts.machine, 27, 100, 50, {})
    assert (d.eval_every.value, d.checkpoint_every.value, d.log_every.value) == (100, 100, 5)
    assert d.warmup_steps.value == min(cfg.schedule.warmup_steps, 100)


def test_a_run_of_fixed_time_ends_in_time_and_decayed():
    budget = 6.0
    cfg = small.config(train__steps=None, train__time="6s", eval__every=None, checkpoint__every=None, log__every=None)
    trainer = small.trainer(cfg)
    summary = trainer.fit()
    assert summary["status"] == "done"
    assert trainer.state.progress == 1.0
    assert budget * 0.9 < summary["seconds"] < budget * 1.05 + 1.0  # a second more for a busy machine
    records = [r for r in small.records(RUN) if "lr" in r]
    assert max(r["lr"] for r in records) > 0.5 * cfg.optimizer.lr
    assert records[-1]["lr"] < 0.02 * cfg.optimizer.lr
    evaluations = [r["step"] for r in small.records(RUN) if "val_loss" in r]
    assert 8 <= len(evaluations) <= 11
    assert evaluations[-1] == summary["steps"] == Run(Path(RUN)).steps()[-1]


def test_a_run_of_fixed_time_goes_on_where_it_was():
    words = small.typed(small.config(train__steps=None, train__time="3s", eval__every=None), RUN)
    assert small.gptforge(*words, "train.stop_after=1s") == 75
    before = small.summary(RUN)
    assert before["seconds"] == pytest.approx(1, abs=0.7)
    assert small.gptforge("train", f"resume={RUN}") == 0
    after = small.summary(RUN)
    assert after["status"] == "done" and after["steps"] > before["steps"]
    assert 2.5 < after["seconds"] < 4.5
    lr = [r["lr"] for r in small.records(RUN) if "lr" in r]
    assert lr[-1] < 0.3 * max(lr)  # a busy machine does few steps in a second
    assert lr[lr.index(max(lr)) :] == sorted(lr[lr.index(max(lr)) :], reverse=True)


# What is left behind -----------------------------------------------------------------------------------------


def test_files_of_a_run():
    assert small.gptforge(*small.typed(small.config(), RUN)) == 0
    names = {p.name for p in Path(RUN).iterdir()}
    assert names == {
        "config.json", "decisions.json", "overrides.txt", "data.json", "env.json", "metrics.jsonl", "metrics.csv",
        "train.log", "samples", "checkpoints", "loss.svg", "summary.json", ".lock", "report.html", "passage.json",
    }  # fmt: skip
    summary = small.summary(RUN)
    assert {
        "status", "steps", "tokens", "seconds", "tokens_per_second", "train_loss", "val_loss", "best_val_loss",
        "best_step", "val_bpb", "peak_memory_bytes", "parameters", "weights_sha256",
    } <= set(summary)  # fmt: skip
    assert (summary["status"], summary["steps"], summary["tokens"]) == ("done", 12, 12 * 8 * 32)
    decisions = json.loads(Path(RUN, "decisions.json").read_text())
    assert {"device", "dtype", "compile", "threads", "micro_batch_size", "steps"} <= set(decisions)
    assert all(d["reason"] for d in decisions.values())
    assert decisions["threads"] == {"value": 1, "reason": "asked for"}
    environment = json.loads(Path(RUN, "env.json").read_text())
    assert {"gptforge", "python", "torch", "numpy", "platform", "device"} <= set(environment)
    assert not any(value in json.dumps(environment) for value in (os.environ.get("HOME", "?no"), str(Path.cwd())))
    columns = {"step", "train_loss", "val_loss", "val_bpb", "lr", "grad_norm", "tokens", "tokens_per_second"}
    lines = [json.loads(line) for line in Path(RUN, "metrics.jsonl").read_text().splitlines()]
    assert columns | {"peak_share", "data_wait", "seconds"} <= set().union(*lines)
    assert [r["step"] for r in lines if "train_loss" in r] == list(range(1, 13))
    assert [r["step"] for r in lines if "val_loss" in r] == [4, 8, 12]
    assert sorted(p.name for p in Path(RUN, "samples").iterdir()) == [f"step-{s:06d}.txt" for s in (4, 8, 12)]
    held = Run(Path(RUN)).newest_first()[0]
    assert json.loads((held / "decisions.json").read_text()) == decisions
    assert not [p for p in Path(RUN).rglob("*.pt")]


def test_a_sample_is_the_prompt_and_what_follows():
    small.trainer(small.config(prompt="abc", train__steps=4)).fit()
    text = Path(RUN, "samples/step-000004.txt").read_text()
    assert text.startswith("abc") and len(text) == 3 + 8


def test_a_prompt_outside_the_vocabulary_does_not_end_the_run():
    assert small.trainer(small.config(prompt="Ü", train__steps=4)).fit()["status"] == "done"
    assert "no sample" in small.log(RUN)
    assert not Path(RUN, "samples").exists()


def test_dry_run_writes_nothing(capsys):
    before = sorted(Path().rglob("*"))
    words = ["train", "model=tiny", "data=text.txt", "train.steps=3", "dry_run=true", "runtime.threads=1"]
    assert small.gptforge(*words, "ui=plain") == 0
    assert sorted(Path().rglob("*")) == before
    assert "what will run" in capsys.readouterr().err


class Bigram(nn.Module):
    """Someone's own model: a table of what follows what."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.table.weight)

    def forward(self, inputs, documents=None, targets=None):
        return F.cross_entropy(
            self.table(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )


def test_a_model_of_ones_own_trains_and_goes_on():
    def own_parts():
        parts, _ = build_parts(small.config())
        model = Bigram(parts.tokenizer.vocab_size)
        return dataclasses.replace(parts, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=50.0))

    cfg = small.config(train__steps=20)
    whole = small.trainer(cfg, "whole", own_parts()).fit()
    assert whole["val_loss"] < math.log(29) - 0.1
    assert whole["parameters"] == 29 * 29
    assert not Path("whole/samples").exists()
    stopped = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, stop_after="7"))
    with pytest.raises(trainer_module.Stopped):
        small.trainer(stopped, RUN, own_parts()).fit()
    run = Run(Path(RUN))
    trainer_module.Trainer(cfg, run, parts=own_parts()).fit(run.newest_first()[0])
    assert small.course(RUN) == small.course("whole")


# Disks -------------------------------------------------------------------------------------------------------


def broken(kind: str, code: int, after: int):
    """os.fsync, os.rename or open of checkpoint.py that fails, once it was called `after` times."""
    calls = [0]
    real = {"fsync": os.fsync, "rename": os.rename, "open": open}[kind]

    def call(*arguments, **options):
        calls[0] += 1
        if calls[0] > after:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(("kind", "after"), [("fsync", 0), ("fsync", 3), ("fsync", 8), ("open", 0), ("rename", 0)])
def test_a_disk_that_fails(kind, after, code, monkeypatch):
    with pytest.raises(trainer_module.Stopped):
        small.trainer(small.config(train__stop_after="3")).fit()
    run = Run(Path(RUN))
    files = {"model.safetensors": b"1" * 1000, **{f"file-{n}": b"2" for n in range(6)}}
    with monkeypatch.context() as patch:
        if kind == "open":
            patch.setattr(checkpoint, "open", broken(kind, code, after), raising=False)
        else:
            patch.setattr(checkpoint.os, kind, broken(kind, code, after))
        with pytest.raises(ResourceError) as caught:
            checkpoint.commit(run, 6, files)
    assert caught.value.exit_code == 5
    assert os.strerror(code) in str(caught.value)
    assert run.steps() == [3] or (kind, after) == ("fsync", 8)
    assert not [p for p in run.checkpoints.iterdir() if p.name.startswith(".")]
    assert first_sound([run.checkpoint(3)]) == (run.checkpoint(3), [])


def test_a_full_disk_ends_the_run_and_spoils_nothing(monkeypatch):
    trainer = small.trainer(small.config())
    commit = checkpoint.commit

    with monkeypatch.context() as patch:

        def full(run, step, files):
            if step >= 6:
                patch.setattr(checkpoint.os, "fsync", broken("fsync", errno.ENOSPC, 2))
            return commit(run, step, files)

        patch.setattr(checkpoint, "commit", full)
        with pytest.raises(ResourceError) as caught:
            trainer.fit()
    assert "hydra.run.dir" in str(caught.value)
    assert small.gptforge("train", f"resume={RUN}") == 0
    small.trainer(small.config(), "whole").fit()
    assert small.course(RUN) == small.course("whole")


def test_too_little_space_is_noticed_before_writing(monkeypatch):
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(ResourceError, match="the disk has 0 MB left"):
        small.trainer(small.config()).fit()
    assert list(Path(RUN, "checkpoints").iterdir()) == []
    assert small.summary(RUN)["status"] == "failed"


# State -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12))
def test_best_is_the_lowest_and_the_first_of_equals(losses):
    state = TrainState()
    for step, (val, train) in enumerate(losses, 1):
        state.step = step
        state.judge(val, train)
    lowest = min(val for val, _ in losses)
    first = next(n for n, (val, _) in enumerate(losses, 1) if val == lowest)
    assert (state.best_val_loss, state.best_step) == (lowest, first)
    assert state.evals_since_best == len(losses) - first


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), min_size=1, max_size=10))
def test_the_recorded_loss_is_the_mean_over_tokens(parts):
    state = TrainState()
    for loss, tokens in parts:
        state.advance(loss, tokens, 7 * tokens)  # of which a seventh is learnt
    total = sum(tokens for _, tokens in parts)
    assert state.take_loss() == pytest.approx(sum(loss for loss, _ in parts) / total)
    assert (state.step, state.tokens, state.loss_tokens) == (len(parts), 7 * total, 0)


def test_a_model_larger_than_memory_is_refused_before_it_is_built(own_folder):
    small.write_text()
    assert small.gptforge("train", "model=gpt3-175b", "data=text.txt", "model.block_size=32") == 5
    assert not Path("runs").exists()
