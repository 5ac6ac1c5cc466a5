"""gptforge show: one run, whole, on stdout."""

import json
import sys

from gptforge import history
from gptforge.config import ShowConfig
from gptforge.logs.screen import Screen
from gptforge.report.run_account import account
from gptforge.report.run_text import show
from gptforge.runs import Call


def run(cfg: ShowConfig, call: Call) -> int:
    """Prints what cfg.run says of itself, as text or as JSON; a run that is broken too."""
    told = account(history.find(cfg.run))
    if cfg.json:
        print(json.dumps(told, indent=2))
    else:
        show(told, Screen(sys.stdout))
    return 0
