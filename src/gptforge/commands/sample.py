"""gptforge sample: text from a trained model on stdout, everything else on stderr."""

import sys

from gptforge.config import SampleConfig
from gptforge.notices import say
from gptforge.runs import Call, candidates


def warn(text: str) -> None:
    say(f"gptforge: warning: {text}")


def run(cfg: SampleConfig, call: Call) -> int:
    """Writes cfg.sample.num_samples texts for each prompt."""
    for ckpt in (cfg.ckpt, *([cfg.draft] if cfg.draft else [])):
        candidates(ckpt)  # a run that is not there is said before torch is imported

    from gptforge import runtime
    from gptforge.checkpoint import load_model, same_tokens
    from gptforge.sampling import console, generate_text, how_for, must_write, rows_at_once

    prompts = console.prompts(cfg)
    sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="replace")  # type: ignore[union-attr]
    machine = runtime.probe()
    chosen = runtime.choose(cfg.runtime, machine)
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    small = load_model(cfg.draft, chosen.torch_device, cfg.tokenizer.unknown) if cfg.draft else None
    model, device, block_size = loaded.model, str(chosen.device.value), loaded.config.model.block_size
    must_write(model)
    for warning in [*loaded.warnings, *(small.warnings if small else [])]:
        warn(warning)
    for prompt in prompts:
        if len(loaded.tokenizer.encode(prompt)) > block_size:
            say(f"gptforge: the prompt is longer than the context: the model sees its last {block_size} tokens")
    if cfg.weights == "int8" and device != "cpu":
        warn(f"weights=int8 is faster on a CPU only; on {device} it rounds the weights and no more")
    draft = None
    if small:
        same_tokens(small, loaded)
        draft = small.model, how_for(small.model, cfg, machine.cuda_capability, warn)
    how = how_for(model, cfg, machine.cuda_capability, warn, draft)
    rows = rows_at_once(model.cfg, model.tok_emb.weight.itemsize, machine.memory_of(device))
    facts = {"seed": cfg.seed, "step": loaded.step, "checkpoint": str(loaded.path)}
    for group in console.batches(prompts, cfg, rows):
        growing = generate_text(model, loaded.tokenizer, group, cfg.sample, cfg.seed, how)
        console.write(group, growing, cfg, facts)
    return 0
