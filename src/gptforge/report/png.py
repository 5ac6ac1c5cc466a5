"""Curves as a PNG file, for slides and chats that take no SVG. Drawn by matplotlib, which the extra `plot` brings.

Knows numbers and names, not where they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from gptforge.errors import UsageError, missing_extra
from gptforge.logs.drawing import LIGHT
from gptforge.logs.screen import visible
from gptforge.logs.series import Point, reach, ticks

INCHES, DOTS = (9.0, 5.4), 160  # 1440 x 864 pixels
LONGEST = 70  # characters of a name
MOST_NAMES = 12  # of a legend


@dataclass(frozen=True, slots=True)
class Curve:
    """A row of points, ascending in x.

    `name`, if any, is in the legend; a `faint` one is background; `mark` is written at its end.
    """

    name: str
    points: Sequence[Point]
    colour: str
    faint: bool = False
    dots: bool = False
    mark: str = ""


def check(path: str | None) -> None:
    """Raises UsageError where a picture is wanted that cannot be drawn: before anything else is done."""
    if path is None:
        return
    if Path(path).suffix.lower() != ".png":
        better = Path(path).with_suffix(".png") if Path(path).name else "curves.png"
        raise UsageError(f"{path!r} is no name of a PNG file", where="png", fix=f"png={better}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise missing_extra("plot", "png=") from None


def draw(curves: Sequence[Curve], title: str, x_name: str, y_name: str) -> bytes:
    """The curves on white, as the bytes of a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(INCHES, DOTS, layout="constrained", facecolor=LIGHT["back"])
    axes = figure.add_subplot(facecolor=LIGHT["back"])
    axes.set_title(_safe(title), loc="left", color=LIGHT["ink"], fontweight="bold")
    axes.set_xlabel(x_name, color=LIGHT["text"])
    axes.set_ylabel(y_name, color=LIGHT["text"])
    axes.grid(color=LIGHT["grid"], linewidth=0.8)
    axes.tick_params(colors=LIGHT["text"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LIGHT["axis"])
    held = [curve for curve in curves if curve.points]
    for curve in held:
        x, y = zip(*curve.points, strict=True)
        (line,) = axes.plot(x, y, color=curve.colour, label=_safe(curve.name) if curve.name else None)
        line.set(linewidth=1.0 if curve.faint else 1.8, alpha=0.35 if curve.faint else None)
        if curve.dots or len(curve.points) == 1:
            line.set(marker="o", markersize=4)
        axes.annotate(curve.mark, curve.points[-1], (6, 0), textcoords="offset points", color=curve.colour, va="center")
    if held:
        marks = ticks(min(ends := reach(*(c.points for c in held))), max(ends), 6)
        axes.set_ylim(marks[0], marks[-1])  # the few values far above would leave the rest flat
    else:
        axes.text(0.5, 0.5, "no losses yet", ha="center", transform=axes.transAxes, color=LIGHT["text"])
    if 0 < sum(bool(c.name) for c in held) <= MOST_NAMES:
        axes.legend(frameon=False, labelcolor=LIGHT["text"], fontsize="small")
    with BytesIO() as file:
        figure.savefig(file, format="png")
        return file.getvalue()


def _safe(text: str) -> str:
    """Text for one line of the picture: a $ begins no formula there, and a _ hides no name from the legend."""
    line = visible(text).replace("\n", " ").replace("$", r"\$")
    line = f" {line}" if line.startswith("_") else line
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
