"""gptforge runs export: a run's metrics, samples and summary, sent to a tracker after the fact."""

import dataclasses
import json

from gptforge.config import RunsExportConfig
from gptforge.notices import say
from gptforge.runs import Call, Run
from gptforge.trackers.found import check
from gptforge.trackers.replay import export


def run(cfg: RunsExportConfig, call: Call) -> int:
    """Sends cfg.run to the tracker cfg.to, and says on stderr, or as JSON on stdout, what that was."""
    check([cfg.to], "to")
    sent = export(Run.find(cfg.run), cfg.to)
    if cfg.json:
        print(json.dumps(dataclasses.asdict(sent), indent=2))
    else:
        known = f", as {sent.id}" if sent.id else ""
        say(f"{sent.run}: {sent.records} records and {sent.samples} samples sent to {sent.tracker}{known}")
    return 0
