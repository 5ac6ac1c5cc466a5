"""Runs of two processes for tests: what each of them does, to be given to `launch.run`."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gptforge import cli
from gptforge.commands import train
from gptforge.config import ParallelConfig, TrainConfig
from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import TrainLoader
from gptforge.dist import Dist
from gptforge.errors import DataError, Stopped
from gptforge.launch import place
from gptforge.runs import Call, Run
from gptforge.signals import StopSignals
from gptforge.train import evaluation
from gptforge.train.objectives import Loss
from gptforge.train.parts import Parts, build_parts
from gptforge.train.trainer import Trainer

DDP = {"parallel__kind": "ddp", "parallel__nproc": 2}


class Masked:
    """A loader whose rows learn ever fewer tokens: 1, 4, 7 ... labels of row 0, 1, 2 ... do not count."""

    def __init__(self, loader: TrainLoader) -> None:
        self._loader = loader
        self.order = loader.order
        self.windows_per_epoch = loader.windows_per_epoch

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        batch = self._loader.batch(step)
        for n, labels in enumerate(batch.labels):
            labels[: 1 + 3 * n] = IGNORE
        return batch.rows(*rows.indices(len(batch.inputs))[:2])


def masked(parts: Parts) -> Parts:
    return replace(parts, loader=Masked(parts.loader))


def train_all(jobs: list[tuple[str, TrainConfig]]) -> int:
    """Trains one config after the other in the named directories; one with cfg.resume goes on in its own."""
    with place(ParallelConfig(kind="ddp", nproc=2)) as (dist, signals):
        for name, cfg in jobs:
            try:
                one(name, cfg, dist, signals)
            except Stopped:
                assert cfg.train.stop_after or signals.asked or dist.main
            signals.asked = ""
    return 0


def one(name: str, cfg: TrainConfig, dist: Dist, signals: StopSignals) -> None:
    call = Call(directory=Path(name))
    if dist.rank == 1 and not cfg.resume:
        signal_at(name)
    if cfg.resume:
        train.resume(cfg, call, dist, signals)
    elif name == "masked":
        parts, dist = build_parts(cfg, dist=dist)
        run = dist.first(lambda: Run.create(train.as_saved(cfg, {}), name, call))
        Trainer(cfg, run, dist, masked(parts), call, signals).fit()
    else:
        train.begin(cfg, call, dist, signals)


def signal_at(name: str) -> None:
    """Lets a process send a signal to itself alone in its fifth step, or in the evaluation after the eighth."""
    batch, batches, seen = TrainLoader.batch, evaluation.eval_batches, []

    def in_step(self: TrainLoader, step: int, *rows: slice) -> Batch:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            TrainLoader.batch = batch  # type: ignore[method-assign]
        return batch(self, step, *rows)

    def in_evaluation(*arguments: Any, **options: Any) -> Iterator[Batch]:
        seen.append(arguments)
        if len(seen) == 3:  # twice two of them in the first two evaluations
            os.kill(os.getpid(), signal.SIGTERM)
            evaluation.eval_batches = batches
        return batches(*arguments, **options)

    if name == "signalled":
        TrainLoader.batch = in_step  # type: ignore[method-assign]
    if name == "interrupted":
        evaluation.eval_batches = in_evaluation


def failing(how: str, cfg: TrainConfig, directory: str) -> int:
    """Trains until one of the processes, or both, cannot go on; as the command line would."""
    batch, second = TrainLoader.batch, os.environ["RANK"] == "1"

    def broken(self: TrainLoader, step: int, *rows: slice) -> Batch:
        if step == 2 and second:
            if how == "user":
                raise DataError("the tape is torn", fix="mend it")
            if how == "bug":
                raise ZeroDivisionError("nobody thought of it")
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return batch(self, step, *rows)

    TrainLoader.batch = broken  # type: ignore[method-assign]
    if how == "nan" and second:
        from gptforge.train import parts

        parts.OBJECTIVES = {
            "next_token": lambda model, batch: Loss(model(batch.inputs, targets=batch.labels) * torch.nan, {})
        }
    return cli.in_place("train", cfg, Call(directory=Path(directory)))
