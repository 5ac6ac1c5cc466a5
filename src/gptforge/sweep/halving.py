"""Successive halving: all points train a little, the best of them more, and few to the end.

Knows the lengths and what was reached, not how points are run. A rung is a planned stop of exact runs, so a point that
comes to its end is bit for bit the one that a sweep without halving would have made. The rungs are those of SHA in
L. Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2018, arXiv:1810.05934), each waited for by all
points, which ASHA in the same paper does not.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gptforge.config.objective import MLM
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


def check_bits(saved: Mapping[str, Any]) -> None:
    """Raises ConfigError for a frozen config of a run that has no bits per byte."""
    if saved["config"].get("objective", {}).get("kind") == MLM:
        what = "halving and search=tpe go by bits per byte, which hidden tokens (objective=mlm) have not"
        raise ConfigError(what, where="objective.kind", fix="search=random, or every combination")


def rung(saved: Mapping[str, Any], eta: int, power: int) -> int:
    """The step of a rung: one part in eta**power of the run, and as far as the next evaluation."""
    steps, every = saved["config"]["train"]["steps"], saved["config"]["eval"]["every"]
    return min(steps, -(-(steps // eta**power) // every) * every)


def bits_at(sweep: Sweep, point: Point, step: int) -> float | None:
    """Bits per byte of a point at a rung, or of its end if it has ended earlier; None if it has not come that far."""
    record = at_step(sweep.run(point), step)
    if record is not None:
        return float(record["val_bpb"])
    return point.results.get("val_bpb") if point.status == DONE else None


def best(rows: Sequence[Sequence[int]], bits: Mapping[int, float], eta: int) -> set[int]:
    """The numbers of the points that go on, those of one row in `eta`, at least of one.

    A row has the points that differ in their seed alone, which go on or are cut together. Rows are compared by the mean
    of bits per byte; those that lack some come after those that lack none, and of equal ones the first is taken.
    """
    known = [row for row in rows if any(number in bits for number in row)]

    def rank(row: Sequence[int]) -> tuple[int, float, int]:
        found = [bits[number] for number in row if number in bits]
        return len(row) - len(found), statistics.fmean(found), min(row)

    chosen = sorted(known, key=rank)[: max(1, len(known) // eta)]
    return {number for row in chosen for number in row}
