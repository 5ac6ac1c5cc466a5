"""What a config means in numbers: parameters by part, compute, memory, and how the text compares with them.

Knows no run and trains nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gptforge import runtime
from gptforge.config import InfoConfig
from gptforge.config.objective import MLM
from gptforge.config.units import shown_bytes, shown_count
from gptforge.data.prepare import prepare
from gptforge.model.cost import active_parameters, cache_bytes, count_parameters, flops_per_token, training_memory
from gptforge.tokenizers import load_tokenizer
from gptforge.tokenizers.mask import with_mask, without_mask
from gptforge.train import initial
from gptforge.train.decisions import as_trained, dropout, expected_steps, length, micro_batch_size
from gptforge.train.parts import order_of

TOKENS_PER_PARAMETER = 20  # about compute-optimal for large models (Hoffmann et al. 2022, arXiv:2203.15556)


def describe(cfg: InfoConfig) -> dict[str, Any]:
    """All figures of a config as JSON values. With cfg.vocab_size the text is not read. Raises UserError."""
    processes = cfg.parallel.processes or 1
    machine = runtime.probe(processes)
    chosen = runtime.choose(cfg.runtime, machine)
    data: dict[str, Any] | None = None
    vocab_size = cfg.vocab_size
    windows = None
    if vocab_size is None:
        begun = initial.find(cfg.init, {}).path if cfg.init else None
        own = without_mask(load_tokenizer(begun, cfg.tokenizer.unknown)) if begun else None
        dataset = prepare(cfg.data, cfg.tokenizer, own, clean=cfg.clean)
        coder = dataset.tokenizer
        vocab_size = (with_mask(coder) if cfg.objective.kind == MLM else coder).vocab_size
        data = {"text": dataset.manifest["label"], "train_tokens": len(dataset.train), "val_tokens": len(dataset.val)}
        if len(dataset.train) > cfg.model.block_size:
            windows = order_of(dataset, cfg).windows_per_epoch
    if windows:
        steps = expected_steps(cfg, length(cfg, windows), chosen, machine, vocab_size)
        masked = dropout(cfg.model.dropout, steps * cfg.train.batch_size / windows)
        cfg = replace(cfg, model=as_trained(cfg.model, masked))
    micro = micro_batch_size(cfg, chosen, machine, vocab_size, processes)
    dtype, device = str(chosen.dtype.value), str(chosen.device.value)
    parts = count_parameters(cfg.model, vocab_size)
    return {
        "vocab_size": vocab_size,
        "parameters": sum(parts.values()),
        "active_parameters": active_parameters(cfg.model, vocab_size),
        "parameters_by_part": parts,
        "flops_per_token": flops_per_token(cfg.model, vocab_size),
        "dtype": dtype,
        "micro_batch_size": micro.value,
        "micro_batch_reason": micro.reason,
        "training_memory_bytes": training_memory(cfg.model, vocab_size, int(micro.value or 1), dtype, device),
        "cache_bytes_per_text": cache_bytes(cfg.model, 1, "float32"),
        "data": data,
        "length": _length(cfg, windows, sum(parts.values()), flops_per_token(cfg.model, vocab_size)),
    }


def _length(cfg: InfoConfig, windows: int | None, parameters: int, flops: int) -> dict[str, Any] | None:
    """How long the run is; None when that needs the text, or is a time."""
    if cfg.train.epochs is not None and windows is None:
        return None
    steps = length(cfg, windows or 0)
    if steps.value is None:
        return None
    tokens = int(steps.value) * cfg.train.batch_size * cfg.model.block_size
    return {
        "steps": steps.value,
        "reason": steps.reason,
        "tokens": tokens,
        "epochs": round(int(steps.value) * cfg.train.batch_size / windows, 3) if windows else None,
        "tokens_per_parameter": round(tokens / parameters, 3),
        "flops": tokens * flops,
    }


def lines(facts: Mapping[str, Any], name: str, encoding: str) -> list[str]:
    """The figures as aligned lines for people."""
    dash = "—" if encoding.lower() in ("utf-8", "utf8") else "-"
    total = facts["parameters"]
    out = [f"{name or 'model'}: {total:,} parameters ({shown_count(total)}), vocabulary {facts['vocab_size']:,}", ""]
    for part, n in facts["parameters_by_part"].items():
        out.append(f"  {part.replace('_', ' '):18} {n:>16,}  {n / total:6.1%}")
    out.append(f"  {'total':18} {total:>16,}")
    if (active := facts["active_parameters"]) != total:
        out.append(f"  {'active in a token':18} {active:>16,}  {active / total:6.1%}")
    out += ["", f"compute     {shown_count(facts['flops_per_token'])} FLOPs a token, forward and backward"]
    memory = facts["training_memory_bytes"]
    out.append(
        f"memory      {shown_bytes(sum(memory.values()))} to train in {facts['dtype']} with micro-batches of "
        f"{facts['micro_batch_size']} ({facts['micro_batch_reason']})"
    )
    out += [f"  {kind.replace('_', ' '):18} {shown_bytes(n):>12}" for kind, n in memory.items()]
    out.append(f"cache       {shown_bytes(facts['cache_bytes_per_text'])} a text when sampling (float32, full context)")
    if data := facts["data"]:
        out.append(f"text        {data['text']}: {data['train_tokens']:,} + {data['val_tokens']:,} tokens")
        out.append(f"            {data['train_tokens'] / total:.2f} training tokens a parameter")
    if run := facts["length"]:
        epochs = f"{run['epochs']:.1f} epochs, " if run["epochs"] else ""
        out.append(
            f"run         {run['steps']:,} steps ({run['reason']}), {epochs}{shown_count(run['tokens'])} tokens,"
        )
        out.append(
            f"            {run['tokens_per_parameter']:.2f} a parameter {dash} large models are compute-optimal near"
        )
        out.append(f"            {TOKENS_PER_PARAMETER}; {run['flops']:.2e} FLOPs in all")
    return out
