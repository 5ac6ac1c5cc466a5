"""gptforge import: makes a run of a model of another program, whose only checkpoint is the model as it came."""

import json
import sys

from gptforge.config import ImportConfig
from gptforge.interop.as_run import write
from gptforge.interop.sources import load
from gptforge.logs.screen import Screen
from gptforge.runs import Call


def run(cfg: ImportConfig, call: Call) -> int:
    """Reads the model whole before anything is written."""
    source = load(cfg.source, cfg.tokenizer_path, cfg.trust)
    made, summary = write(source, call)
    if cfg.json:
        print(json.dumps({"run": made.pointer_name, **summary}, indent=2))
        return 0
    screen = Screen(sys.stdout)
    for note in source.notes:
        screen.line(f"note: {note}")
    screen.line(f"{summary['parameters']:,} parameters, {source.model.vocab_size:,} tokens, from {source.path}")
    if source.model.cfg.attention.causal:
        screen.line(f"next:   gptforge sample ckpt={made.pointer_name}")
        screen.line(f"        gptforge train init={made.pointer_name} data=PATH")
    else:
        screen.line(f"next:   gptforge eval ckpt={made.pointer_name} data=PATH")
    return 0
