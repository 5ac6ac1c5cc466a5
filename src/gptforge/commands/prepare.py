"""gptforge prepare: a text becomes tokens, and what it is like is said and stored."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptforge.config import PrepareConfig
from gptforge.data import report, store
from gptforge.data.collect import examine
from gptforge.data.prepare import prepare
from gptforge.errors import from_os_error
from gptforge.logs.screen import Screen, visible
from gptforge.notices import say, slow_work
from gptforge.runs import Call


def run(cfg: PrepareConfig, call: Call) -> int:
    """Prints the report to stdout, JSON with json=true; with out=FILE it is also written there, as JSON.

    With dry=true nothing is stored, and the report is of the cleaning alone.
    """
    progress = slow_work(cfg.ui)
    if cfg.dry:
        found = examine(cfg.data, cfg.clean, progress)
        _tell(cfg, found, report.dry_lines(found))
    else:
        found = report.facts(prepare(cfg.data, cfg.tokenizer, on_progress=progress, clean=cfg.clean))
        _tell(cfg, found, report.lines(found))
    return 0


def _tell(cfg: PrepareConfig, found: Mapping[str, Any], lines: Iterable[str]) -> None:
    if cfg.out:
        path = Path(cfg.out).expanduser()
        try:
            store.write_json(path, found)
        except OSError as e:
            raise from_os_error(e, f"writing {path}") from e
        say(f"gptforge: the report is in {os.path.relpath(path)}")
    if cfg.json:
        print(json.dumps(found, indent=2, ensure_ascii=not _unicode()))
    else:
        screen = Screen(sys.stdout)
        for line in lines:
            screen.line(visible(line))


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
