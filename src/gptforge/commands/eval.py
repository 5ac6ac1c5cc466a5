"""gptforge eval: how well a model predicts a text; the result on stdout and in a file, everything else on stderr."""

import dataclasses
import json
import sys

from gptforge.config import EvalTextConfig
from gptforge.logs.screen import Screen
from gptforge.notices import say, slow_work
from gptforge.runs import Call, candidates


def run(cfg: EvalTextConfig, call: Call) -> int:
    """Evaluates cfg.ckpt on its validation text, or on the text that data= names."""
    candidates(cfg.ckpt)  # a run that is not there is said before torch is imported

    from gptforge import runtime
    from gptforge.checkpoint import load_model
    from gptforge.evals.measure import measure
    from gptforge.evals.show import place_for, save, show

    # float32 unless asked for: a number should not depend on the machine
    chosen = runtime.choose(dataclasses.replace(cfg.runtime, dtype=cfg.runtime.dtype or "float32"), runtime.probe())
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    place = place_for(cfg.out, loaded.path)

    def warn(text: str) -> None:
        say(f"gptforge: warning: {text}")

    for warning in loaded.warnings:
        warn(warning)
    if cfg.runtime.compile:
        warn("runtime.compile does nothing here: compiling takes longer than it saves")
    result = measure(cfg, loaded, chosen, warn, slow_work("json" if cfg.json else "auto"))
    screen = Screen(sys.stdout)
    try:
        path = save(result, place)
    finally:  # the numbers took a while: they are shown even if the disk is full
        if cfg.json:
            screen.line(json.dumps(result, indent=2, ensure_ascii=False))
        else:
            show(result, screen)
    say(f"stored in {path}")
    return 0
