"""gptforge report: draws the page of a run or a sweep anew from its files; where it is goes to stdout.

With png= its curves too, as a picture.
"""

import os
import sys
from pathlib import Path

from gptforge.config import ReportConfig
from gptforge.durable import make_directories, write
from gptforge.errors import ResourceError
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.report import png, run_curves, run_files, run_page, sweep_page
from gptforge.runs import RUNS, SWEEP, Call, Run
from gptforge.sweep.points import read


def run(cfg: ReportConfig, call: Call) -> int:
    """Draws the report of cfg.run, whatever state it is in."""
    png.check(cfg.png)
    swept = sweep_in(cfg.run)
    found = Run(swept) if swept else run_files.find(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else found.path
    path = path / run_page.NAME if path.is_dir() else path
    try:
        if swept:
            sweep_page.write(swept, path)
        else:
            run_page.write(found, path)
        if cfg.png:
            path_of_png = Path(cfg.png).expanduser()
            make_directories(path_of_png.parent)
            write(path_of_png, sweep_page.png_of(read(swept)) if swept else run_curves.png_of(run_files.read(found)))
            say(f"gptforge: the curves are in {path_of_png}")
    except OSError as e:
        what = f"the report cannot be written: {e.strerror or e}"
        raise ResourceError(
            what, where=str(e.filename or path), fix="out=PATH, png=PATH (files that you may write)"
        ) from e
    Screen(sys.stdout).line(str(path))
    return 0


def sweep_in(text: str) -> Path | None:
    """The sweep's directory that this is, by path or by a name below runs/; None where it is none."""
    return next((path for path in (Path(text), RUNS / text) if os.path.isfile(path / SWEEP)), None)
