"""Numbers over steps as SVG: lines on linear or logarithmic axes, what they are under the mouse, at any width.

Knows rows of numbers and labels, not what they mean. Places are shares of the picture, so that letters keep their size
on a phone. What stands at a step is shown by style sheet alone, without a script.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gptforge.config.units import shown_count
from gptforge.logs.series import Point, thinned, tick_texts, ticks
from gptforge.report.html import Markup, element

COLUMNS = 500  # of points that are told apart: pixels of a large picture
READINGS = 120  # places at which a picture says its numbers
FEW = 60  # points that are also drawn as dots; more would be a band
WIDE = 1000  # units of the inner picture, which is stretched

RULES = """
svg.plot { height: 19rem; width: calc(100% - 4.3rem); margin: 1.9rem 0.9rem 2.7rem 3.4rem; overflow: visible; }
svg.plot.small { height: 9.5rem; margin-bottom: 2.6rem; }
.plot svg { overflow: visible; }
.plot text { fill: var(--text); font-size: 12px; }
.plot text.strong { fill: var(--ink); font-weight: 600; stroke: var(--back); stroke-width: 4; paint-order: stroke; }
.plot polyline { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.raw { stroke: var(--first); stroke-width: 1; opacity: 0.35; }
.smooth { stroke: var(--first); stroke-width: 2; }
.val { stroke: var(--second); stroke-width: 2; }
circle.of-smooth { fill: var(--first); } circle.of-val { fill: var(--second); }
circle.of-smooth, circle.of-val { stroke: var(--back); stroke-width: 1.5; }
circle.ring { fill: none; stroke: var(--second); stroke-width: 2; }
.at rect { fill: transparent; }
.at line { stroke: var(--axis); }
.at text { fill: var(--ink); }
.at > :not(rect) { display: none; pointer-events: none; }
.at:hover > * { display: inline; }
@media (max-width: 40rem) {
  svg.plot { height: 15rem; }
  .plot .minor, .plot .strong { display: none; }
}
@media print {
  .at { display: none; }
  svg.plot { height: 15rem; break-inside: avoid; }
  svg.plot.small { height: 8rem; }
}
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """From numbers to percent of the picture. On a logarithmic one numbers must be above 0."""

    low: float
    high: float
    logarithmic: bool = False
    marks: Sequence[tuple[float, str]] = ()

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1.0)
        return 100 * min(1.0, max(0.0, share))


def linear(values: Sequence[float], wanted: int, name: Callable[[float], str] | None = None, round_ends=True) -> Axis:
    """An axis that holds the values, with about so many marks; without `round_ends` it ends where they do."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    places = ticks(low, high, wanted, least=0.0 if round_ends else 1.0)
    texts = [name(place) for place in places] if name else _short(places)
    marks = list(zip(places, texts, strict=True))
    if round_ends:
        return Axis(places[0], places[-1], marks=marks)
    high = max(high, low + 1.0)
    return Axis(low, high, marks=[mark for mark in marks if low <= mark[0] <= high])


def logarithmic(values: Sequence[float], wanted: int) -> Axis:
    """A logarithmic axis that holds the values; there must be one, and all above 0."""
    low, high = min(values), max(values)
    high = max(high, low * 1.01)
    if high / low < 10:  # a decade has hardly a round number of its own
        places = [place for place in ticks(low, high, wanted) if place > 0]
        low, high = min(low, places[0]), max(high, places[-1])
        return Axis(low, high, True, list(zip(places, _short(places), strict=True)))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    stride = max(1, math.ceil((last - first) / 7))
    places = [m * 10.0**n for n in range(first, last + 1, stride) for m in steps]
    places = [place for place in places if low * 0.999 <= place <= high * 1.001]
    return Axis(low, high, True, [(place, shown_count(round(place, 9))) for place in places])


def _short(places: Sequence[float]) -> list[str]:
    texts = tick_texts(list(places)) if len(places) > 1 else [f"{place:g}" for place in places]
    return [text if len(text) <= 6 else _counted(place) for text, place in zip(texts, places, strict=True)]


def _counted(place: float) -> str:
    return f"{'-' if place < 0 else ''}{shown_count(abs(place))}" if abs(place) >= 1000 else f"{place:.3g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of points, ascending in x. `style` is raw, smooth or val; with `dots` its points are seen, if few."""

    points: Sequence[Point]
    style: str
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What is said of a place, and the points that it is said of with their styles."""

    text: str
    dots: Sequence[tuple[Point, str]] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines between two axes.

    `places`, ascending, are where something can be said, `read(n)` is what of the n-th; of many some are taken.
    `best` is a point that is marked, and what is said of it.
    """

    x: Axis
    y: Axis
    lines: Sequence[Line]
    places: Sequence[float]
    read: Callable[[int], Reading]
    best: tuple[Point, str] | None = None
    small: bool = False

    def drawn(self, label: str) -> Markup:
        """The picture as SVG; `label` says what can be seen in it."""
        lines = [self._line(line) for line in self.lines if line.points]
        inner = {"viewBox": f"0 0 {WIDE} {WIDE}", "preserveAspectRatio": "none", "aria_hidden": "true"}
        parts = [*self._grid(), element("svg", *lines, **inner), *self._dots(), *self._best(), *self._readings()]
        return element("svg", *parts, role="img", aria_label=label, class_="plot small" if self.small else "plot")

    def _line(self, line: Line) -> Markup:
        points = thinned(line.points, COLUMNS, self.x.logarithmic)
        points = points * 2 if len(points) == 1 else points  # a line from a point to itself is seen as a dot
        scale = WIDE / 100
        places = " ".join(f"{self.x(x) * scale:.0f},{WIDE - self.y(y) * scale:.0f}" for x, y in points)
        return element("polyline", points=places, class_=line.style)

    def _grid(self) -> Iterator[Markup]:
        for value, text in self.y.marks:
            at = _percent(100 - self.y(value))
            yield element("line", x1="0%", x2="100%", y1=at, y2=at, class_="grid")
            yield element("text", text, x="0%", y=at, dx=-8, dy=4, text_anchor="end")
        yield element("line", x1="0%", x2="100%", y1="100%", y2="100%", class_="axis")
        for n, (value, text) in enumerate(self.x.marks):
            place = self.x(value)
            minor = "minor" if n % 2 and len(self.x.marks) > 4 else None
            at = _percent(place)
            anchor = "end" if place > 97 else "middle"
            yield element("text", text, x=at, y="100%", dy=17, text_anchor=anchor, class_=minor)
        yield element("text", "step", x="50%", y="100%", dy=34, text_anchor="middle")

    def _dots(self) -> Iterator[Markup]:
        for line in self.lines:
            if line.dots and len(line.points) <= FEW:
                for point in line.points:
                    yield self._circle(point, 3.5, f"of-{line.style}")

    def _best(self) -> Iterator[Markup]:
        if self.best:
            (x, y), text = self.best
            place, height = self.x(x), self.y(y)
            yield self._circle((x, y), 6.5, "ring")
            anchor = "end" if place > 60 else "start" if place < 30 else "middle"
            form = {"dy": -13 if height < 85 else 24, "text_anchor": anchor, "class_": "strong"}
            if text:
                yield element("text", text, x=_percent(place), y=_percent(100 - height), **form)

    def _readings(self) -> Iterator[Markup]:
        """Bands across the whole picture, each as wide as it is nearest to its reading."""
        shown = spread(self.places, READINGS, self.x.logarithmic)
        places = [self.x(self.places[n]) for n in shown]
        edges = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(places)), 100.0]
        for n, place, (left, right) in zip(shown, places, itertools.pairwise(edges), strict=True):
            reading, at = self.read(n), _percent(place)
            dots = [self._circle(point, 4, f"of-{style}") for point, style in reading.dots]
            yield element(
                "g",
                element("rect", x=_percent(left), y="0%", width=_percent(max(0.0, right - left)), height="100%"),
                element("line", x1=at, x2=at, y1="0%", y2="100%"),
                *dots,
                element("text", reading.text, x="0%", y="0%", dx=-46, dy=-10),
                class_="at",
            )

    def _circle(self, point: Point, r: float, style: str) -> Markup:
        places = {"cx": _percent(self.x(point[0])), "cy": _percent(100 - self.y(point[1]))}
        return element("circle", r=r, class_=style, **places)


def spread(places: Sequence[float], most: int, logarithmic: bool = False) -> list[int]:
    """Which of the places, ascending, to take: at most so many and the ends, evenly over the width."""
    if len(places) <= most:
        return list(range(len(places)))
    first, last = places[0], places[-1]
    shares = [n / (most - 1) for n in range(most)]
    wanted = [first * (last / first) ** s if logarithmic else first + (last - first) * s for s in shares]
    chosen = {0, len(places) - 1}
    for place in wanted:
        right = min(bisect.bisect_left(places, place), len(places) - 1)
        left = max(0, right - 1)
        chosen.add(left if place - places[left] < places[right] - place else right)
    return sorted(chosen)


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"
