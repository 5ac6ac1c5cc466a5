"""The learning rate over a run, as pure functions of how far the run is.

`progress` is the share of the run that is over, in [0, 1]: steps done / steps, or, in a run of
fixed time, time spent / time.
"""

import math
from collections.abc import Callable

from gptforge.config import ScheduleConfig


def lr_multiplier(cfg: ScheduleConfig, progress: float, warm: float, warmup_end: float) -> float:
    """What the peak lr is multiplied with when the run has come to `progress`.

    `warm` is how far the warm-up is, over at 1; `warmup_end` the progress at which it ended: the shape runs
    from there to the end, so the peak is reached.
    """
    if warm < 1:
        return warm
    return SHAPES[cfg.kind](_clipped((progress - warmup_end) / max(1e-9, 1 - warmup_end)), cfg)


def _clipped(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def cosine(progress: float, cfg: ScheduleConfig) -> float:
    """Half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""
    return _between(cfg, 0.5 * (1 + math.cos(math.pi * progress)))


def linear(progress: float, cfg: ScheduleConfig) -> float:
    return _between(cfg, 1 - progress)


def wsd(progress: float, cfg: ScheduleConfig) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395); the decay is linear."""
    return _between(cfg, min(1.0, (1 - progress) / cfg.decay_fraction))


def constant(progress: float, cfg: ScheduleConfig) -> float:
    return 1.0


def _between(cfg: ScheduleConfig, share: float) -> float:
    """`share` of the way from the lowest multiplier up to 1."""
    return cfg.min_lr_fraction + (1 - cfg.min_lr_fraction) * share


SHAPES: dict[str, Callable[[float, ScheduleConfig], float]] = {
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
    "constant": constant,
}
