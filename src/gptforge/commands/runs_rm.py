"""gptforge runs rm: removes runs, after a question."""

import json
import sys

from gptforge import tidy
from gptforge.config import RunsRmConfig
from gptforge.config.units import shown_bytes
from gptforge.consent import agreed
from gptforge.errors import UsageError
from gptforge.logs.screen import Screen, visible
from gptforge.notices import say
from gptforge.report.run_account import size_of
from gptforge.runs import Call


def run(cfg: RunsRmConfig, call: Call) -> int:
    """Removes the runs whole. All are looked at before the first one goes."""
    if not cfg.runs:
        raise UsageError("which runs?", fix="gptforge runs rm RUN; gptforge runs lists them")
    runs = list({found.path: found for found in map(tidy.named, cfg.runs)}.values())
    sizes = {str(one.path): size_of(one.path) for one in runs}
    names = {str(one.path): one.pointer_name for one in runs}
    screen = Screen(sys.stderr)
    for one in runs:
        other = tidy.strangers(one)
        also = f", with {', '.join(other[:5])}{' …' if len(other) > 5 else ''} that gptforge did not make"
        screen.line(visible(f"{names[str(one.path)]}  {shown_bytes(sizes[str(one.path)])}{also if other else ''}"))
    several = f"{len(runs)} run{'s' if len(runs) > 1 else ''}, {shown_bytes(sum(sizes.values()))}"
    if not agreed(f"remove {several}", cfg.yes):
        say("gptforge: nothing was removed")
        return 0
    removed = []
    try:
        for one in runs:
            tidy.remove(one)
            removed.append({"name": names[str(one.path)], "bytes": sizes[str(one.path)]})
    finally:
        say(f"gptforge: removed {len(removed)} of {several}")
        if cfg.json:
            print(json.dumps({"removed": removed}, indent=2))
    return 0
