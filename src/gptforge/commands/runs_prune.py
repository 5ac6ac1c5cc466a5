"""gptforge runs prune: removes checkpoints that are no longer needed, after a question."""

import json
import sys
from pathlib import Path
from typing import Any

from gptforge import tidy
from gptforge.config import RunsPruneConfig
from gptforge.config.units import shown_bytes
from gptforge.consent import agreed
from gptforge.errors import CheckpointError, LockedError
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.report.listing import found_in, matching
from gptforge.report.run_account import size_of
from gptforge.runs import Call, Run


def run(cfg: RunsPruneConfig, call: Call) -> int:
    """Says on stdout what would go, and removes it. A run in use, or with a damaged checkpoint, is left alone."""
    root = Path(cfg.path)
    chosen = matching(found_in(cfg.path), cfg.filter, root)
    plans = [tidy.prunable(one.name, Run(root / one.name), one.status, cfg.keep) for one in chosen]
    plans = [plan for plan in plans if plan is not None]
    sizes = {plan.name: sum(map(size_of, plan.folders)) for plan in plans}
    told = {"bytes": sum(sizes.values()), "runs": [_told(plan, sizes[plan.name]) for plan in plans], "pruned": []}
    screen, code = Screen(sys.stdout), 0
    if not cfg.json:
        for plan in plans:
            goes, keeps = (", ".join(map(str, steps)) or "none" for steps in (plan.steps, plan.keeps))
            line = f"{plan.name} ({plan.status}): keeps {keeps}; goes {goes}; {shown_bytes(sizes[plan.name])}"
            screen.line(screen.clean(line))
    what = f"remove {sum(len(p.folders) for p in plans)} checkpoints of {len(plans)} runs, {shown_bytes(told['bytes'])}"
    if not plans:
        say("gptforge: there is nothing to remove")
    elif cfg.dry:
        say(f"gptforge: dry=true: this would {what}")
    elif not agreed(what, cfg.yes):
        say("gptforge: nothing was removed")
    else:
        for plan in plans:
            try:
                tidy.prune(plan)
            except (CheckpointError, LockedError) as e:
                say(f"gptforge: warning: {plan.name} is left as it is: {e.what} {e.where}".rstrip())
                code = e.exit_code
                continue
            told["pruned"].append(plan.name)
        freed = shown_bytes(sum(sizes[name] for name in told["pruned"]))
        say(f"gptforge: removed checkpoints of {len(told['pruned'])} runs, {freed}")
    if cfg.json:
        print(json.dumps(told, indent=2))
    return code


def _told(plan: tidy.Prune, size: int) -> dict[str, Any]:
    return {"name": plan.name, "status": plan.status, "keeps": plan.keeps, "goes": plan.steps, "bytes": size}
