"""Pictures inside a page, as SVG: bars, a histogram and a curve on logarithmic axes, shares of a whole.

Knows numbers and labels, not what they mean. Colours come from the page's style sheet, by class. What a picture shows
is said in its label too, and its marks say their numbers under the mouse.
"""

import math
from collections.abc import Iterator, Sequence

from gptforge.config.units import shown_count
from gptforge.logs.series import tick_texts, ticks
from gptforge.report.html import Markup, element

WIDTH, HEIGHT = 380, 230  # units; about the pixels of a phone, so that letters keep their size there
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 42
SMALLEST = 0.6  # units: what is there at all can be seen

Bin = tuple[float, float, float, str]  # from, to, height, and what is said of it
Part = tuple[str, float, str]  # of a whole: what is said of it, its share, its style
Dot = tuple[float, float, str]  # x, y, and what is said of it


def bar(share: float, style: str = "first") -> Markup:
    """A bar as long as a share of its width, 0 to 1; the number stands beside it, so it has no label."""
    length = 100 * min(1.0, max(0.0, share))
    length = max(length, SMALLEST) if share > 0 else 0.0
    parts = [
        element("rect", width=100, height=10, class_="track"),
        element("rect", width=f"{length:.2f}", height=10, class_=style),
    ]
    return element("svg", *parts, viewBox="0 0 100 10", preserveAspectRatio="none", class_="bar", aria_hidden="true")


def stacked(parts: Sequence[Part], label: str) -> Markup:
    """Shares of a whole side by side."""
    drawn, at = [], 0.0
    for text, share, style in parts:
        width = 100 * share
        rect = element("rect", x=f"{at:.2f}", width=f"{width:.2f}", height=10, class_=style)
        drawn.append(element("g", element("title", text), rect))
        at += width
    form = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none"}
    return element("svg", *drawn, role="img", aria_label=label, class_="bar whole", **form)


def histogram(bins: Sequence[Bin], x_name: str, y_name: str, label: str) -> Markup:
    """Heights over ranges of lengths of at least 1, on a logarithmic x axis. There must be a bin."""
    x = _Scale(math.log10(bins[0][0]), math.log10(max(bins[-1][1], bins[0][0] * 1.5)), LEFT, WIDTH - RIGHT)
    heights = ticks(0.0, max(b[2] for b in bins), 4, least=1)
    if heights[1] % 1:  # what is counted has no halves
        heights = ticks(0.0, max(b[2] for b in bins), 4, least=math.ceil(heights[1]))
    y = _Scale(heights[0], heights[-1], HEIGHT - BOTTOM, TOP)
    parts = [*_rows(y, heights, tick_texts(heights)), *_decades(x), *_names(x_name, y_name)]
    for low, high, height, text in bins:
        left, right, top = x(math.log10(low)), x(math.log10(high)), y(height)
        top = min(top, y(0) - SMALLEST) if height else top
        gap = min(1.0, (right - left) / 8)
        size = {"width": f"{right - left - gap:.1f}", "height": f"{y(0) - top:.1f}"}
        rect = element("rect", x=f"{left:.1f}", y=f"{top:.1f}", class_="first", **size)
        parts.append(element("g", element("title", text), rect))
    return _picture(parts, label)


def curve(dots: Sequence[Dot], line: Sequence[tuple[float, float]], x_name: str, y_name: str, label: str) -> Markup:
    """Dots of positive numbers on logarithmic axes, and a broken line beside them. There must be a dot."""
    x = _Scale(0.0, math.log10(max(10.0, max(d[0] for d in dots))), LEFT, WIDTH - RIGHT)
    low, high = (f(math.log10(d[1]) for d in dots) for f in (min, max))
    y = _Scale(math.floor(low), max(math.ceil(high), math.floor(low) + 1), HEIGHT - BOTTOM, TOP)
    powers = [float(n) for n in range(int(y.low), int(y.high) + 1, _stride(y.high - y.low))]
    parts = [*_rows(y, powers, [shown_count(10**p) for p in powers]), *_decades(x), *_names(x_name, y_name)]
    if line:
        inside = [(a, b) for a, b in line if y.low <= math.log10(b) <= y.high]
        places = " ".join(f"{x(math.log10(a)):.1f},{y(math.log10(b)):.1f}" for a, b in inside)
        parts.append(element("polyline", points=places, class_="fit"))
    for a, b, text in dots:
        dot = element("circle", cx=f"{x(math.log10(a)):.1f}", cy=f"{y(math.log10(b)):.1f}", r=2.6, class_="first")
        parts.append(element("g", element("title", text), dot))
    return _picture(parts, label)


class _Scale:
    """From numbers to places: `low` is at `begin`, `high` at `end`."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = low, max(high, low + 1e-9)
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self._begin + share * (self._end - self._begin)


def _stride(decades: float) -> int:
    """Every how many decades a tick is, so that they are at most seven."""
    return max(1, math.ceil(decades / 6))


def _rows(y: _Scale, values: Sequence[float], texts: Sequence[str]) -> Iterator[Markup]:
    """Lines across the picture with their numbers at the left."""
    for value, text in zip(values, texts, strict=True):
        at = f"{y(value):.1f}"
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
        short = text if len(text) <= 6 else shown_count(float(text.replace(",", "")))
        yield element("text", short, x=LEFT - 6, y=f"{y(value) + 4:.1f}", text_anchor="end")


def _decades(x: _Scale) -> Iterator[Markup]:
    """The x axis with a tick at each power of ten, or at more numbers where there is hardly one."""
    floor = HEIGHT - BOTTOM
    yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis")
    first, last = math.ceil(x.low - 1e-9), math.floor(x.high + 1e-9)
    values = [10.0**n for n in range(first, last + 1, _stride(x.high - x.low))]
    if len(values) < 3:
        finer = (m * 10.0**n for n in range(first - 1, last + 1) for m in (1, 2, 5))
        values = [v for v in finer if x.low - 1e-9 <= math.log10(v) <= x.high + 1e-9] or [10**x.low]
    for value in values:
        at = f"{x(math.log10(value)):.1f}"
        yield element("line", x1=at, x2=at, y1=floor, y2=floor + 4, class_="axis")
        yield element("text", shown_count(round(value, 6)), x=at, y=floor + 17, text_anchor="middle")


def _names(x_name: str, y_name: str) -> Iterator[Markup]:
    yield element("text", x_name, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield element("text", y_name, x=11, y=middle, text_anchor="middle", transform=f"rotate(-90 11 {middle})")


def _picture(parts: Sequence[Markup], label: str) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label, class_="chart")
