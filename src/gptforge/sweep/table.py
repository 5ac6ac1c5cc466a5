"""What a sweep has found: its points in order, repeats by seed taken together, and what the difference was made by.

Knows numbers and overrides, not how they came to be.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gptforge.config.units import shown_seconds
from gptforge.history import DONE
from gptforge.sweep.points import Point, Sweep

SEED = "seed"
BINS = 4  # into which the values of a key are put when there are more


@dataclass(frozen=True, slots=True)
class Row:
    """Points that differ in their seed alone, mostly one. `bits` are of those that are done; if none is, of all."""

    overrides: list[str]
    points: list[Point]

    @property
    def bits(self) -> list[float]:
        done = [p for p in self.points if p.status == DONE] or self.points
        return [p.bits for p in done if p.bits is not None]

    @property
    def finished(self) -> bool:
        return bool(self.bits) and all(p.status == DONE for p in self.points)

    def mean(self) -> float:
        return statistics.fmean(self.bits)

    def spread(self) -> float | None:
        """Standard deviation of the sample; None for one."""
        return statistics.stdev(self.bits) if len(self.bits) > 1 else None


def rows(sweep: Sweep) -> list[Row]:
    """The points by their overrides without the seed; those that have trained to their end first, the best first."""
    found: dict[tuple[str, ...], list[Point]] = {}
    for point in sweep.points:
        rest = tuple(o for o in sweep.swept(point) if o.partition("=")[0] != SEED)
        found.setdefault(rest, []).append(point)
    made = [Row(list(overrides), points) for overrides, points in found.items()]
    return sorted(made, key=lambda row: (not row.finished, row.mean() if row.bits else float("inf")))


def table(sweep: Sweep) -> list[str]:
    """The rows as aligned lines."""
    found = rows(sweep)
    repeated = any(len(row.points) > 1 for row in found)
    head = ("point", "status", "bits/byte", *(["spread"] if repeated else []), "best val_loss", "time", "overrides")
    lines = [head, *(_cells(row, repeated) for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]]) for line in lines]


def _cells(row: Row, repeated: bool) -> tuple[str, ...]:
    results = [p.results for p in row.points]
    losses, seconds = ([r[k] for r in results if r.get(k) is not None] for k in ("best_val_loss", "seconds"))
    spread = row.spread()
    return (
        ",".join(str(p.number) for p in row.points),
        ",".join(dict.fromkeys(p.status for p in row.points)),
        f"{row.mean():.4f}" if row.bits else "-",
        *([f"{spread:.4f}" if spread is not None else "-"] if repeated else []),
        f"{statistics.fmean(losses):.4f}" if losses else "-",
        shown_seconds(sum(seconds)) if seconds else "-",
        " ".join(row.overrides) or "the defaults",
    )


def importance(sweep: Sweep) -> dict[str, float]:
    """For each key that was swept, the share of the variance of bits per byte that its values account for, 0 to 1.

    It is epsilon squared (T. L. Kelley, 1935), the correlation ratio less what chance would give: a main effect alone,
    so keys that matter only together have little of it. Numbers with more than four values are put into four bins.
    Only points that have trained to their end are taken; of a key with another value at each of them nothing is said.
    """
    done = [p for p in sweep.points if p.status == DONE and p.bits is not None]
    values = [dict(o.split("=", 1) for o in sweep.swept(p) if "=" in o) for p in done]
    bits = [p.bits or 0.0 for p in done]
    keys = dict.fromkeys(key for held in values for key in held)
    found = {key: _accounted(_binned([held.get(key, "") for held in values]), bits) for key in keys}
    known = {key: share for key, share in found.items() if share is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def _accounted(labels: Sequence[str], numbers: Sequence[float]) -> float | None:
    """Epsilon squared of groups of numbers; None where it is not defined."""
    groups: dict[str, list[float]] = {}
    for label, number in zip(labels, numbers, strict=True):
        groups.setdefault(label, []).append(number)
    n, k = len(numbers), len(groups)
    if k < 2 or n <= k:
        return None
    mean = statistics.fmean(numbers)
    total = sum((x - mean) ** 2 for x in numbers)
    within = sum((x - statistics.fmean(group)) ** 2 for group in groups.values() for x in group)
    if not total:
        return None
    return max(0.0, (total - within - (k - 1) * within / (n - k)) / total)


def _binned(values: Sequence[str]) -> list[str]:
    """Values as labels of groups: as they are, or, of many numbers, by the quarter that they are in."""
    if len(set(values)) <= BINS:
        return list(values)
    try:
        numbers = [float(v) for v in values]
    except ValueError:
        return list(values)
    ordered = sorted(set(numbers))
    return [str(ordered.index(n) * BINS // len(ordered)) for n in numbers]
