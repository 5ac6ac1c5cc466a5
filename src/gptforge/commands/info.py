"""gptforge info: what a config means, without training it."""

import json
import sys

from gptforge import report
from gptforge.config import InfoConfig
from gptforge.runs import Call


def run(cfg: InfoConfig, call: Call) -> int:
    """Prints the parameters of each part, compute, memory and data of a config; JSON with json=true."""
    facts = report.describe(cfg)
    if cfg.json:
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(report.lines(facts, call.choices.get("model", ""), sys.stdout.encoding or "ascii")))
    return 0
