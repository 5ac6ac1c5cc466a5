"""Writes what was measured into README.md: a picture of what has a target, and all figures as tables.

python benchmarks/report.py            from results/*.json
python benchmarks/report.py --check    writes nothing; exits with 1 when README.md or targets.svg is stale
"""

import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from measure import RESULTS, Row, load, shown, verdict

FOLDER = Path(__file__).resolve().parent
README, PICTURE = FOLDER / "README.md", FOLDER / "targets.svg"
BEGIN, END = "<!-- results: written by report.py -->", "<!-- end of results -->"
ORDER = (
    "kernels", "training_step", "peak", "sampling", "imported", "startup", "memory", "scaling", "bpe", "prepare",
    "cleaning", "personal_data", "cleaning_pays", "time_to_loss", "sweeps", "listing", "experts",
    "objectives",
)  # fmt: skip

WIDTH, LEFT, RIGHT, TOP, LINE = 760, 16, 130, 64, 38
REACH = 2.0  # of the target, where bars end; what is longer is cut and says so
STYLE = """
.targets { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.targets .back { fill: #ffffff; }
.targets text { fill: #52514e; }
.targets .title, .targets .value { fill: #0b0b0b; font-weight: 600; }
.targets .title { font-size: 16px; }
.targets .track { fill: #f1f0ec; }
.targets .met { fill: #2a6fc9; }
.targets .missed { fill: #c8551b; }
.targets .mark { stroke: #0b0b0b; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  .targets .back { fill: #1a1a19; }
  .targets text { fill: #c3c2b7; }
  .targets .title, .targets .value { fill: #ffffff; }
  .targets .track { fill: #2f2f2d; }
  .targets .met { fill: #6aa7f2; }
  .targets .missed { fill: #ee8a4f; }
  .targets .mark { stroke: #ffffff; }
}
"""


def stored(folder: Path = RESULTS) -> list[tuple[dict[str, Any], list[Row]]]:
    """Every result in a fixed order; those that this file does not know come last."""
    paths = {path.stem: path for path in sorted(folder.glob("*.json"))}
    names = [name for name in ORDER if name in paths] + [name for name in paths if name not in ORDER]
    return [load(paths[name]) for name in names]


def share(row: Row) -> float:
    """How far a figure is on the way to its target: 1 at the target, more is better. Raises ValueError without one."""
    if not row.target or row.median <= 0:
        raise ValueError(f"{row.label} has no target that a share can be taken of")
    return row.target / row.median if row.at_most else row.median / row.target


def picture(rows: Sequence[Row]) -> str:
    """One bar for each row with a target, as an SVG that needs nothing else; the targets lie below each other."""
    height = TOP + LINE * len(rows) + 34
    span = WIDTH - LEFT - RIGHT
    mark = LEFT + span / REACH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' class="targets" role="img">',
        "<title>What was measured, as a share of its target</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="26">Measured, as a share of the target</text>',
        f'<text x="{mark:.1f}" y="48" text-anchor="middle">target</text>',
    ]
    for n, row in enumerate(rows):
        parts += bar(row, TOP + LINE * n, span)
    caption = "right of the mark is better than the target; blue: met, orange: missed"
    parts += [f'<text x="{LEFT}" y="{height - 12}">{caption}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def bar(row: Row, y: int, span: float) -> list[str]:
    """A label, its bar, the mark of the target, and the figure behind it."""
    mark = LEFT + span / REACH
    length = span * min(share(row), REACH) / REACH
    kind = "met" if row.met else "missed"
    bound = f"{'≤' if row.at_most else '≥'} {shown(row.target or 0.0, row.unit)}"
    figure = shown(row.median, row.unit) + (" ▸" if share(row) > REACH else "")
    return [
        f'<text x="{LEFT}" y="{y + 12}">{escape(row.label)} ({escape(bound)})</text>',
        f'<rect class="track" x="{LEFT}" y="{y + 17}" width="{span:.1f}" height="12" rx="2"/>',
        f'<rect class="{kind}" x="{LEFT}" y="{y + 17}" width="{length:.1f}" height="12" rx="2"/>',
        f'<line class="mark" x1="{mark:.1f}" x2="{mark:.1f}" y1="{y + 14}" y2="{y + 32}"/>',
        f'<text class="value" x="{LEFT + span + 8:.1f}" y="{y + 28}">{escape(figure)}</text>',
    ]


def tables(results: Sequence[tuple[dict[str, Any], list[Row]]]) -> str:
    """Every result as a heading, its machine, a table and its notes."""
    missing = [name for name in ORDER if name not in {result["name"] for result, _ in results}]
    blocks = [block for result, rows in results for block in section(result, rows)]
    if any(row.target for _, rows in results for row in rows):
        blocks.insert(0, f"![Measured figures as shares of their targets]({PICTURE.name})")
    if missing:
        blocks.append(f"Not measured yet: {', '.join(missing)}.")
    return "\n\n".join(blocks)


def section(result: dict[str, Any], rows: Sequence[Row]) -> Iterable[str]:
    yield f"### {result['title']}"
    name = result["name"]  # of a script, or of an experiment
    script = f"{name}.py" if name in ORDER else f"time_to_loss.py --experiment {name}"
    yield f"`{script}`, {machine(result['machine'])}."
    lines = ["| what | median | least to most | target | |", "|---|---|---|---|---|"]
    for row in rows:
        extent = f"{shown(row.low, row.unit)} to {shown(row.high, row.unit)}, n = {row.n}"
        cells = [row.label, f"**{shown(row.median, row.unit)}**", extent, verdict(row), row.detail]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    yield "\n".join(lines)
    if result["notes"]:
        yield "\n".join(f"* {note}" for note in result["notes"])


def machine(found: dict[str, Any]) -> str:
    """The machine in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    load = f", load {found['load_before'][0]} before" if found["load_before"] else ""
    changed = " with changes" if (found["commit"] or "").endswith("+") else ""
    commit = f", commit {found['commit'][:9]}{changed}" if found["commit"] else ""
    return (
        f"{found['date']}{commit}, {found['cpu']}, {found['cores']} cores, {found['dtype']}, "
        f"Python {found['python']}, {packages}{load}"
    )


def written() -> dict[Path, str]:
    """What the files should hold."""
    results = stored()
    rows = [row for _, rows in results for row in rows if row.target]
    before, found, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"{README.name} has no place for the results: {BEGIN} and {END}")
    files = {README: f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}"}
    return files | ({PICTURE: picture(rows)} if rows else {})


def stale() -> dict[Path, str]:
    """The files that are not what they should be, with what they should be."""
    return {p: text for p, text in written().items() if not p.exists() or p.read_text(encoding="utf-8") != text}


def main() -> None:
    outdated = stale()
    for path, text in outdated.items():
        if "--check" in sys.argv:
            print(f"{path.name} is stale: python benchmarks/report.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {path}", file=sys.stderr)
    sys.exit("--check" in sys.argv and bool(outdated))


if __name__ == "__main__":
    main()
