"""What a config left open, decided once, with the reason: device, dtype, micro-batch, length, intervals.

The decisions of a run are saved with it (decisions.json), so that resume and reproduce do not
decide anew on another machine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gptforge.config import TrainConfig
from gptforge.config.model import ModelConfig, divisors
from gptforge.config.units import duration, shown_bytes
from gptforge.errors import ResourceError
from gptforge.model.cost import training_memory
from gptforge.runtime import Choice, Machine, Runtime
from gptforge.train.repay import compile_choice, run_seconds

DEFAULT_STEPS = 2000
EVALUATIONS = 10  # in a run at most, where eval.every is not set
LEAST_EVALUATIONS = 2
EVALUATION_SHARE = 0.05  # of the training's arithmetic, the most that evaluations take, but for the least
FORWARD = 1 / 3  # what evaluating a token costs of learning it: no backward pass
RECORDS = 200  # in a run, where log.every is not set
CONTEXT_WARMUP = 100  # steps; runs of 150 gain by it, those of 600 hardly, those of 2,000 lose (docs/experiments.md)
PASSES = 4.0  # over the text, from which dropout is worth its price: at 2 it costs (docs/experiments.md)
DROPOUT = 0.2
SHORT = 500  # steps of a run that begins with short sequences
MEMORY_SHARE = 0.7  # of what is free, for the estimate is one
MACHINE_KEYS = ("device", "dtype", "compile", "threads", "tf32", "micro_batch_size")
COURSE_KEYS = ("context_warmup", "dropout")  # what is learnt depends on them, so that they hold on any machine
LOOP_KEYS = ("micro_batch_size", *COURSE_KEYS)  # of what a run keeps, what is no part of Runtime
SHARED_KEYS = ("threads", "micro_batch_size")  # what other processes of the run leave to this one
ALONE = Choice(1, "parallel=none")


@dataclass(frozen=True, slots=True)
class Decisions:
    """Every automatic value of a run. `steps` and the intervals are null in a run whose length is a time."""

    runtime: Runtime
    micro_batch_size: Choice
    steps: Choice
    warmup_steps: Choice
    context_warmup: Choice
    dropout: Choice
    eval_every: Choice
    checkpoint_every: Choice
    log_every: Choice
    processes: Choice = ALONE
    seconds: float | None = None
    init: Choice | None = None  # the SHA-256 of the weights that it began with, and where they were

    def to_dict(self) -> dict[str, Any]:
        named = {"device": self.runtime.device, "dtype": self.runtime.dtype, "compile": self.runtime.compile}
        named |= {"allocator": self.runtime.allocator, "tf32": self.runtime.tf32}
        named |= {"threads": self.runtime.threads, "micro_batch_size": self.micro_batch_size, "steps": self.steps}
        named |= {"warmup_steps": self.warmup_steps, "context_warmup": self.context_warmup}
        named |= {"dropout": self.dropout}
        named |= {"eval_every": self.eval_every, "checkpoint_every": self.checkpoint_every}
        named |= {"log_every": self.log_every, "processes": self.processes}
        named |= {"init": self.init} if self.init else {}
        return {name: {"value": c.value, "reason": c.reason} for name, c in named.items()}


def as_before(cfg: TrainConfig, saved: Mapping[str, Any], machine: Machine, processes: int = 1) -> dict[str, Choice]:
    """What a run that goes on keeps, but for what the config now sets: the machine's part on the same device only."""
    asked = {
        "device": cfg.runtime.device,
        "dtype": cfg.runtime.dtype,
        "compile": cfg.runtime.compile,
        "threads": cfg.runtime.threads,
        "tf32": cfg.runtime.tf32,
        "micro_batch_size": cfg.train.micro_batch_size or cfg.train.grad_accum,
        "context_warmup": cfg.train.context_warmup,
        "dropout": cfg.model.dropout,
    }
    if not saved:
        return {}
    before = saved["device"]["value"]
    kept = set(COURSE_KEYS)
    if (asked["device"] or before) == before and before in machine.devices:
        kept |= set(MACHINE_KEYS)  # on another device nothing that was decided for the old one holds
    if saved.get("processes", {"value": 1})["value"] != processes:
        kept -= set(SHARED_KEYS)
    known = [k for k in asked if k in kept and asked[k] is None and k in saved]  # an older gptforge decided less
    return {k: Choice(saved[k]["value"], saved[k]["reason"]) for k in known}


def decide(
    cfg: TrainConfig,
    runtime: Runtime,
    machine: Machine,
    vocab_size: int,
    windows_per_epoch: int,
    val_tokens: int,
    kept: Mapping[str, Choice],
    processes: int = 1,
) -> Decisions:
    """All decisions for a config, a machine and a text of `windows_per_epoch` windows and `val_tokens` to evaluate on.

    `kept` has those of a run that goes on (`as_before`).
    """
    loop = cfg.train
    steps = length(cfg, windows_per_epoch)
    n = int(steps.value) if steps.value is not None else None
    warmup = min(cfg.schedule.warmup_steps, n // 10) if n else cfg.schedule.warmup_steps
    every = Choice(cfg.eval.every, "asked for") if cfg.eval.every else evaluations(cfg, n, val_tokens)
    saves = Choice(cfg.checkpoint.every, "asked for") if cfg.checkpoint.every else Choice(every.value, "at evaluations")
    if cfg.log.every:
        records = Choice(cfg.log.every, "asked for")
    else:
        records = Choice(max(1, n // RECORDS) if n else 10, f"about {RECORDS} in a run" if n else "every 10 steps")
    seconds = duration(loop.time) if loop.time else None
    expected = expected_steps(cfg, steps, runtime, machine, vocab_size)
    masked = kept.get("dropout") or dropout(cfg.model.dropout, expected * loop.batch_size / windows_per_epoch)
    cfg = replace(cfg, model=as_trained(cfg.model, masked))
    if runtime.compile.value is None:
        runtime = replace(runtime, compile=compile_choice(cfg, runtime, machine, vocab_size, n, seconds))
    return Decisions(
        runtime=runtime,
        micro_batch_size=kept.get("micro_batch_size") or micro_batch_size(cfg, runtime, machine, vocab_size, processes),
        steps=steps,
        warmup_steps=Choice(warmup, "schedule.warmup_steps, at most a tenth of the run"),
        context_warmup=kept.get("context_warmup") or context_warmup(loop.context_warmup, expected, bool(cfg.init)),
        dropout=masked,
        eval_every=every,
        checkpoint_every=saves,
        log_every=records,
        processes=Choice(processes, _process_reason(cfg, str(runtime.device.value))),
        seconds=seconds,
    )


def uncompiled(decisions: Decisions, reason: str) -> Decisions:
    """The decisions of a run that goes on without the compiler; its checkpoints say so."""
    return replace(decisions, runtime=replace(decisions.runtime, compile=Choice(False, f"compiling failed: {reason}")))


def check_room(cfg: TrainConfig, runtime: Runtime, machine: Machine, vocab_size: int) -> None:
    """Raises ResourceError when not even the weights, their gradients and the optimizer's moments fit into memory."""
    device = str(runtime.device.value)
    needs = training_memory(cfg.model, vocab_size, 1, str(runtime.dtype.value), device)
    fixed = needs["weights"] + needs["gradients"] + needs["adam_moments"]
    if fixed > machine.memory_of(device):
        raise ResourceError(
            f"weights, gradients and optimizer need {shown_bytes(fixed)}, {device} has "
            f"{shown_bytes(machine.memory_of(device))} free",
            fix=[
                "a smaller model: model=small, or fewer model.n_layer or model.n_embd",
                "gptforge info tells what it needs",
            ],
        )


def length(cfg: TrainConfig, windows_per_epoch: int) -> Choice:
    """The number of optimizer steps; None in a run of fixed time."""
    loop = cfg.train
    if loop.time is not None:
        return Choice(None, f"as many as {loop.time} allows")
    if loop.steps is not None:
        return Choice(loop.steps, "train.steps")
    if loop.epochs is not None:
        return Choice(max(1, math.ceil(loop.epochs * windows_per_epoch / loop.batch_size)), f"{loop.epochs:g} epochs")
    if loop.tokens is not None:
        per_step = loop.batch_size * cfg.model.block_size
        return Choice(math.ceil(loop.tokens / per_step), f"{loop.tokens:,} tokens, {per_step:,} a step")
    return Choice(DEFAULT_STEPS, "the default length")


def expected_steps(cfg: TrainConfig, steps: Choice, runtime: Runtime, machine: Machine, vocab_size: int) -> float:
    """The steps of a run; in a run of fixed time by estimate."""
    if steps.value is not None:
        return float(steps.value)
    return duration(cfg.train.time or "0s") / run_seconds(cfg, runtime, machine, vocab_size, 1)


def context_warmup(asked: int | None, steps: float, learnt: bool = False) -> Choice:
    """How many steps learn from shorter sequences, in a run of so many (by estimate in a run of fixed time); a model
    that has `learnt` before needs none."""
    if asked is not None:
        return Choice(asked, "asked for")
    if learnt:
        return Choice(0, "init: the model knows long ones already")
    if steps > SHORT:
        return Choice(0, f"only runs of up to {SHORT} steps gain by it")
    return Choice(CONTEXT_WARMUP, f"a run of {SHORT} steps at most")


def dropout(asked: float | None, passes: float) -> Choice:
    """How much a run forgets on purpose that reads the text so many times (by estimate in a run of fixed time)."""
    if asked is not None:
        return Choice(asked, "model.dropout")
    if passes < PASSES:
        return Choice(0.0, f"the text is read less than {PASSES:g} times: nothing is learnt by heart yet")
    return Choice(DROPOUT, f"the text is read {PASSES:g} times or more")


def as_trained(model: ModelConfig, dropout: Choice) -> ModelConfig:
    """The model's config with the dropout that was decided."""
    return replace(model, dropout=float(dropout.value or 0.0))


def micro_batch_size(
    cfg: TrainConfig, runtime: Runtime, machine: Machine, vocab_size: int, processes: int = 1
) -> Choice:
    """The largest divisor of a process's share of the batch that fits into memory by estimate."""
    loop = cfg.train
    share = loop.batch_size // processes
    if loop.micro_batch_size:
        return Choice(loop.micro_batch_size, "asked for")
    if loop.grad_accum:
        return Choice(share // loop.grad_accum, "from train.grad_accum")
    device, dtype = str(runtime.device.value), str(runtime.dtype.value)
    memory = machine.memory_of(device)
    room = MEMORY_SHARE * memory
    the_batch = "the batch" if processes == 1 else f"its share of {share}"
    for size in reversed(divisors(share)):
        needed = sum(training_memory(cfg.model, vocab_size, size, dtype, device).values())
        if needed <= room:
            whole = the_batch.replace("the ", "the whole ") if size == share else f"as much of {the_batch} as"
            verb = "fits" if size == share else "fit"
            return Choice(size, f"{whole} {verb}: about {shown_bytes(needed)} of {shown_bytes(memory)}")
    return Choice(1, f"even one sequence may need more than the {shown_bytes(memory)} there are")


def _process_reason(cfg: TrainConfig, device: str) -> str:
    if cfg.parallel.kind == "none":
        return "parallel=none"
    if cfg.parallel.nproc:
        return "parallel.nproc"
    return "one a GPU" if device == "cuda" else "as torchrun started them"


def evaluations(cfg: TrainConfig, steps: int | None, val_tokens: int) -> Choice:
    """The steps between evaluations, so that they take little of the run; None in a run of fixed time."""
    share = f"a {1 / EVALUATION_SHARE:.0f}th of the work at most"
    if steps is None:
        return Choice(None, f"{EVALUATIONS} times in the run, or less often: {share}")
    affordable = EVALUATION_SHARE * steps * cfg.train.batch_size * cfg.model.block_size / (FORWARD * val_tokens)
    times = max(LEAST_EVALUATIONS, min(EVALUATIONS, int(affordable)))
    return Choice(max(1, math.ceil(steps / times)), f"{times} times in the run" + (f": {share}" if times < 10 else ""))
