"""Steps that are none, or out of the ordinary, found before they change a weight; and what a run does about them.

Knows losses, norms and what the user chose, not models nor files. What it remembers is part of the training state, so
that a run which goes on judges as if it had never stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gptforge.config import TrainConfig
from gptforge.errors import NumericalError

WINDOW = 128  # steps that a step is compared with
LEAST = 32  # of them, before anything is called a spike
DEVIATIONS = 6.0
# What a spike exceeds the mean by too, as a share of it: a loss that hardly moves has next to no deviation, and
# norms are often twice as large as usual without any harm.
LOSS_MARGIN, NORM_MARGIN = 0.1, 3.0
PATIENCE = 10  # batches passed over one after another, or returns to one checkpoint: then it is not the data
SAID = 5  # warnings of spikes in a run; all are counted


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step is no ordinary one. Without `usual` the value is not finite."""

    name: str
    value: float
    usual: float | None = None

    def told(self, step: int) -> str:
        if self.usual is None:
            return f"the {self.name} is {self.value} in step {step}"
        return f"the {self.name} jumped to {self.value:.3g} in step {step}, where {self.usual:.3g} is usual"


@dataclass(slots=True)
class Watch:
    """What is remembered of a run's steps.

    `losses` and `norms` are those of the last WINDOW steps. A step is a spike when one of them lies more than
    DEVIATIONS standard deviations above their mean, as OLMo-core and MaxText judge it (both look at 128 steps, at 6
    deviations). What is not finite never gets in: it would make every comparison false.

    `passed_over` batches have made no step, so step n learns from batch n + `ahead`. A return to a checkpoint leaves
    the batches since then behind as well (PaLM: Chowdhery et al. 2022, section 5.1).
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    spikes: int = 0
    nonfinite: int = 0
    passed_over: int = 0
    rollbacks: int = 0
    ahead: int = 0
    in_a_row: int = 0
    back_to: int | None = None  # the step of the last return, and how often it was gone back to
    times_back: int = 0

    def judge(self, loss: float, norm: float) -> Fault | None:
        """What is wrong with a step, if anything; counts it."""
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                self.nonfinite += 1
                return Fault(name, value)
        if len(self.losses) < LEAST:
            return None
        judged = (("loss", loss, self.losses, LOSS_MARGIN), ("gradient norm", norm, self.norms, NORM_MARGIN))
        for name, value, window, margin in judged:
            mean, deviation = spread(window)
            if value > mean + max(DEVIATIONS * deviation, margin * mean):
                self.spikes += 1
                return Fault(name, value, mean)
        return None

    def accept(self, loss: float, norm: float) -> None:
        """Remembers a step whose update is made."""
        for value, window in ((loss, self.losses), (norm, self.norms)):
            window.append(value)
            del window[:-WINDOW]
        self.in_a_row = 0

    def pass_over(self) -> None:
        """The batch makes no step."""
        self.passed_over += 1
        self.in_a_row += 1
        self.ahead += 1

    def go_back(self, before: int, now: int, then: "Watch") -> None:
        """The run goes back from step `before` to `now`, when it remembered `then`; batches between stay behind it."""
        self.times_back = self.times_back + 1 if self.back_to == now else 1
        self.back_to = now
        self.rollbacks += 1
        self.ahead += before - now
        self.losses, self.norms = then.losses, then.norms


def spread(window: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; the statistics module takes ten times as long, at every step."""
    mean = math.fsum(window) / len(window)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in window) / len(window))


def answer(fault: Fault, cfg: TrainConfig, watch: Watch, step: int, where: str) -> str:
    """What the user wants done: warn | skip | rollback. Raises NumericalError for stop, and where nothing helps."""
    finite = fault.usual is not None
    policy = cfg.train.on_spike if finite else cfg.train.on_nonfinite
    told = fault.told(step)
    smaller = f"a smaller lr: optimizer.lr={cfg.optimizer.lr / 3:.1g}"
    if policy == "stop":
        key = "train.on_spike" if finite else "train.on_nonfinite"
        fixes = [smaller, *([] if finite else ["runtime.dtype=float32"]), f"{key}=skip (leave such batches out)"]
        raise NumericalError(f"{told}; the weights are still those before it", where=where, fix=fixes)
    if max(watch.in_a_row, watch.times_back) >= PATIENCE:
        often = f"{PATIENCE} times one after another" if watch.in_a_row >= PATIENCE else f"after {PATIENCE} returns"
        raise NumericalError(f"{told}, {often}: it is not the data", where=where, fix=smaller)
    return policy
