"""Successive halving: all points train a little, the best of them more, and few to the end.

Knows the lengths and what was reached, not how points are run. A rung is a planned stop of exact runs, so a point that
comes to its end is bit for bit the one that a sweep without halving would have made. The rungs are those of SHA in
L. Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2018, arXiv:1810.05934), each waited for by all
points, which ASHA in the same paper does not.
"""

from collections.abc import Mapping
from typing import Any

from gptforge.errors import ConfigError
from gptforge.history import DONE
from gptforge.sweep.points import Point, Sweep, at_step


def prepared(saved: Mapping[str, Any], eta: int, rungs: int) -> dict[str, Any]:
    """A frozen config whose run is evaluated at each rung. Raises ConfigError where its length is not known."""
    config = saved["config"]
    steps = config["train"]["steps"]
    if steps is None:
        raise ConfigError("halving needs the length of a run in steps", where="train.steps", fix="train.steps=1000")
    first = steps // eta**rungs
    if first < 1:
        most = next(n for n in range(rungs, -1, -1) if n == 0 or steps // eta**n)
        raise ConfigError(
            f"{steps} steps are too few for {rungs} rungs of a {eta}th each",
            where="train.steps",
            fix=[f"train.steps={eta**rungs * 10}", f"rungs={most}" if most else ""],
        )
    evaluation = {**config["eval"], "every": config["eval"]["every"] or first}
    return {**saved, "config": {**config, "eval": evaluation}}


def rung(saved: Mapping[str, Any], share: float) -> int:
    """The step of a rung: a share of the run, and as far as the next evaluation."""
    steps, every = saved["config"]["train"]["steps"], saved["config"]["eval"]["every"]
    return min(steps, -(-int(steps * share) // every) * every)


def bits_at(sweep: Sweep, point: Point, step: int) -> float | None:
    """Bits per byte of a point at a rung, or of its end if it has ended earlier; None if it has not come that far."""
    record = at_step(sweep.run(point), step)
    if record is not None:
        return float(record["val_bpb"])
    return point.results.get("val_bpb") if point.status == DONE else None


def best(bits: Mapping[int, float], eta: int) -> set[int]:
    """The numbers of the points that go on: one in `eta`, at least one; of equal ones the first."""
    ordered = sorted(bits, key=lambda number: (bits[number], number))
    return set(ordered[: max(1, len(bits) // eta)])
