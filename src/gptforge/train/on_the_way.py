"""What a run does otherwise than before when it goes on, as far as its weights may depend on it.

It is recorded, for config and decisions hold the last values only. Knows configs and fingerprints, not who keeps what.
"""

from collections.abc import Mapping
from typing import Any

from gptforge.config import TrainConfig
from gptforge.config.saved import changed_keys
from gptforge.config.schema import Resume, shown, to_dict

NAMES = {  # of the fingerprint, by which key each is set
    "device": "runtime.device", "dtype": "runtime.dtype", "threads": "runtime.threads", "compile": "runtime.compile",
    "tf32": "runtime.tf32", "micro_batch_size": "train.micro_batch_size", "world_size": "processes",
}  # fmt: skip
# What these come to is in the fingerprint: a value that had been left open may be typed without any change
DECIDED = {*NAMES.values(), "train.grad_accum", "parallel.kind", "parallel.nproc"}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not the same in two fingerprints: {name: (then, now)}."""
    return {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}


def told(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The same for people, in one line or none."""
    changed = ", ".join(f"{name} {then} -> {value}" for name, (then, value) in differing(before, now).items())
    return [f"not bit for bit as without a stop: {changed}"] if changed else []


def of_machine(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> list[str]:
    """The same as it is recorded. What an older gptforge did not know of itself is no change."""
    known = {name: pair for name, pair in differing(before, now).items() if name in before}
    return [_told(NAMES.get(name, name), then, value, step) for name, (then, value) in known.items()]


def of_keys(before: TrainConfig, now: TrainConfig, step: int) -> list[str]:
    """The keys with an influence on the weights whose values are not the same, but for those in the fingerprint."""
    return [
        _told(key.name, then, value, step)
        for key, then, value in changed_keys(to_dict(before), to_dict(now))
        if key.meta["resume"] is not Resume.FREE and key.name not in DECIDED
    ]


def _told(name: str, then: Any, now: Any, step: int) -> str:
    return f"{name} {shown(then)} -> {shown(now)} after step {step}"
