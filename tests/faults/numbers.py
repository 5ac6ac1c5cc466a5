"""N: numbers that are none, or much too large, in the middle of a run."""

import contextlib
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import small
from faults.suite import Fault
from gptforge.checkpoint import to_go_on_from
from gptforge.config import ModelConfig, TrainConfig
from gptforge.config.schema import build
from gptforge.data.batch import Batch
from gptforge.errors import NumericalError, Stopped
from gptforge.model import Transformer
from gptforge.train import trainer as trainer_module
from gptforge.train.objectives import Loss, next_token
from gptforge.train.parts import Parts, build_parts
from gptforge.train.trainer import Trainer

MARGIN = 0.3  # nats
NEAR = 0.05  # of the loss without a fault, how far a run may end from it that met one
STEPS, EVERY = 16, 4  # of a short run, and from checkpoint to checkpoint
LONG = 150  # steps of a run that knows what is usual


def quick_peak() -> None:
    """No trial measures the machine's peak."""
    trainer_module.measured_peak = lambda runtime: 1e12


def initial_loss(draw: random.Random, ground: Any) -> None:
    """A new model of any shape knows nothing yet: its loss is that of equally likely tokens."""
    shape = {
        "n_layer": draw.randint(1, 6),
        "n_head": draw.choice([1, 2, 4]),
        "n_embd": draw.choice([32, 64, 128]),
        "block_size": 32,
        "position": draw.choice(["rope", "learned", "none"]),
        "bias": draw.random() < 0.5,
        "tie_embeddings": draw.random() < 0.5,
        "init_residual": draw.choice(["scaled", "full", "zero"]),
        "norm": {"kind": draw.choice(["layernorm", "rmsnorm"])},
        "mlp": {"kind": draw.choice(["gelu", "relu2", "swiglu"])},
    }
    vocab = draw.choice([65, 256, 2_000, 50_257])
    model = Transformer(build(ModelConfig, shape), vocab)
    model.init_weights(torch.Generator().manual_seed(draw.randrange(2**31)))
    ids = torch.tensor([[draw.randrange(vocab) for _ in range(33)] for _ in range(8)])
    batch = Batch(ids[:, :-1], ids[:, 1:])
    loss = float(model(batch.inputs, targets=batch.labels)) / batch.learnt
    assert abs(loss - math.log(vocab)) < MARGIN, f"{loss:.3f} nats, ln {vocab} is {math.log(vocab):.3f}: {shape}"


# Values that are no numbers ----------------------------------------------------------------------------------

PLACES = ("loss", "gradient", "weight", "input")


def spoilt(parts: Parts, place: str, value: float, call: int, draw: random.Random) -> Parts:
    """Parts whose objective meets `value` in its call number `call`, once, at a place of the model drawn by chance."""
    names = [name for name, p in parts.model.named_parameters()]
    name, where, calls = draw.choice(names), draw.random(), 0

    def put(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[int(where * changed.numel())] = value
        return changed

    def objective(model: nn.Module, batch: Batch) -> Loss:
        nonlocal calls
        calls += 1
        if calls != call + 1:
            return next_token(model, batch)
        parameter = parts.model.get_parameter(name)
        if place == "weight":
            parameter.data.copy_(put(parameter.data))
        if place == "gradient":
            hook = parameter.register_hook(lambda grad: (hook.remove(), put(grad))[1])
        if place == "input":
            seen = parts.model.get_submodule("tok_emb").register_forward_hook(
                lambda module, ids, out: (seen.remove(), put(out))[1]
            )
        found = next_token(model, batch)
        return Loss(found.total * value, found.extra) if place == "loss" else found

    return replace(parts, objective=objective)


def finite_files(run: str) -> None:
    """Nothing that is no number is in any checkpoint."""
    for path in Path(run, "checkpoints").rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), f"{name} in {path}"


def short(**changes: Any) -> TrainConfig:
    return small.config(train__steps=STEPS, eval__every=EVERY, checkpoint__every=EVERY, **changes)


def clean_run() -> dict[str, Any]:
    """The course of a run without a fault."""
    quick_peak()
    small.write_text()
    small.trainer(short(), "clean").fit()
    return {"course": small.course("clean"), "loss": small.summary("clean")["val_loss"]}


def no_number(draw: random.Random, ground: Any) -> None:
    """NaN or infinity in a step: found before the update, never saved, and then what the user chose."""
    place, value = draw.choice(PLACES), draw.choice([math.nan, math.inf, -math.inf])
    policy, step, micro = draw.choice(["stop", "skip", "rollback"]), draw.randrange(STEPS), draw.randrange(2)
    told = f"{value} in the {place}, micro-batch {micro} of step {step + 1}, on_nonfinite={policy}"
    small.write_text()
    cfg = short(train__on_nonfinite=policy)
    parts, _ = build_parts(cfg)
    trainer = small.trainer(cfg, "run", spoilt(parts, place, value, 2 * step + micro, draw))
    lasting = place == "weight" and (policy != "rollback" or step < EVERY)
    try:
        summary = trainer.fit()
    except NumericalError as e:
        assert policy == "stop" or lasting, f"{told}: {e}"
        assert trainer.state.step == step, f"{told}: stopped after {trainer.state.step}"
        finite_files("run")
        resumed(cfg, ground, told)
        return
    finite_files("run")
    assert policy != "stop" and not lasting, told
    assert summary["nonfinite"] == summary["passed_over"] == 1 and summary["steps"] == STEPS, f"{told}: {summary}"
    assert summary["rollbacks"] == (policy == "rollback" and step >= EVERY), f"{told}: {summary}"
    assert abs(summary["val_loss"] - ground["loss"]) < NEAR * ground["loss"], f"{told}: {summary['val_loss']}"
    steps = [row["step"] for row in rows("run") if "train_loss" in row]
    assert steps == list(range(1, STEPS + 1)), f"{told}: {steps}"


def rows(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def resumed(cfg: TrainConfig, ground: Any, told: str) -> None:
    """Without the fault the run goes on as if it had never been."""
    assert small.gptforge("train", "resume=run", "ui=quiet") == 0, told
    assert small.course("run") == ground["course"], f"{told}: not as without a fault"


# Spikes ------------------------------------------------------------------------------------------------------


class Corrupt:
    """A loader one of whose batches is marked."""

    def __init__(self, loader: Any, at: int) -> None:
        self._loader, self._at = loader, at
        self.order, self.windows_per_epoch = loader.order, loader.windows_per_epoch

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        batch = self._loader.batch(step, rows)
        if step == self._at:
            batch.extra["spoilt"] = torch.ones_like(batch.inputs)
        return batch


def long(policy: str) -> TrainConfig:
    return small.config(
        train__steps=LONG, eval__every=50, checkpoint__every=25, train__on_spike=policy, train__batch_size=4,
        optimizer__lr=3e-3, runtime__dtype="float32",
    )  # fmt: skip


def corrupted(cfg: TrainConfig, at: int, factor: float) -> Parts:
    """Parts whose batch number `at` has the least likely labels (factor 0), or a loss so many times too large."""
    parts, _ = build_parts(cfg)

    def objective(model: nn.Module, batch: Batch) -> Loss:
        if "spoilt" not in batch.extra:
            return next_token(model, batch)
        if factor:
            found = next_token(model, batch)
            return Loss(found.total * factor, found.extra)
        with torch.no_grad():
            labels = model(batch.inputs).argmin(-1)
        return next_token(model, replace(batch, labels=labels))

    return replace(parts, loader=Corrupt(parts.loader, at), objective=objective)  # type: ignore[arg-type]


def long_clean_run() -> dict[str, Any]:
    quick_peak()
    small.write_text(words=6000)
    small.trainer(long("warn"), "clean").fit()
    summary = small.summary("clean")
    assert summary["spikes"] == 0, "a run without a fault has spikes"
    return {"loss": summary["val_loss"]}


def spike(draw: random.Random, ground: Any) -> None:
    """A batch far out of the ordinary is left out, the run ends near the one without it, and goes on bit for bit."""
    policy, at, factor = draw.choice(["skip", "rollback"]), draw.randrange(60, LONG - 10), draw.choice([0.0, 10.0, 1e3])
    told = f"{'the least likely labels' if not factor else f'a loss times {factor:g}'} in batch {at}, on_spike={policy}"
    small.write_text(words=6000)
    cfg = long(policy)
    summary = small.trainer(cfg, "whole", corrupted(cfg, at, factor)).fit()
    assert summary["spikes"] == summary["passed_over"] == 1, f"{told}: {summary}"
    assert summary["rollbacks"] == (policy == "rollback"), f"{told}: {summary}"
    assert abs(summary["val_loss"] - ground["loss"]) < NEAR * ground["loss"], f"{told}: {summary['val_loss']}"
    stop = draw.randrange(40, at + 5)
    stopped = replace(cfg, train=replace(cfg.train, stop_after=str(stop)))
    with contextlib.suppress(Stopped):
        small.trainer(stopped, "cut", corrupted(stopped, at, factor)).fit()
    assert small.summary("cut")["status"] == "stopped", told
    run, checkpoint, warnings = to_go_on_from("cut")
    Trainer(replace(cfg, resume="cut"), run, parts=corrupted(cfg, at, factor)).fit(checkpoint, warnings)
    assert small.course("cut") == small.course("whole"), f"{told}: stopped after {stop} it goes another way"


FAULTS = [
    Fault("N1", "values that are no numbers never reach weights or checkpoints", no_number, 30, 100, clean_run),
    Fault("N2", "spikes are left out, and a resumed run judges as if never stopped", spike, 8, 40, long_clean_run),
    Fault("N3", "a new model's loss is ln(vocabulary)", initial_loss, 30, 30),
]
