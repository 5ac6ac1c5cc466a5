"""Numbers of a run as a row: which can be used, averages of them, fewer of them, and ticks for an axis.

Knows nothing of runs, screens or pictures.
"""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

Point = tuple[float, float]

SMOOTHING = 0.9
LARGEST = 1e30  # beyond it the arithmetic of axes is not safe, and nothing can be read off
SMOOTHED = 2000  # points of a smooth curve at most
LEAST_REACH = 0.1
OVERFIT_MARGIN = 0.02  # share by which val_loss is above its best before that is called overfitting


def finite(value: Any) -> float | None:
    """The value as a number, or None where there is none that can be drawn or compared."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def points(records: Sequence[Mapping[str, Any]], name: str, over: str = "step") -> list[Point]:
    """(step, value) of the records that have a value of this name which can be drawn."""
    pairs = [(finite(record.get(over)), finite(record.get(name))) for record in records]
    return [(x, y) for x, y in pairs if x is not None and y is not None and abs(y) < LARGEST and abs(x) < LARGEST]


def reach(*curves: Sequence[Point]) -> list[float]:
    """The values that a y axis must hold: all, unless a few stick out so far that the rest would be flat."""
    values = sorted(y for curve in curves for _, y in curve)
    if not values:
        return []
    low, high = values[0], values[-1]
    usual = low + 3 * (values[int(0.9 * (len(values) - 1))] - low)
    if usual > low:
        high = min(high, max(usual, *(curve[0][1] for curve in curves if curve)))
    # A flat curve is to look flat: its last decimals do not fill the picture.
    return [low, max(high, low + LEAST_REACH)]


class Average:
    """Exponential moving average that is right from the first value on."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, value: float) -> float:
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * value
        self._weight = SMOOTHING * self._weight + 1 - SMOOTHING
        return self._sum / self._weight

    @property
    def value(self) -> float | None:
        return self._sum / self._weight if self._weight else None


def shrunk(values: list[float], size: int) -> list[float]:
    """The row as `size` means of neighbours, or as it is when it is short enough."""
    if len(values) <= size:
        return values
    edges = [round(i * len(values) / size) for i in range(size + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def smoothed(points: Sequence[Point], top: float = math.inf) -> list[Point]:
    """Means over a window around each point, or around SMOOTHED of them: unlike a running average, they do not lag
    behind a falling loss. A value above `top` counts as that."""
    n = len(points)
    ys = [y for _, y in points]
    if max(ys, default=top) > top:
        ys = [min(y, top) for y in ys]
    sums = [0.0, *itertools.accumulate(ys)]
    around, stride = max(1, n // 40), -(-n // SMOOTHED) or 1
    means = []
    for i in sorted({*range(0, n, stride), n - 1} if n else ()):
        near = min(around, i, n - 1 - i)
        means.append((points[i][0], (sums[i + near + 1] - sums[i - near]) / (2 * near + 1)))
    return means


def thinned(points: Sequence[Point], columns: int, logarithmic: bool = False) -> list[Point]:
    """A row of points, ascending in x, that looks the same in a picture of so many columns of pixels.

    Of the points in a column the first, the lowest, the highest and the last are kept, in their order: a line through
    them covers the same pixels (M4: Jugel et al. 2014), and no spike is lost. On a `logarithmic` x axis every x must
    be above 0.
    """
    if len(points) <= 4 * columns:
        return list(points)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    shares = [n / columns for n in range(1, columns)]
    first, last = xs[0], xs[-1]
    borders = [first * (last / first) ** s if logarithmic else first + (last - first) * s for s in shares]
    edges = [0, *(bisect.bisect_left(xs, border) for border in borders), len(points)]
    kept = []
    for begin, end in itertools.pairwise(edges):
        if column := ys[begin:end]:
            wanted = {0, column.index(min(column)), column.index(max(column)), len(column) - 1}
            kept += [points[begin + i] for i in sorted(wanted)]
    return kept


def ticks(low: float, high: float, wanted: int, least: float = 0.0) -> list[float]:
    """About `wanted` round numbers, at least `least` apart, from at or below `low` to at or above `high`."""
    # Room to stand apart: also where both are equal, and where floats are too coarse for their gap.
    span = max(high - low, 1e-9 * max(abs(low), abs(high)), 1e-9)
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * (1 - 1e-9))
    step = max(step, least)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def tick_texts(values: list[float]) -> list[str]:
    """Ticks with as many decimals as tell them apart."""
    step = values[1] - values[0]
    if max(map(abs, values)) >= 1e7 or step < 1e-7:
        return [f"{v:.4g}" for v in values]
    decimals = next(d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6 * 10**d * step)
    return [f"{v:,.{decimals}f}" for v in values]
