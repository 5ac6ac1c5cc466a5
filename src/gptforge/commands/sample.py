"""gptforge sample: text from a trained model on stdout, everything else on stderr."""

import sys

from gptforge.config import SampleConfig
from gptforge.notices import say
from gptforge.runs import Call, candidates


def run(cfg: SampleConfig, call: Call) -> int:
    """Writes cfg.sample.num_samples texts for each prompt."""
    candidates(cfg.ckpt)  # a run that is not there is said before torch is imported

    import torch

    from gptforge import runtime
    from gptforge.checkpoint import load_model
    from gptforge.sampling import console, generate_text

    prompts = console.prompts(cfg)
    sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="replace")  # type: ignore[union-attr]
    chosen = runtime.choose(cfg.runtime, runtime.probe())
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    if cfg.runtime.dtype == "bfloat16":  # float32 unless asked for: a text should not depend on the machine
        loaded.model.to(torch.bfloat16)
    for warning in loaded.warnings:
        say(f"gptforge: warning: {warning}")
    block_size = loaded.config.model.block_size
    facts = {"seed": cfg.seed, "step": loaded.step, "checkpoint": str(loaded.path)}
    for prompt in prompts:
        if len(loaded.tokenizer.encode(prompt)) > block_size:
            say(f"gptforge: the prompt is longer than the context: the model sees its last {block_size} tokens")
        console.write(prompt, generate_text(loaded.model, loaded.tokenizer, prompt, cfg.sample, cfg.seed), cfg, facts)
    return 0
