"""Draw the losses of a run as an SVG file that needs nothing else: no library, script or web font.

Knows the names train_loss and val_loss; reads the records, never the trainer, so that the picture
of a continued run is whole.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptforge.logs.drawing import safe, style
from gptforge.logs.events import Sink, Values
from gptforge.logs.files import read_metrics
from gptforge.logs.series import Point, points, reach, smoothed, thinned, tick_texts, ticks

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 66, 50
COLUMNS = 400  # of points that are told apart, a little over a pixel each

STYLE = style("""
.gptforge-loss { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.gptforge-loss .back { fill: $back; }
.gptforge-loss text { fill: $text; }
.gptforge-loss .title { fill: $ink; font-size: 16px; font-weight: 600; }
.gptforge-loss .grid { stroke: $grid; stroke-width: 1; }
.gptforge-loss .axis { stroke: $axis; stroke-width: 1; }
.gptforge-loss polyline { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.gptforge-loss .train { stroke: $first; stroke-width: 2; }
.gptforge-loss .raw { stroke: $first; stroke-width: 1; opacity: 0.35; }
.gptforge-loss .val { stroke: $second; stroke-width: 2; }
.gptforge-loss .dot { fill: $second; stroke: $back; stroke-width: 1.5; }
.gptforge-loss .ring { fill: none; stroke: $second; stroke-width: 2; }
.gptforge-loss .best { fill: $ink; font-weight: 600; stroke: $back; stroke-width: 4; paint-order: stroke; }
""")


def draw_loss(metrics: Sequence[Mapping[str, Any]], title: str) -> str:
    """The records of a run as one SVG picture."""
    train, val = points(metrics, "train_loss"), points(metrics, "val_loss")
    axes = Axes([x for x, _ in train + val], reach(train, val))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' class="gptforge-loss" role="img">',
        f"<title>{safe(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="28">{safe(title if len(title) <= 70 else title[:69] + "…")}</text>',
        *_legend(bool(train), bool(val)),
        *axes.drawn(),
    ]
    if not train and not val:
        parts.append(f'<text x="{WIDTH // 2}" y="{HEIGHT // 2}" text-anchor="middle">no losses yet</text>')
    parts += [*_train_lines(train, axes), *_val_line(val, axes), "</svg>"]
    return "\n".join(parts) + "\n"


class LossPicture(Sink):
    """loss.svg, drawn anew at each evaluation and at the end."""

    def __init__(self, path: Path, metrics: Path, title: str) -> None:
        self._path = path
        self._metrics = metrics
        self._title = title

    def record(self, values: Values) -> None:
        if "val_loss" in values:
            self._draw()

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self._draw()

    def _draw(self) -> None:
        # Renamed into place, so that a viewer never sees half a picture.
        unfinished = self._path.with_name(f".{self._path.name}.tmp")
        unfinished.write_text(draw_loss(read_metrics(self._metrics), self._title), encoding="utf-8")
        os.replace(unfinished, self._path)


class Axes:
    """Where a step and a loss are in the picture."""

    def __init__(
        self, steps: list[float], losses: list[float], x_name: str = "step", y_name: str = "loss (nats per token)"
    ) -> None:
        self._names = x_name, y_name
        self._x = ticks(min([0.0, *steps]), max(steps, default=1.0), 8, least=1)
        self._y = ticks(min(losses, default=0.0), max(losses, default=1.0), 6)
        # Only the labels need round ends: the curve may use the width to its last step.
        self._x_end = max([*steps, self._x[0] + 1.0]) if steps else self._x[-1]

    @property
    def top(self) -> float:
        """The largest loss in the picture; one beyond it is drawn there."""
        return self._y[-1]

    def at(self, point: Point) -> Point:
        x = (point[0] - self._x[0]) / (self._x_end - self._x[0])
        y = (min(point[1], self.top) - self._y[0]) / (self._y[-1] - self._y[0])
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> list[str]:
        floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        x_name, y_name = self._names
        parts = []
        for value, text in zip(self._y, tick_texts(self._y), strict=True):
            y = self.at((self._x[0], value))[1]
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        for value, text in zip(self._x, tick_texts(self._x), strict=True):
            x = self.at((value, self._y[0]))[0]
            if x <= right + 0.5:
                parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}"/>')
                parts.append(f'<text x="{x:.1f}" y="{floor + 20}" text-anchor="middle">{text}</text>')
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>')
        parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{x_name}</text>')
        middle = (TOP + floor) // 2
        turned = f'x="16" y="{middle}" transform="rotate(-90 16 {middle})"'
        parts.append(f'<text {turned} text-anchor="middle">{y_name}</text>')
        return parts

    def path(self, points: list[Point], style: str, dash: str = "none") -> str:
        # A line from a point to itself shows as a dot.
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points if len(points) > 1 else points * 2))
        dashed = "" if dash == "none" else f' stroke-dasharray="{dash}"'
        return f'<polyline class="{style}"{dashed} points="{places}"/>'


def _train_lines(points: list[Point], axes: Axes) -> list[str]:
    if not points:
        return []
    smooth = smoothed(points, axes.top)
    return [axes.path(thinned(points, COLUMNS), "raw"), axes.path(thinned(smooth, COLUMNS), "train")]


def _val_line(points: list[Point], axes: Axes) -> list[str]:
    if not points:
        return []
    dots = []
    if len(points) <= 60:  # more would be a band, not points
        dots = [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in map(axes.at, points)]
    best = min(points, key=lambda point: point[1])
    x, y = axes.at(best)
    anchor = "end" if x > WIDTH * 0.6 else "start" if x < WIDTH * 0.3 else "middle"
    label = f"best {best[1]:.4g} at step {best[0]:,.0f}"
    label_y = y - 14 if y > TOP + 24 else y + 24
    return [
        axes.path(thinned(points, COLUMNS), "val"),
        *dots,
        f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"/>',
        f'<text class="best" x="{x:.1f}" y="{label_y:.1f}" text-anchor="{anchor}">{label}</text>',
    ]


def _legend(train: bool, val: bool) -> list[str]:
    parts, x = [], LEFT
    for wanted, line, name in ((train, "train", "training, smoothed"), (val, "val", "validation")):
        if wanted:
            parts.append(f'<line class="{line}" x1="{x}" x2="{x + 22}" y1="46" y2="46"/>')
            parts.append(f'<text x="{x + 29}" y="50">{name}</text>')
            x += 170
    return parts
