"""Everything that a run would need to go on bit for bit, and the way of each part into a checkpoint and back.

Tensors (weights, moments, random states of torch) are safetensors, the rest is JSON. Data order
needs no state: it is a function of the step.
"""

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gptforge.checkpoint import json_bytes, load_weights, read_tensors, tensor_bytes
from gptforge.errors import CheckpointError
from gptforge.runs import read_json

LEGACY_NUMPY = "MT19937"


@dataclass(slots=True)
class TrainState:
    """Where a run stands after `step` optimizer steps."""

    step: int = 0
    tokens: int = 0  # learnt so far
    seconds: float = 0.0  # spent in the loop, over all starts
    progress: float = 0.0  # share of the run that is over, as the schedule sees it
    loss_sum: float = 0.0  # nats since the last record
    loss_tokens: int = 0  # tokens since the last record
    train_loss: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    train_eval_at_best: float | None = None
    evals_since_best: int = 0
    last_eval_step: int = 0
    overfit_said: bool = False
    metrics_bytes: int = 0  # length of metrics.jsonl


def pack(state: TrainState, model: nn.Module, optimizer: Optimizer, fingerprint: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a checkpoint that hold the training state."""
    return {
        "model.safetensors": tensor_bytes(model.state_dict()),
        "optimizer.safetensors": tensor_bytes(optimizer_tensors(model, optimizer)),
        "rng.safetensors": tensor_bytes(torch_rng()),
        "state.json": json_bytes(
            {"state": dataclasses.asdict(state), "fingerprint": dict(fingerprint), "rng": python_rng()}
        ),
    }


def unpack(path: Path, model: nn.Module, optimizer: Optimizer) -> tuple[TrainState, dict[str, Any]]:
    """Puts a verified checkpoint's state into model, optimizer and random generators.

    Returns the state and the fingerprint it was saved under. Raises CheckpointError when any part does not fit.
    """
    held = read_json(path / "state.json", "the training state")
    try:
        state = TrainState(**held["state"])
        load_weights(model, path)
        restore_optimizer(model, optimizer, read_tensors(path / "optimizer.safetensors"))
        restore_python_rng(held["rng"])
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"the training state does not fit: {e}", where=str(path)) from None
    restore_torch_rng(read_tensors(path / "rng.safetensors"))
    return state, held["fingerprint"]


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: {"blocks.0.attn.qkv.weight/exp_avg": ...}."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        if name not in parameters:
            raise CheckpointError(f"the optimizer state has {name!r}, which the model lacks")
        parameter = parameters[name]
        # a moment lives beside its parameter; the step count stays where the optimizer keeps it
        home = parameter.device if value.shape == parameter.shape or parameter.device.type == "cuda" else "cpu"
        optimizer.state[parameter][key] = value.to(home)


def torch_rng() -> dict[str, Tensor]:
    """The states of torch's generators, one for each device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_torch_rng(states: Mapping[str, Tensor]) -> None:
    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state)
        elif name.startswith("cuda:") and int(name[5:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, name)
        elif name == "mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(state)


def python_rng() -> dict[str, Any]:
    """The states of the generators of Python and numpy, as JSON values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]
    assert kind == LEGACY_NUMPY
    return {
        "python": [version, list(words), gauss],
        "numpy": [[int(k) for k in keys], int(position), int(has_gauss), float(cached)],
    }


def restore_python_rng(states: Mapping[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((LEGACY_NUMPY, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
