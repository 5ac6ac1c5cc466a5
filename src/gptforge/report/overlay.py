"""Curves of several runs as one SVG file that needs nothing else; repeats of one configuration have one colour.

Knows numbers and names, not where they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gptforge.logs.drawing import safe, style
from gptforge.logs.picture import COLUMNS, HEIGHT, LEFT, WIDTH, Axes
from gptforge.logs.series import Point, reach, thinned

COLOURS = (  # on light and on dark screens; all of them at least 3:1 against the ground
    ("#2a6fc9", "#6aa7f2"), ("#c8551b", "#ee8a4f"), ("#1a7f5a", "#4fc796"), ("#8a4fbf", "#bd93f0"),
    ("#b0256b", "#f072ad"), ("#7a6a00", "#d1bd3f"), ("#00798c", "#4cc3d6"), ("#5f5f5f", "#b0b0b0"),
)  # fmt: skip
DASHES = ("none", "7 4", "2 3")  # of the first eight configurations, the second, and all others
LINE, LONGEST = 19, 92  # of the legend: units a line, characters of a name
APART = 13  # units between the letters at the ends of lines

RULES = """
.gptforge-runs { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.gptforge-runs .back { fill: $back; }
.gptforge-runs text { fill: $text; }
.gptforge-runs .title { fill: $ink; font-size: 16px; font-weight: 600; }
.gptforge-runs .grid { stroke: $grid; stroke-width: 1; }
.gptforge-runs .axis { stroke: $axis; stroke-width: 1; }
.gptforge-runs polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.gptforge-runs .letter { font-weight: 600; }
"""
EACH = "".join(
    f".gptforge-runs .c{n} {{ stroke: $c{n}; }}\n.gptforge-runs text.c{n} {{ fill: $c{n}; stroke: none; }}\n"
    for n in range(len(COLOURS))
)
STYLE = style(RULES + EACH, {f"c{n}": pair for n, pair in enumerate(COLOURS)})


@dataclass(frozen=True, slots=True)
class Line:
    """One run: its letter and name, the number of its configuration, and its points."""

    letter: str
    name: str
    group: int
    points: Sequence[Point]


def draw_runs(lines: Sequence[Line], title: str, x_name: str, y_name: str) -> str:
    """The lines as one picture, with their names below."""
    drawn = [line for line in lines if line.points]
    steps, values = [x for line in drawn for x, _ in line.points], reach(*(line.points for line in drawn))
    axes = Axes(steps, values, x_name, y_name)
    height = HEIGHT + LINE * len(lines) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' class="gptforge-runs" role="img">',
        f"<title>{safe(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="32">{safe(title)}</text>',
        *axes.drawn(),
    ]
    if not drawn:
        parts.append(f'<text x="{WIDTH // 2}" y="{HEIGHT // 2}" text-anchor="middle">no evaluations yet</text>')
    parts += [axes.path(thinned(line.points, COLUMNS), _style(line), _dash(line)) for line in drawn]
    ends = sorted(((*axes.at(line.points[-1]), line) for line in drawn), key=lambda end: end[1])
    before = float("-inf")
    for x, y, line in ends:
        before = max(y, before + APART)
        parts.append(f'<text class="letter {_style(line)}" x="{x + 6:.1f}" y="{before + 4:.1f}">{line.letter}</text>')
    parts += [text for n, line in enumerate(lines) for text in _named(line, HEIGHT + LINE * n + 14)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def colour(group: int) -> str:
    """Of the configuration of this number, on light screens."""
    return COLOURS[group % len(COLOURS)][0]


def _style(line: Line) -> str:
    return f"c{line.group % len(COLOURS)}"


def _dash(line: Line) -> str:
    return DASHES[min(line.group // len(COLOURS), len(DASHES) - 1)]


def _named(line: Line, y: int) -> list[str]:
    """A line of the legend."""
    name = line.name if len(line.name) <= LONGEST else line.name[: LONGEST - 1] + "…"
    place = f"{LEFT},{y - 4} {LEFT + 22},{y - 4}"
    mark = f'<polyline class="{_style(line)}" stroke-dasharray="{_dash(line)}" points="{place}"/>'
    text = f'<text x="{LEFT + 30}" y="{y}">{line.letter}  {safe(name)}</text>'
    return [mark, text]
