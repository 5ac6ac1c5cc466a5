"""What will run and why, as people and files are told: the table before step 1, env.json, the fingerprint."""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

import gptforge
from gptforge.config import TrainConfig
from gptforge.config.model import divisors
from gptforge.config.objective import MLM
from gptforge.config.units import shown_bytes, shown_count
from gptforge.data.mixture import MixedOrder
from gptforge.errors import CheckpointError
from gptforge.interop.express import nearest_family
from gptforge.logs import Plan
from gptforge.model.cost import active_parameters, count_parameters, flops_per_token, training_memory
from gptforge.runs import Run
from gptforge.runtime import peak_memory
from gptforge.tokenizers.mask import without_mask
from gptforge.train.context import lengths
from gptforge.train.decisions import Decisions, as_trained
from gptforge.train.parts import Parts
from gptforge.train.state import TrainState

INIT_LOSS_MARGIN = 0.5  # nats around ln(vocab_size) in which an initial loss is ordinary
FEW = 4  # parts that are named of a model which cannot be exported; `gptforge export` names all
REFUSED = {"data": "the text", "tokenizer": "the tokenizer"}  # parts of the fingerprint that may not change


def make_plan(cfg: TrainConfig, parts: Parts, choices: Mapping[str, str], run_dir: str) -> Plan:
    """The table of what will run."""
    d, data = parts.decisions, parts.dataset
    vocab = parts.tokenizer.vocab_size
    parameters = sum(p.numel() for p in parts.model.parameters())
    steps = int(d.steps.value) if d.steps.value is not None else None
    per_step = cfg.train.batch_size * cfg.model.block_size
    warmup = int(d.context_warmup.value or 0)
    micro, processes = int(d.micro_batch_size.value or 1), int(d.processes.value or 1)
    device, dtype = str(d.runtime.device.value), str(d.runtime.dtype.value)
    memory = sum(training_memory(as_trained(cfg.model, d.dropout), vocab, micro, dtype, device).values())
    shape = f"{cfg.model.n_layer} layers, {cfg.model.n_head} heads, width {cfg.model.n_embd}{_experts(cfg, vocab)}"
    muon = cfg.optimizer.kind == "muon"
    rows = [
        ("data", f"{data.manifest['label']}: {len(data.train):,} + {len(data.val):,} tokens", "training + validation"),
        *_shares(cfg, parts, steps),
        *_packing(cfg, parts),
        ("tokenizer", f"{without_mask(parts.tokenizer).kind}, {vocab} tokens", "tokenizer.kind"),
        *_objective(cfg),
        ("model", f"{choices.get('model', '')} {shown_count(parameters)} parameters".strip(), shape),
        *([("begins with", d.init.reason, "init")] if d.init else []),
        ("context", f"{cfg.model.block_size} tokens", _context(cfg.model.block_size, warmup, steps)),
        ("dropout", f"{d.dropout.value:g}", d.dropout.reason),
        ("length", f"{steps:,} steps" if steps else f"{cfg.train.time}", d.steps.reason),
        (
            "batch",
            f"{cfg.train.batch_size} sequences, {per_step:,} tokens",
            _accumulation(cfg.train.batch_size, micro, processes),
        ),
        *_amount(cfg, parts, steps, parameters),
        ("micro-batch", str(micro), d.micro_batch_size.reason),
        (
            "optimizer",
            f"{cfg.optimizer.kind}, lr {cfg.optimizer.lr:g}" + (f" and {cfg.optimizer.muon_lr:g}" if muon else ""),
            f"{cfg.schedule.kind}, {d.warmup_steps.value} warm-up",
        ),
        *_machine_rows(d),
        ("memory", f"about {shown_bytes(memory)}", f"of {_free(parts, processes)}"),
        ("evaluate", f"every {d.eval_every.value} steps" if d.eval_every.value else "by time", d.eval_every.reason),
    ]
    rows += _export(cfg)
    if cfg.train.stop_after:
        rows.append(("stop after", cfg.train.stop_after, "train.stop_after; resumable"))
    return Plan("what will run, and why", rows, run_dir)


def _export(cfg: TrainConfig) -> list[tuple[str, str, str]]:
    """That other programs cannot have the model, if so, and for which of its parts."""
    name, lacking, instead = nearest_family(cfg.model)
    if not lacking:
        return []
    reason = f"no family of transformers has {' '.join(lacking[:FEW])}; {name} has {' '.join(instead[:FEW])}"
    if more := lacking[FEW:]:
        reason += f"; and {len(more)} more"
    return [("export", "not as hf or gguf", reason)]


def _experts(cfg: TrainConfig, vocab: int) -> str:
    """How much of a model with experts each token passes through."""
    if not cfg.model.n_moe_layer:
        return ""
    moe, active = cfg.model.moe, shown_count(active_parameters(cfg.model, vocab))
    shared = f" and {moe.n_shared} shared" if moe.n_shared else ""
    return f"; {moe.top_k} of {moe.n_expert}{shared} experts, {active} active"


def _objective(cfg: TrainConfig) -> list[tuple[str, str, str]]:
    """What is learnt, where it is not each next token."""
    if cfg.objective.kind != MLM:
        return []
    share = f"{cfg.objective.mask_rate:.0%} of the tokens, by those on both sides"
    return [("objective", share, "losses are of these alone; such a model writes no text")]


def _context(block_size: int, warmup: int, steps: int | None) -> str:
    """Which shorter sequences a run begins with."""
    *short, _ = lengths(warmup, block_size)
    first = ", then ".join(map(str, short))
    if not short:
        return "model.block_size"
    return f"{first} in the first {min(warmup, -(-(steps or math.inf) // 2)):.0f} steps"


def _amount(cfg: TrainConfig, parts: Parts, steps: int | None, parameters: int) -> list[tuple[str, str, str]]:
    """How much a run of known length learns."""
    if not steps:
        return []
    tokens = steps * cfg.train.batch_size * cfg.model.block_size
    epochs = steps * cfg.train.batch_size / parts.loader.windows_per_epoch
    flops = tokens * flops_per_token(cfg.model, parts.tokenizer.vocab_size)
    return [
        ("tokens", f"{shown_count(tokens)}, {epochs:.1f} epochs", f"{tokens / parameters:.1f} a parameter"),
        ("compute", f"{flops:.2e} FLOPs", "forward and backward"),
    ]


def _shares(cfg: TrainConfig, parts: Parts, steps: int | None) -> list[tuple[str, str, str]]:
    """Of several texts with weights: how much of what is learnt each is, and how often it is read."""
    order = parts.loader.order
    if not isinstance(order, MixedOrder):
        return []
    samples = (steps or 0) * cfg.train.batch_size
    each = zip(cfg.data.sources, order.shares, order.passes(samples), strict=True)
    told = [f"{source.path} {share:.0%}" + (f" ({n:.1f} passes)" if steps else "") for source, share, n in each]
    return [("texts", ", ".join(told), "data.sources")]


def _packing(cfg: TrainConfig, parts: Parts) -> list[tuple[str, str, str]]:
    """Whether tokens see beyond their document."""
    n = len(parts.dataset.train_starts)
    return [("packing", f"each token sees its own of {n:,} documents", "data.pack")] if cfg.data.pack != "text" else []


def _free(parts: Parts, processes: int) -> str:
    free = shown_bytes(parts.machine.memory_of(str(parts.decisions.runtime.device.value)))
    return f"{free} free{' for each process' if processes > 1 else ''}"


def _machine_rows(d: Decisions) -> list[tuple[str, str, str]]:
    """What the run computes with."""
    runtime = d.runtime
    rows = [
        ("device", str(runtime.device.value), runtime.device.reason),
        ("dtype", str(runtime.dtype.value), runtime.dtype.reason),
        ("compile", "yes" if runtime.compile.value else "no", runtime.compile.reason),
        ("threads", str(runtime.threads.value), runtime.threads.reason),
        ("allocator", "tuned" if runtime.allocator.value else "as it is", runtime.allocator.reason),
    ]
    if runtime.tf32.value is not None:
        rows.insert(2, ("TF32", "yes" if runtime.tf32.value else "no", runtime.tf32.reason))
    if int(d.processes.value or 1) > 1:
        rows.insert(0, ("processes", str(d.processes.value), d.processes.reason))
    return rows


def _accumulation(batch: int, micro: int, processes: int) -> str:
    several, parts = f"{processes} processes" if processes > 1 else "", batch // processes // micro
    if parts == 1:
        return several or "at once"
    return f"{several}{' x ' if several else ''}{parts} micro-batches"


def warnings(cfg: TrainConfig, parts: Parts) -> list[str]:
    """What the user should know before the run."""
    found = list(parts.dataset.warnings)
    if cfg.model.attention.dropout > 0:
        found.append("model.attention.dropout switches off the fused attention kernel; steps are much slower")
    if cfg.model.n_moe_layer and not (cfg.model.moe.bias and cfg.model.moe.bias_rate):
        found.append("nothing keeps the loads of the experts even: some may stay unused (model.moe.bias=true does)")
    parameters = sum(count_parameters(cfg.model, parts.tokenizer.vocab_size).values())
    if parameters > 20 * len(parts.dataset.train):
        tokens = shown_count(len(parts.dataset.train))
        found.append(f"{shown_count(parameters)} parameters for {tokens} tokens of text: expect overfitting")
    return found


def strange_start(loss: float, vocab_size: int) -> str:
    """A warning about an initial loss that is not that of guessing; empty when it is."""
    expected = math.log(vocab_size)
    if abs(loss - expected) <= INIT_LOSS_MARGIN:
        return ""
    return (
        f"the initial loss is {loss:.3f}, but guessing evenly gives ln(vocabulary) = {expected:.3f}: "
        "look at model.init_std and model.init_residual"
    )


def ways_to_less_memory(share: int, micro: int) -> list[str]:
    """What to type when training does not fit; `share` is what a process computes of a batch."""
    smaller = [d for d in divisors(share) if d < micro]
    first = f"train.micro_batch_size={smaller[-1]} (now {micro})" if smaller else ""
    return [first, "a smaller model, or a smaller model.block_size"]


def summary(status: str, state: TrainState, parts: Parts, device: torch.device) -> dict[str, Any]:
    """summary.json, but for what is known only at the end."""
    return {
        "status": status,
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 3),
        "tokens_per_second": round(state.tokens / state.seconds, 1) if state.seconds else None,
        "train_loss": state.train_loss,
        "val_loss": state.val_loss,
        "best_val_loss": state.best_val_loss,
        "best_step": state.best_step,
        "val_bpb": state.val_bpb,
        "spikes": state.watch.spikes,
        "nonfinite": state.watch.nonfinite,
        "passed_over": state.watch.passed_over,
        "rollbacks": state.watch.rollbacks,
        "changed_on_the_way": state.changed_on_the_way,
        "peak_memory_bytes": peak_memory(device),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
    }


def next_commands(run: Run, status: str, best_step: int | None, step: int, writes: bool = True) -> list[str]:
    """What to type after a run of a model that writes, or does not."""
    name, verb = run.pointer_name, "sample" if writes else "eval"
    if status != "done":
        return [f"gptforge train resume={name}"]
    commands = [f"gptforge {verb} ckpt={name}"]
    if best_step not in (None, step):
        commands.append(f"gptforge {verb} ckpt={name}/best")
    return commands


def data_facts(parts: Parts) -> dict[str, Any]:
    """data.json: what is learnt, by content. Equal `validation` is equal text, equal `data` equal tokens too.

    People's own data sets may know less of themselves than those that were prepared here.
    """
    held, counted = parts.dataset.manifest, ("tokens", "documents", "characters", "bytes")
    splits = {name: {key: split.get(key) for key in counted} for name, split in held.get("splits", {}).items()}
    validation = None
    if "content_sha256" in held and "val" in splits:
        how = [held.get(key) for key in ("content_sha256", "val_documents_sha256", "val_fraction", "unknown")]
        text = [*how, splits["val"]["documents"], splits["val"]["bytes"]]
        validation = hashlib.sha256(json.dumps(text).encode()).hexdigest()
    return {
        "label": held.get("label"),
        "data": parts.dataset.fingerprint,
        "validation": validation,
        "tokenizer": parts.tokenizer.fingerprint,
        "tokenizer_kind": without_mask(parts.tokenizer).kind,
        "vocab_size": parts.tokenizer.vocab_size,
        "splits": splits,
    }


def environment(parts: Parts) -> dict[str, Any]:
    """env.json: versions, commit, hardware. Environment variables are not in it, for they may hold secrets."""
    return {
        "gptforge": gptforge.__version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": parts.machine.name,
        "cores": parts.machine.cores,
        "logical_cpus": os.cpu_count(),
        "memory_free_bytes": parts.machine.memory,
        "cuda_memory_free_bytes": parts.machine.cuda_memory,
        "cuda": torch.version.cuda,
    }


def _commit() -> str | None:
    """The commit of an editable checkout; None for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def fingerprint(parts: Parts) -> dict[str, Any]:
    """What must be equal for a resumed run to be bit for bit the same."""
    runtime = parts.decisions.runtime
    return {
        "data": parts.dataset.fingerprint,
        "tokenizer": parts.tokenizer.fingerprint,
        "torch": torch.__version__,
        "device": f"{runtime.device.value} {parts.machine.name}",
        "dtype": runtime.dtype.value,
        "threads": runtime.threads.value,
        "compile": runtime.compile.value,
        "tf32": runtime.tf32.value,
        "micro_batch_size": parts.decisions.micro_batch_size.value,
        "world_size": parts.decisions.processes.value,
    }


def refuse_other(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError where the fingerprint of a checkpoint is that of another text or tokenizer."""
    for key, name in REFUSED.items():
        if before.get(key) != now[key]:
            what = f"{name} is not the one this run was trained on"
            raise CheckpointError(what, where=str(path), fix="start a new run on it")
