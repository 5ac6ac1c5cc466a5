"""gptforge compare: runs beside each other, on stdout, and as a picture."""

import json
import sys
from pathlib import Path
from typing import Any

from gptforge import history
from gptforge.config import CompareConfig
from gptforge.durable import make_directories, write_text
from gptforge.errors import UsageError, from_os_error
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.report.comparison import BITS, LETTERS, compared
from gptforge.report.comparison_text import named, show
from gptforge.report.overlay import Line, draw_runs
from gptforge.runs import Call


def run(cfg: CompareConfig, call: Call) -> int:
    """Prints what differs between runs and what that is worth; with svg= it draws their curves too."""
    runs = list({found.path.resolve(): found for found in map(history.find, cfg.runs)}.values())
    if not 2 <= len(runs) <= len(LETTERS):
        some = f"two runs or more are needed, up to {len(LETTERS)}"
        raise UsageError(f"{some}: here are {len(runs)}", fix="gptforge compare RUN RUN; gptforge runs lists them")
    found = compared(runs)
    if cfg.json:
        print(json.dumps(found, indent=2))
    else:
        show(found, Screen(sys.stdout))
    if cfg.svg:
        _draw(found, Path(cfg.svg).expanduser())
    return 0


def _draw(found: dict[str, Any], path: Path) -> None:
    number = {letter: n for n, group in enumerate(found["groups"]) for letter in group["letters"]}
    lines = [Line(run["letter"], name, number[run["letter"]], run["curve"]) for run, name in named(found)]
    name = "bits per byte" if found["metric"] == BITS else "val_loss (nats per token)"
    try:
        make_directories(path.parent)
        write_text(path, draw_runs(lines, f"{len(lines)} runs", found["over"], name))
    except OSError as e:
        raise from_os_error(e, f"writing {path}") from e
    say(f"gptforge: the curves are in {path}")
