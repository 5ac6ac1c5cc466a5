"""gptforge runs: the runs there are, and how they went, on stdout."""

import dataclasses
import json
import sys
from pathlib import Path

from gptforge.conditions import resolved
from gptforge.config import RunsConfig
from gptforge.logs.screen import Screen
from gptforge.report.listing import found_in, known, matching, ordered, show
from gptforge.runs import Call


def run(cfg: RunsConfig, call: Call) -> int:
    """Prints the runs below cfg.path, as a table or as JSON."""
    root = Path(cfg.path)
    by = resolved(cfg.sort.removeprefix("-"), known(), "sort=…")
    matching([], cfg.filter, root)  # what is no condition is said before thousands of runs are read
    every = found_in(cfg.path)
    found = ordered(matching(every, cfg.filter, root), by, root, descending=cfg.sort.startswith("-"))
    if cfg.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        show(Screen(sys.stdout), found[: cfg.limit], len(found), len(every), cfg)
    return 0
