"""The report of a sweep as a page: its points in order, their curves, what made the difference, what failed.

Knows what sweep.json and the metrics of the points say, not how a sweep is run.
"""

import contextlib
import dataclasses
import os
import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from gptforge.config import SweepConfig
from gptforge.config.schema import shown
from gptforge.config.units import shown_count, shown_seconds
from gptforge.durable import write_text
from gptforge.errors import CheckpointError
from gptforge.history import DONE, FAILED
from gptforge.logs.drawing import LIGHT
from gptforge.logs.files import read_metrics
from gptforge.logs.series import Point as Place
from gptforge.logs.series import points as places
from gptforge.report import curves, png, run_page
from gptforge.report.charts import bar
from gptforge.report.curves import Line, Picture, Reading
from gptforge.report.html import Markup, definitions, element, joined, name_of, quoted, table
from gptforge.report.page import Section, beside, figure, key, page, paragraph
from gptforge.sweep.points import BEST, Point, Sweep, read
from gptforge.sweep.table import Row, importance, rows

MOST_CURVES = 60  # of the best points; more would be a band
MOST_VALUES = 12  # of a key, in its table


def write(path: Path, out: Path | None = None) -> Path:
    """Writes the page of the sweep in a directory, there or to a file; where it is. Raises CheckpointError, OSError."""
    out = out or path / run_page.NAME
    write_text(out, sweep_page(read(path), out.parent))
    return out


def sweep_page(sweep: Sweep, folder: Path) -> str:
    """The whole page as HTML, for a file in this folder: the points lead to their own reports, if they have one."""
    name = sweep.path.resolve().name
    links = _links(sweep, folder)
    made = [("points", "Points", list(_points(sweep, links)))]
    made += [(anchor, title, list(make(sweep))) for anchor, title, make in _SECTIONS]
    sections = [Section(*section) for section in made if section[2]]
    heading = joined([name_of(name), ": report of a sweep"])
    return page(f"{name}: report", heading, list(_lead(sweep)), sections, run_page.RULES + curves.RULES)


def _lead(sweep: Sweep) -> Iterator[Markup]:
    found = rows(sweep)
    done = [p for p in sweep.points if p.status == DONE]
    others = {status: sum(p.status == status for p in sweep.points) for status in (p.status for p in sweep.points)}
    told = ", ".join(f"{n} {status}" for status, n in others.items() if status != DONE)
    yield element("p", element("b", f"{len(done)} of {sweep.size} done"), told, class_="state")
    if found and found[0].finished:
        best = found[0]
        spread = best.spread()
        name = "best, bits per byte" + (f", ± {spread:.4f}" if spread is not None else "")
        tiles = [(name, f"{best.mean():.4f}"), ("points", f"{len(sweep.points):,}")]
        for title, name, form in (("steps trained", "steps", shown_count), ("time of all", "seconds", shown_seconds)):
            values = [p.results[name] for p in sweep.points if isinstance(p.results.get(name), int | float)]
            tiles.append((title, form(sum(values))))
        yield definitions(tiles, "tiles")
        yield element("p", "The best: ", quoted(" ".join(best.overrides) or "the defaults"), class_="said")
    commands = [element("li", quoted(command), f" {what}") for command, what in _next(sweep, len(done))]
    yield element("ul", *commands, class_="next", aria_label="What to type next")


def _next(sweep: Sweep, done: int) -> Iterator[tuple[str, str]]:
    place = shlex.quote(str(sweep.path))
    if done and (sweep.path / BEST).is_file():
        yield f"gptforge train --config-dir {place} experiment=best", "trains the best once more"
    if any(p.status not in (DONE, FAILED, "cut") for p in sweep.points):
        yield f"gptforge train -m resume={place}", "goes on with the sweep"
    elif any(p.status == FAILED for p in sweep.points):
        yield f"gptforge train -m resume={place} retry=true", "runs the failed points again"


def _links(sweep: Sweep, folder: Path) -> dict[int, str]:
    """Where the reports of the points are, as seen from a folder."""
    pages = ((p.number, sweep.run(p).path / run_page.NAME) for p in sweep.points)
    return {n: quote(Path(os.path.relpath(page, folder)).as_posix()) for n, page in pages if page.is_file()}


def _points(sweep: Sweep, links: Mapping[int, str]) -> Iterator[Markup]:
    found = rows(sweep)
    repeated = any(len(row.points) > 1 for row in found)
    heads = ["point", "is", ">bits per byte", *([">spread"] if repeated else []), ">best loss", ">time", "what it is"]
    yield table("All points, the best first", heads, [_cells(row, repeated, links) for row in found])
    if repeated:
        yield paragraph("Points that differ in their seed alone are one row: their mean and standard deviation.")


def _cells(row: Row, repeated: bool, links: Mapping[int, str]) -> list[str]:
    losses = [p.results["best_val_loss"] for p in row.points if p.results.get("best_val_loss") is not None]
    seconds = [p.results["seconds"] for p in row.points if p.results.get("seconds") is not None]
    spread = row.spread()
    numbers: list[str] = []
    for p in row.points:
        page = links.get(p.number)
        numbers += [", ", element("a", str(p.number), href=page) if page else str(p.number)]
    return [
        joined(numbers[1:]),
        ", ".join(dict.fromkeys(p.status for p in row.points)),
        f"{row.mean():.4f}" if row.bits else "",
        *([f"{spread:.4f}" if spread is not None else ""] if repeated else []),
        f"{statistics.fmean(losses):.4f}" if losses else "",
        shown_seconds(sum(seconds)) if seconds else "",
        quoted(" ".join(row.overrides) or "the defaults"),
    ]


def _curves(sweep: Sweep) -> Iterator[Markup]:
    """Bits per byte over steps: thin lines, and the best."""
    found = courses(sweep)
    if not found:
        return
    best, row = found[0]
    lines = [Line(other, "raw") for _, other in found[1:]]
    picture = _picture([*lines, Line(row, "val", dots=True)], row)
    label = f"Bits per byte of {len(found)} points; the best, point {best.number}, ends at {row[-1][1]:.4f}"
    yield figure("Bits per byte of the validation text, over steps", picture.drawn(label))
    yield key([(f"point {best.number}, the best", "second"), (f"{len(lines)} others", "first")])
    if more := sum(p.bits is not None for p in sweep.points) - len(found):
        yield paragraph(f"{more} points with worse results are left out.")


def courses(sweep: Sweep) -> list[tuple[Point, list[Place]]]:
    """Points with their bits per byte over steps, the best first, one that was not cut if there is one."""
    ordered = sorted((p for p in sweep.points if p.bits is not None), key=lambda p: (p.status != DONE, p.bits or 0.0))
    found = []
    for point in ordered[:MOST_CURVES]:
        with contextlib.suppress(CheckpointError):  # a damaged file: the point has no curve
            found.append((point, places(read_metrics(sweep.run(point).metrics), "val_bpb")))
    return [(p, row) for p, row in found if row]


def png_of(sweep: Sweep) -> bytes:
    """The same picture as the bytes of a PNG file."""
    found = courses(sweep)
    lines = [png.Curve("", row, LIGHT["first"], faint=True) for _, row in found[1:]]
    for point, row in found[:1]:
        name = f"point {point.number}: {' '.join(sweep.swept(point)) or 'the defaults'}"
        lines.append(png.Curve(name, row, LIGHT["second"], dots=True))
    return png.draw(lines, sweep.path.resolve().name, "step", "bits per byte")


def _picture(lines: Sequence[Line], best: Sequence[Place]) -> Picture:
    steps = [x for line in lines for x, _ in line.points]
    lowest, first = min(y for line in lines for _, y in line.points), best[0][1]
    x = curves.linear([0.0, *steps], 8, round_ends=False)
    y = curves.linear([lowest, max(first, *(line.points[0][1] for line in lines[:MOST_CURVES]))], 6)

    def read_at(n: int) -> Reading:
        return Reading(f"step {best[n][0]:,.0f}: {best[n][1]:.4f} bits per byte", [(best[n], "val")])

    return Picture(x, y, lines, [x for x, _ in best], read_at)


def _difference(sweep: Sweep) -> Iterator[Markup]:
    """Which keys account for it, and the mean at each of their values."""
    shares = importance(sweep)
    if not shares:
        return
    yield paragraph(
        "The share of the variance of bits per byte that a key's values account for (epsilon squared: a main effect "
        "alone). Only points that have trained to their end are taken."
    )
    heads = ("key", ">share", "")
    yield table("What made the difference", heads, [(k, f"{s:.0%}", bar(s)) for k, s in shares.items()], class_="bars")
    yield beside(*(_values(sweep, name) for name in shares))


def _values(sweep: Sweep, name: str) -> Markup | None:
    """The mean of bits per byte at each value of a key; None where there are too many values."""
    groups: dict[str, list[float]] = {}
    for p in sweep.points:
        value = dict(o.split("=", 1) for o in sweep.swept(p) if "=" in o).get(name, "")
        if p.status == DONE and p.bits is not None:
            groups.setdefault(value, []).append(p.bits)
    if len(groups) > MOST_VALUES:
        return None
    ordered = sorted(groups.items(), key=lambda item: _as_number(item[0]))
    made = [
        (quoted(value), str(len(bits)), f"{statistics.fmean(bits):.4f}", f"{min(bits):.4f}") for value, bits in ordered
    ]
    return table(name, ("value", ">points", ">mean", ">best"), made)


def _as_number(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _failed(sweep: Sweep) -> Iterator[Markup]:
    for p in sweep.points:
        if p.status == FAILED:
            said = element("strong", f"Point {p.number}: "), p.error.partition("\n")[0]
            yield element("p", *said, " ", quoted(" ".join(sweep.swept(p))), class_="said warning")


def _how(sweep: Sweep) -> Iterator[Markup]:
    defaults = dataclasses.asdict(SweepConfig())
    changed = {k: v for k, v in dataclasses.asdict(sweep.cfg).items() if v != defaults[k]}
    common = [o for o in sweep.points[0].overrides if o not in sweep.swept(sweep.points[0])] if sweep.points else []
    made = [(quoted(f"{k}={shown(v)}"), "of the sweep") for k, v in changed.items()]
    made += [(quoted(o), "of all points") for o in common]
    if made:
        yield table("What was typed, beside what the points differ in", ("key", "is"), made)


_SECTIONS: tuple[tuple[str, str, Callable[[Sweep], Iterator[Markup]]], ...] = (
    ("curves", "Curves", _curves),
    ("difference", "What made the difference", _difference),
    ("failed", "What failed", _failed),
    ("how", "How it was run", _how),
)
