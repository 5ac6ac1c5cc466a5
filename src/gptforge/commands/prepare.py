"""gptforge prepare: a text becomes tokens, and what it is like is said and stored."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gptforge.config import REPORTS, PrepareConfig
from gptforge.data import report
from gptforge.data.collect import examine
from gptforge.data.prepare import prepare, stored_in
from gptforge.logs.screen import Screen, visible
from gptforge.notices import say, slow_work
from gptforge.report.output import keep, write
from gptforge.runs import Call


def run(cfg: PrepareConfig, call: Call) -> int:
    """Prints the report to stdout, JSON with json=true; writes it beside the tokens, and where out= says.

    With dry=true nothing is stored but what out= asks for, and the report is of the cleaning alone.
    """
    progress = slow_work(cfg.ui)
    folder = None
    if cfg.dry:
        found = examine(cfg.data, cfg.clean, progress)
        lines = report.dry_lines(found)
    else:
        data = prepare(cfg.data, cfg.tokenizer, on_progress=progress, clean=cfg.clean)
        found = report.facts(data, [source.path for source in cfg.data.sources])
        lines, folder = report.lines(found), stored_in(data)
    try:
        if folder:
            say(f"gptforge: {keep(found, [folder / name for name in REPORTS])}")
        write(found, cfg.reports)
    finally:  # what was found took a while: it is shown even if it cannot be written
        _show(found, lines, cfg.json)
    for path in cfg.reports:
        say(f"gptforge: the report is in {os.path.relpath(path)}")
    return 0


def _show(found: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=not _unicode()))
    else:
        screen = Screen(sys.stdout)
        for line in lines:
            screen.line(visible(line))


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
