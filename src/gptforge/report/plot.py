"""Curves in a terminal: one letter a curve, one row for each range of values. Knows numbers, not what they are.

Only signs of ASCII, so that every terminal and every mail shows the same picture.
"""

from collections.abc import Sequence

from gptforge.logs.series import Point, reach, tick_texts, ticks

HEIGHT = 12  # rows of the picture itself
LEAST_WIDTH = 20  # columns of the picture itself, however narrow the terminal is
Curve = tuple[str, Sequence[Point]]  # its letter, and (x, y) with x ascending


def plot(curves: Sequence[Curve], width: int, height: int = HEIGHT) -> list[str]:
    """The curves as lines of at most `width` columns, if there is room for 20 and the numbers of the y axis.

    Where several are in one place, they take turns. Values above the top, which is where a few stick out that would
    leave the rest flat, are drawn at the top. No points, no lines.
    """
    held = [(letter, points) for letter, points in curves if points]
    if not held:
        return []
    low, high = reach(*(points for _, points in held))
    scale = ticks(low, high, 4)
    names = dict(zip(_rows_of(scale, scale, height), tick_texts(scale), strict=True))
    margin = max(map(len, names.values()))
    columns = max(LEAST_WIDTH, width - margin - 2)
    first = min(points[0][0] for _, points in held)
    last = max(max(points[-1][0] for _, points in held), first + 1)
    cells: list[list[str]] = [[" "] * columns for _ in range(height)]
    claims: dict[tuple[int, int], list[str]] = {}
    for letter, points in held:
        for column, value in _sampled(points, first, last, columns):
            claims.setdefault((_rows_of([value], scale, height)[0], column), []).append(letter)
    for (row, column), letters in claims.items():
        cells[row][column] = letters[column % len(letters)]
    lines = [f"{names.get(n, ''):>{margin}} |{''.join(row).rstrip()}" for n, row in enumerate(cells)]
    return [*lines, *_x_axis(first, last, margin, columns)]


def _rows_of(values: Sequence[float], scale: Sequence[float], height: int) -> list[int]:
    """The row of each value, 0 at the top; what lies outside the scale is at its end."""
    low, high = scale[0], scale[-1]
    shares = [min(max((value - low) / (high - low), 0.0), 1.0) for value in values]
    return [round((1 - share) * (height - 1)) for share in shares]


def _sampled(points: Sequence[Point], first: float, last: float, columns: int) -> list[tuple[int, float]]:
    """One value for each column that a curve covers: the mean of its points there, else on the line between two."""
    inside: dict[int, list[float]] = {}
    for x, y in points:
        inside.setdefault(round((x - first) / (last - first) * (columns - 1)), []).append(y)
    known = sorted((column, sum(values) / len(values)) for column, values in inside.items())
    sampled = [known[0]]
    for column, value in known[1:]:
        before, earlier = sampled[-1]
        steps = column - before
        sampled += [(before + n, earlier + (value - earlier) * n / steps) for n in range(1, steps + 1)]
    return sampled


def _x_axis(first: float, last: float, margin: int, columns: int) -> list[str]:
    """The line below, and the steps at its ends and its middle."""
    left, middle, right = (f"{x:,.0f}" for x in (first, (first + last) / 2, last))
    below = left + middle.center(columns - len(left) - len(right)) + right
    blank = " " * margin
    return [f"{blank} +{'-' * columns}", f"{blank}  {below}"]
