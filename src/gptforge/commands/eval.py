"""gptforge eval: how well a model predicts a text, or does tasks; the result on stdout and in a file."""

import dataclasses
import json
import sys

from gptforge.config import EvalTextConfig
from gptforge.evals import harness
from gptforge.logs.screen import Screen
from gptforge.notices import say, slow_work
from gptforge.runs import Call, candidates


def run(cfg: EvalTextConfig, call: Call) -> int:
    """Evaluates cfg.ckpt on its validation text, on the text that data= names, or on cfg.tasks."""
    candidates(cfg.ckpt)  # a run that is not there is said before torch is imported
    if cfg.tasks:
        harness.require(bars=sys.stderr.isatty() and not cfg.json)

    from gptforge import runtime
    from gptforge.checkpoint import load_model
    from gptforge.evals import cloze, measure, show

    # float32 unless asked for: a number should not depend on the machine
    chosen = runtime.choose(dataclasses.replace(cfg.runtime, dtype=cfg.runtime.dtype or "float32"), runtime.probe())
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    place = show.place_for(cfg.out, loaded.path)

    def warn(text: str) -> None:
        say(f"gptforge: warning: {text}")

    for warning in loaded.warnings:
        warn(warning)
    if cfg.runtime.compile:
        warn("runtime.compile does nothing here: compiling takes longer than it saves")
    progress = slow_work("json" if cfg.json else "auto", "the tasks" if cfg.tasks else "the text")
    if cfg.tasks:
        from gptforge.evals.harness import run as tasks
        from gptforge.evals.harness import show as shown

        result = tasks.run_tasks(cfg, loaded, chosen, warn, progress)
    else:
        of = measure if loaded.config.model.attention.causal else cloze
        shown, result = show, of.measure(cfg, loaded, chosen, warn, progress)
    screen = Screen(sys.stdout)
    try:
        path = show.save(result, place, shown.file_name(result))
    finally:  # the numbers took a while: they are shown even if the disk is full
        if cfg.json:
            screen.line(json.dumps(result, indent=2, ensure_ascii=False))
        else:
            shown.show(result, screen)
    say(f"stored in {path}")
    return 0
