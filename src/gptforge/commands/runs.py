"""gptforge runs: the runs there are, and how they went, on stdout."""

import dataclasses
import json
import sys
from pathlib import Path

from gptforge.conditions import parse, resolved
from gptforge.config import RunsConfig, TrainConfig
from gptforge.config.schema import leaves
from gptforge.errors import DataError
from gptforge.history import COLUMNS, entries
from gptforge.logs.screen import Screen
from gptforge.report.listing import ordered, show, value
from gptforge.runs import Call


def run(cfg: RunsConfig, call: Call) -> int:
    """Prints the runs below cfg.path, as a table or as JSON."""
    root = Path(cfg.path)
    if not root.is_dir():
        raise DataError(f"there is no folder {cfg.path!r}", where="path=…", fix="gptforge train makes runs/")
    keys = [*COLUMNS, *(leaf.name for leaf in leaves(TrainConfig))]
    conditions = parse(cfg.filter, keys, "filter=…")
    by = resolved(cfg.sort.removeprefix("-"), keys, "sort=…")
    every = entries(root)
    found = [one for one in every if all(c.holds(value(one, c.name, root)) for c in conditions)]
    found = ordered(found, by, root, descending=cfg.sort.startswith("-"))
    if cfg.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        show(Screen(sys.stdout), found[: cfg.limit], len(found), len(every), cfg)
    return 0
