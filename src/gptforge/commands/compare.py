"""gptforge compare: runs beside each other, on stdout, and as a picture."""

import json
import sys
from pathlib import Path

from gptforge import history
from gptforge.config import CompareConfig
from gptforge.durable import make_directories, write
from gptforge.errors import UsageError, from_os_error
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.report import overlay, png
from gptforge.report.comparison import BITS, LETTERS, compared
from gptforge.report.comparison_text import named, show
from gptforge.report.overlay import Line, draw_runs
from gptforge.runs import Call

VAL_LOSS = "val_loss (nats per token)"


def run(cfg: CompareConfig, call: Call) -> int:
    """Prints what differs between runs and what that is worth; with svg= or png= it draws their curves too."""
    png.check(cfg.png)
    runs = list({found.path.resolve(): found for found in map(history.find, cfg.runs)}.values())
    if not 2 <= len(runs) <= len(LETTERS):
        some = f"two runs or more are needed, up to {len(LETTERS)}"
        raise UsageError(f"{some}: here are {len(runs)}", fix="gptforge compare RUN RUN; gptforge runs lists them")
    found = compared(runs)
    if cfg.json:
        print(json.dumps(found, indent=2))
    else:
        show(found, Screen(sys.stdout))
    number = {letter: n for n, group in enumerate(found["groups"]) for letter in group["letters"]}
    lines = [Line(run["letter"], name, number[run["letter"]], run["curve"]) for run, name in named(found)]
    texts = f"{len(lines)} runs", found["over"], "bits per byte" if found["metric"] == BITS else VAL_LOSS
    if cfg.svg:
        _write(Path(cfg.svg).expanduser(), draw_runs(lines, *texts).encode())
    if cfg.png:
        curves = [png.Curve(f"{x.letter}  {x.name}", x.points, overlay.colour(x.group), mark=x.letter) for x in lines]
        _write(Path(cfg.png).expanduser(), png.draw(curves, *texts))
    return 0


def _write(path: Path, picture: bytes) -> None:
    try:
        make_directories(path.parent)
        write(path, picture)
    except OSError as e:
        raise from_os_error(e, f"writing {path}") from e
    say(f"gptforge: the curves are in {path}")
