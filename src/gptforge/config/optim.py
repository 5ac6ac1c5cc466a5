"""What a user can set about the optimizer and its schedule."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key

TRAJECTORY = Resume.UNLESS_ALLOWED


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer."""

    kind: str = key("muon", "optimizer", resume=TRAJECTORY, choices=("adamw", "muon"))
    lr: float = key(3e-3, "peak learning rate of AdamW", resume=TRAJECTORY, gt=0)
    muon_lr: float = key(0.015, "with muon: peak learning rate of the hidden matrices", resume=TRAJECTORY, gt=0)
    muon_momentum: float = key(0.85, "with muon: decay rate of its momentum", resume=TRAJECTORY, ge=0, lt=1)
    betas: list[float] = key([0.9, 0.95], "decay rates of the two moments", resume=TRAJECTORY, ge=0, lt=1)
    weight_decay: float = key(
        0.1, "decoupled weight decay of matrices (not of norms and biases)", resume=TRAJECTORY, ge=0
    )
    eps: float = key(1e-8, "added to the root of the second moment", resume=TRAJECTORY, gt=0)
    ema_decay: float | None = key(
        None,
        "keep a moving average of the weights with this decay rate, evaluate and save it; null: none",
        resume=TRAJECTORY,
        gt=0,
        lt=1,
    )

    def problems(self) -> Iterator[Problem]:
        if len(self.betas) != 2:
            yield Problem("optimizer.betas", "optimizer.betas needs two numbers", "optimizer.betas=[0.9,0.95]")


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """The learning rate over the run, as a share of optimizer.lr."""

    kind: str = key(
        "linear", "shape after the warm-up", resume=TRAJECTORY, choices=("cosine", "linear", "wsd", "constant")
    )
    warmup_steps: int = key(100, "steps of linear warm-up (at most a tenth of the run)", resume=TRAJECTORY, ge=0)
    decay_fraction: float = key(
        0.2, "with wsd: the last share of the run after the warm-up, in which lr decays", resume=TRAJECTORY, gt=0, le=1
    )
    min_lr_fraction: float = key(0.0, "lr at the end, as a share of the peak", resume=TRAJECTORY, ge=0, le=1)
