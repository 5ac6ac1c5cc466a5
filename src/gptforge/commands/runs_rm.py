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
    """Removes runs and sweeps whole. All are looked at before the first one goes."""
    if not cfg.runs:
        raise UsageError("which runs?", fix="gptforge runs rm RUN; gptforge runs lists them")
    named = {found.path: found for found in map(tidy.named, cfg.runs)}
    runs = [one for path, one in named.items() if not named.keys() & set(path.parents)]  # a sweep takes its runs along
    sizes = {str(one.path): size_of(one.path) for one in runs}
    names = {str(one.path): one.pointer_name for one in runs}
    screen, counts = Screen(sys.stderr), []
    for one in runs:
        other = tidy.strangers(one)
        also = f", with {', '.join(other[:5])}{' …' if len(other) > 5 else ''} that gptforge did not make"
        count = tidy.points_of(one)
        counts.append(1 if count is None else count)
        swept = "" if count is None else f", a sweep of {count} run{'' if count == 1 else 's'}"
        told = f"{names[str(one.path)]}  {shown_bytes(sizes[str(one.path)])}{swept}{also if other else ''}"
        screen.line(visible(told))
    several = f"{sum(counts)} run{'' if sum(counts) == 1 else 's'}, {shown_bytes(sum(sizes.values()))}"
    if not agreed(f"remove {several}", cfg.yes):
        say("gptforge: nothing was removed")
        return 0
    removed = []
    try:
        for one in runs:
            tidy.remove(one)
            removed.append({"name": names[str(one.path)], "bytes": sizes[str(one.path)]})
    finally:
        say(f"gptforge: removed {sum(counts[: len(removed)])} of {several}")
        if cfg.json:
            print(json.dumps({"removed": removed}, indent=2))
    return 0
