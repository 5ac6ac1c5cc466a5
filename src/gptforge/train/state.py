"""Everything that a run would need to go on bit for bit, and the way of each part into a checkpoint and back.

Tensors (weights, moments, random states of torch) are safetensors, the rest is JSON. Data order
needs no state: it is a function of the step.
"""

import contextlib
import dataclasses
import hashlib
import math
import random
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gptforge.checkpoint import json_bytes, load_weights
from gptforge.errors import CheckpointError
from gptforge.jsonfile import read_json
from gptforge.logs.series import OVERFIT_MARGIN
from gptforge.optim import Together, WeightAverage, each
from gptforge.optim.muon import Muon
from gptforge.tensors import read_tensors, tensor_bytes
from gptforge.train.watch import Watch

LEGACY_NUMPY = "MT19937"


@dataclass(slots=True)
class TrainState:
    """Where a run stands after `step` optimizer steps."""

    step: int = 0
    tokens: int = 0  # read so far
    seconds: float = 0.0  # spent in the loop, over all starts
    progress: float = 0.0  # share of the run that is over, as the schedule sees it
    warmup_end: float = 0.0  # the progress at which the lr's warm-up ended
    last_eval_progress: float = 0.0
    eval_seconds: float = 0.0  # the longest evaluation
    save_seconds: float = 0.0  # the longest save
    loss_sum: float = 0.0  # nats since the last record
    loss_tokens: int = 0  # tokens learnt since the last record
    train_loss: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    train_eval_at_best: float | None = None
    evals_since_best: int = 0
    last_eval_step: int = 0
    overfit_said: bool = False
    planned_step: int = 0  # of the last checkpoint that was due; stops make others
    metrics_bytes: int = 0  # length of metrics.jsonl
    changed_on_the_way: list[str] = field(default_factory=list)  # each time the run went on with other values
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def checked(cls, stored: Mapping[str, Any]) -> Self:
        """That of a checkpoint, from anyone. Raises ValueError for a value that no run can have."""
        held = dict(stored)
        watch = held.pop("watch", {})  # runs of earlier versions had none
        refuse_strange(Watch, watch)
        refuse_strange(cls, held)
        return cls(**held, watch=Watch(**watch))

    def advance(self, loss_sum: float, learnt: int, tokens: int) -> None:
        """Counts one optimizer step, which has read so many tokens and learnt of so many of them."""
        self.step += 1
        self.tokens += tokens
        self.loss_sum += loss_sum
        self.loss_tokens += learnt

    def take_loss(self) -> float:
        """The mean training loss since it was last taken."""
        self.train_loss = self.loss_sum / self.loss_tokens
        self.loss_sum, self.loss_tokens = 0.0, 0
        return self.train_loss

    def judge(self, val_loss: float, train_loss: float) -> str:
        """Takes note of an evaluation; returns a warning when the model begins to learn the text by heart."""
        if self.best_val_loss is None or val_loss < self.best_val_loss:
            self.best_val_loss, self.best_step, self.train_eval_at_best = val_loss, self.step, train_loss
            self.evals_since_best = 0
            return ""
        self.evals_since_best += 1
        by_heart = self.train_eval_at_best is not None and train_loss < self.train_eval_at_best
        if self.overfit_said or not by_heart or val_loss <= self.best_val_loss * (1 + OVERFIT_MARGIN):
            return ""
        self.overfit_said = True
        return (
            f"the model overfits: since step {self.best_step} val_loss rose from {self.best_val_loss:.3f} to "
            f"{val_loss:.3f} while the loss on training text fell to {train_loss:.3f}; the best checkpoint is kept. "
            "More text, model.dropout=0.2, a smaller model or train.early_stop_patience=2 help"
        )


def refuse_strange(kind: type, stored: Mapping[str, Any]) -> None:
    """Raises ValueError for a value that no field of a dataclass of the state can have. Numbers are finite, whole
    ones not negative."""
    hints = typing.get_type_hints(kind)
    for name, value in stored.items():
        hint = hints.get(name)
        kinds = typing.get_args(hint) or (hint,)
        if typing.get_origin(hint) is list:
            fits = isinstance(value, list) and all(_fits(one, kinds) for one in value)
        else:
            fits = _fits(value, kinds)
        if not fits:
            raise ValueError(f"{name}={value!r:.60}")


def _fits(value: Any, kinds: Sequence[Any]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value) in kinds
    if float in kinds:
        return math.isfinite(value)
    return type(value) in kinds and 0 <= value < 2**63


MOMENTS = {torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"}, Muon: {"momentum_buffer"}}  # of each parameter
UNAVERAGED = "unaveraged.safetensors"  # the weights that are trained, where model.safetensors holds their average


@dataclass(frozen=True, slots=True)
class Rng:
    """The states of all global random generators of one process."""

    torch: dict[str, Tensor]
    python: dict[str, Any]


def rng() -> Rng:
    """Those of this process."""
    return Rng(torch_rng(), python_rng())


def pack(
    state: TrainState,
    model: nn.Module,
    optimizer: Optimizer | Together,
    average: WeightAverage | None,
    fingerprint: Mapping[str, Any],
    rngs: Sequence[Rng] = (),
) -> dict[str, bytes]:
    """The files of a checkpoint that hold the training state; `rngs` are the generators of all processes by rank."""
    first, *others = rngs or [rng()]
    tensors = dict(first.torch)
    for rank, other in enumerate(others, 1):
        tensors |= {f"{rank}/{name}": tensor for name, tensor in other.torch.items()}
    held: dict[str, Any] = {"state": dataclasses.asdict(state), "fingerprint": dict(fingerprint), "rng": first.python}
    if others:
        held["rng_of_others"] = [other.python for other in others]
    weights = {UNAVERAGED: tensor_bytes(model.state_dict())} if average else {}
    with average.in_place() if average else contextlib.nullcontext():
        weights["model.safetensors"] = tensor_bytes(model.state_dict())
    return weights | {
        "optimizer.safetensors": tensor_bytes(optimizer_tensors(model, optimizer)),
        "rng.safetensors": tensor_bytes(tensors),
        "state.json": json_bytes(held),
    }


def unpack(
    path: Path, model: nn.Module, optimizer: Optimizer | Together | None, average: WeightAverage | None, rank: int = 0
) -> tuple[TrainState, dict[str, Any]]:
    """Puts a verified checkpoint's state into model, optimizer and the random generators of process `rank`.

    Without `optimizer` the one that was saved is left alone, for it is of another kind. A process that the run did not
    have before keeps its generators. Returns the state and the fingerprint it was saved under. Raises CheckpointError
    when any part does not fit.
    """
    held = read_json(path / "state.json", "the training state")
    try:
        state = TrainState.checked(held["state"])
        load_weights(model, path)
        if average:
            average.begin()
        if (path / UNAVERAGED).exists():
            load_weights(model, path, UNAVERAGED)
        if optimizer:
            restore_optimizer(model, optimizer, read_tensors(path / "optimizer.safetensors"))
        others = held.get("rng_of_others", [])
        if rank <= len(others):
            restore_python_rng([held["rng"], *others][rank])
            restore_torch_rng(of_rank(read_tensors(path / "rng.safetensors"), rank))
        return state, dict(held["fingerprint"])
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as e:
        raise CheckpointError(f"the training state does not fit: {e}", where=str(path)) from None


def not_finite(model: nn.Module, optimizer: Optimizer | Together) -> str:
    """The name of a weight or moment that is no finite number; nothing if all are."""
    tensors = dict(model.state_dict()) | optimizer_tensors(model, optimizer)
    held = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not held:
        return ""
    device = next(iter(held.values())).device
    sound = torch.stack([tensor.isfinite().all().to(device) for tensor in held.values()]).tolist()  # one wait
    return next((name for name, fine in zip(held, sound, strict=True) if not fine), "")


def optimizer_tensors(model: nn.Module, optimizer: Optimizer | Together) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: {"blocks.0.attn.qkv.weight/exp_avg": ...}."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for one in each(optimizer)
        for key, value in one.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, optimizer: Optimizer | Together, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; torch puts each tensor where the optimizer keeps it."""
    held: dict[str, dict[str, Tensor]] = {}
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        held.setdefault(name, {})[key] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    shapes = {name: parameter.shape for parameter, name in names.items()}
    if strange := held.keys() - names.values():
        raise CheckpointError(f"the optimizer state has {min(strange)!r}, which the model lacks")
    for name, values in held.items():
        for key, value in values.items():
            if not value.is_floating_point() or (value.numel() != 1 and value.shape != shapes[name]):
                found = f"{tuple(value.shape)} of {str(value.dtype)[6:]}"
                raise CheckpointError(f"{key} of {name} in the optimizer state is {found}: it does not fit the model")
    for one in each(optimizer):
        groups = one.state_dict()["param_groups"]
        state: dict[int, dict[str, Tensor]] = {}
        for group, numbered in zip(one.param_groups, groups, strict=True):
            for parameter, number in zip(group["params"], numbered["params"], strict=True):
                if (found := held.get(names[parameter])) is not None:
                    if found.keys() != MOMENTS.get(type(one), found.keys()):
                        what = f"the optimizer state of {names[parameter]} has {', '.join(sorted(found)):.100}"
                        raise CheckpointError(
                            f"{what}, {type(one).__name__} needs {', '.join(sorted(MOMENTS[type(one)]))}"
                        )
                    state[number] = found
        one.load_state_dict({"state": state, "param_groups": groups})


def seed_all(seed: int, rank: int = 0) -> None:
    """Seeds the global generators of torch, Python and numpy; own objectives and data may draw from any.

    The first process has the seed itself, each other one a stream of its own: dropout must differ between their rows.
    """
    if rank:
        seed = int.from_bytes(hashlib.sha256(f"{seed} {rank}".encode()).digest()[:7])
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def torch_rng() -> dict[str, Tensor]:
    """The states of torch's generators, one for each device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def of_rank(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The generators of one process among those of all: `cpu` is the first one's, `1/cpu` the second one's."""
    named = [(*name.rpartition("/")[::2], tensor) for name, tensor in tensors.items()]
    return {name: tensor for owner, name, tensor in named if int(owner or 0) == rank}


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
    if len(keys) != 624 or not 0 <= position <= 624:  # numpy takes any place, and reads there
        raise ValueError("no state of numpy's generator")
    np.random.set_state((LEGACY_NUMPY, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
