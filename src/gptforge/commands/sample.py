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
    from gptforge.sampling import How, choose_step, console, generate_text, must_write, quantize, rows_at_once

    prompts = console.prompts(cfg)
    sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="replace")  # type: ignore[union-attr]
    machine = runtime.probe()
    chosen = runtime.choose(cfg.runtime, machine)
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    model, device = loaded.model, str(chosen.device.value)
    must_write(model)
    if cfg.runtime.dtype == "bfloat16":  # float32 unless asked for: a text should not depend on the machine
        model.to(torch.bfloat16)
    for warning in loaded.warnings:
        say(f"gptforge: warning: {warning}")
    block_size = loaded.config.model.block_size
    for prompt in prompts:
        if len(loaded.tokenizer.encode(prompt)) > block_size:
            say(f"gptforge: the prompt is longer than the context: the model sees its last {block_size} tokens")
    if cfg.weights == "int8" and device != "cpu":
        say(f"gptforge: warning: weights=int8 is faster on a CPU only; on {device} it rounds the weights and no more")
    int8 = quantize(model) if cfg.weights == "int8" else None
    weight = model.tok_emb.weight
    groups = list(console.batches(prompts, cfg, rows_at_once(model.cfg, weight.itemsize, machine.memory_of(device))))
    step = choose_step(cfg.runtime.compile, model, machine.cuda_capability)
    if cfg.runtime.compile and step.value == "plain":
        say(f"gptforge: warning: not compiled: {step.reason}")
    how = How(int8, str(step.value), warn=lambda text: say(f"gptforge: warning: {text}"))
    facts = {"seed": cfg.seed, "step": loaded.step, "checkpoint": str(loaded.path)}
    for group in groups:
        growing = generate_text(model, loaded.tokenizer, group, cfg.sample, cfg.seed, how)
        console.write(group, growing, cfg, facts)
    return 0
