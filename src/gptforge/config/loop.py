"""What a user can set about the training loop: its length, batches, evaluations, checkpoints and log lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key
from gptforge.config.units import duration, steps_or_duration

TRAJECTORY = Resume.UNLESS_ALLOWED


@dataclass(kw_only=True, slots=True)
class LoopConfig:
    """The training loop. Its length is one of steps, epochs, tokens and time."""

    steps: int | None = key(None, "length in optimizer steps; null, and no other length: 2000", resume=TRAJECTORY, ge=1)
    epochs: float | None = key(None, "length in passes over the training text", resume=TRAJECTORY, gt=0)
    tokens: int | None = key(None, "length in training tokens", resume=TRAJECTORY, ge=1)
    time: str | None = key(
        None,
        "length in wall-clock time: 90s, 3m, 1h30m; the schedule is fitted to it",
        resume=TRAJECTORY,
        parse=duration,
        type_name="duration|null",
    )
    stop_after: str | None = key(
        None,
        "stop earlier, resumable (exit 75), after so many steps (200) or so long (10m); the schedule stays",
        resume=Resume.FREE,
        parse=steps_or_duration,
        type_name="steps|duration|null",
    )
    batch_size: int = key(
        8,
        "sequences in one optimizer step, over all micro-batches and processes",
        resume=TRAJECTORY,
        ge=1,
        le=1_000_000,
    )
    micro_batch_size: int | None = key(
        None, "sequences computed at once by a process; null: as many as memory allows", resume=Resume.ALLOW, ge=1
    )
    grad_accum: int | None = key(
        None, "micro-batches of a process in one optimizer step; null: follows", resume=Resume.ALLOW, ge=1
    )
    context_warmup: int | None = key(
        None,
        "steps with shorter sequences (a quarter of block_size, then half); 0: none; null: 100 in runs of up to 500",
        resume=TRAJECTORY,
        ge=0,
    )
    grad_clip: float = key(1.0, "largest norm of the gradient; 0: no clipping", resume=TRAJECTORY, ge=0)
    on_spike: str = key(
        "warn",
        "at a loss or gradient far above those before: leave the batch out, or go back to the last checkpoint too",
        resume=Resume.ALLOW,
        choices=("warn", "skip", "rollback", "stop"),
    )
    on_nonfinite: str = key(
        "stop",
        "at a loss or gradient that is no number: the same",
        resume=Resume.ALLOW,
        choices=("stop", "skip", "rollback"),
    )
    early_stop_patience: int | None = key(
        None, "end after so many evaluations without a better val_loss; null: never", resume=Resume.ALLOW, ge=1
    )

    def problems(self) -> Iterator[Problem]:
        lengths = [name for name in ("steps", "epochs", "tokens", "time") if getattr(self, name) is not None]
        if len(lengths) > 1:
            yield Problem(
                f"train.{lengths[1]}",
                "a run has one length, here are " + " and ".join(f"train.{n}={getattr(self, n)}" for n in lengths),
                " ".join(f"train.{n}=null" for n in lengths[1:]),
            )

    def share_problems(self, processes: int) -> Iterator[Problem]:
        """Why a batch cannot be divided evenly among so many processes, and then into micro-batches."""
        batch, micro, accum = self.batch_size, self.micro_batch_size, self.grad_accum
        if not all(isinstance(n, int) for n in (batch, micro or 1, accum or 1, processes)):
            return  # a problem that is told already
        if processes > 1 and batch % processes:
            unit = processes * (micro or accum or 1)
            nearest = max(unit, (batch + unit // 2) // unit * unit)
            yield Problem(
                "train.batch_size",
                f"train.batch_size={batch} cannot be shared evenly by {processes} processes",
                f"train.batch_size={nearest}",
            )
            return
        several = f" x {processes} processes" if processes > 1 else ""
        if micro and accum and micro * accum * processes != batch:
            yield Problem(
                "train.grad_accum",
                f"train.micro_batch_size={micro} x train.grad_accum={accum}{several} is not train.batch_size={batch}",
                f"train.batch_size={micro * accum * processes}, or leave one of the three out",
            )
        for name, value in (("micro_batch_size", micro), ("grad_accum", accum)):
            if value and batch % (value * processes):
                yield Problem(
                    f"train.{name}",
                    f"train.batch_size={batch} is not a multiple of train.{name}={value}{several}",
                    f"train.batch_size={-(-batch // (value * processes)) * value * processes}",
                )


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """Evaluation on the whole validation split."""

    every: int | None = key(None, "steps between evaluations; null: 2 to 10 in a run", resume=Resume.FREE, ge=1)


@dataclass(kw_only=True, slots=True)
class CheckpointConfig:
    """Checkpoints."""

    every: int | None = key(None, "steps between checkpoints; null: at each evaluation", resume=Resume.FREE, ge=1)
    keep: int = key(2, "how many of the newest to keep, beside the best", resume=Resume.FREE, ge=1)


@dataclass(kw_only=True, slots=True)
class LogConfig:
    """Log lines."""

    every: int | None = key(
        None, "steps between records in metrics.jsonl; null: 200 in a run", resume=Resume.FREE, ge=1
    )
