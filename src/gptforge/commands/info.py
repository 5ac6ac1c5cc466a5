"""gptforge info: what a config means, without training it."""

import json
import sys

from gptforge.config import InfoConfig
from gptforge.runs import Call
from gptforge.train import facts


def run(cfg: InfoConfig, call: Call) -> int:
    """Prints the parameters of each part, compute, memory and data of a config; JSON with json=true."""
    found = facts.describe(cfg)
    if cfg.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(facts.lines(found, call.choices.get("model", ""), sys.stdout.encoding or "ascii")))
    return 0
