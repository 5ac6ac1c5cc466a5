"""gptforge runs tag: words on a run, by which it can be found again."""

import json
import sys

from gptforge import history, tidy
from gptforge.config import RunsTagConfig
from gptforge.logs.screen import Screen
from gptforge.runs import Call


def run(cfg: RunsTagConfig, call: Call) -> int:
    """Adds and takes away tags; says on stdout which the run has now."""
    found = history.find(cfg.run)
    tags = tidy.tagged(found, cfg.add, cfg.remove, cfg.tags)
    screen = Screen(sys.stdout)
    if cfg.json:
        screen.line(json.dumps({"name": found.pointer_name, "tags": tags}, indent=2))
    else:
        screen.line(screen.clean(f"{found.pointer_name}: {', '.join(tags) or 'no tags'}"))
    return 0
