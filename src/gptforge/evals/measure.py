"""One evaluation, from a checkpoint and a text to everything that is told of it. Knows neither terminal nor files."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gptforge import __version__
from gptforge import runtime as machine
from gptforge.checkpoint import Loaded
from gptforge.config import EvalTextConfig, TrainConfig
from gptforge.data.leakage import overlap, run_length
from gptforge.data.loader import eval_batches, n_eval_windows
from gptforge.errors import ConfigError, NumericalError
from gptforge.evals.baselines import baselines
from gptforge.evals.breakdown import by_context, by_source, passages
from gptforge.evals.figures import Scored, figures, intervals, token_sizes, units
from gptforge.evals.score import Scores, score, tokens_before
from gptforge.evals.text import Learnt, Progress, Reader, Text
from gptforge.sampling import quantize

SCHEMA_VERSION = 1
TOKENS_AT_ONCE = {"cpu": 1 << 13, "mps": 1 << 14, "cuda": 1 << 16}
SEEN_SHARE = 0.05  # from here on a text counts as one that was partly learnt
SLOW = 3  # times that a token is read, and above: said before it begins


@dataclasses.dataclass(frozen=True, slots=True)
class Windows:
    """How a text is cut: windows of `block_size` tokens that begin `stride` apart, `batch_size` at once.

    `pack` is what a token sees of its window: the text before it, or its own document only ("documents").
    """

    block_size: int
    stride: int
    batch_size: int
    pack: str

    def documents(self, text: Text) -> np.ndarray | None:
        """The first token of each document that tokens do not see beyond, if so."""
        return text.starts if self.pack == "documents" else None

    def times_read(self, n_tokens: int) -> float:
        """How often each token is read: what the context costs."""
        return n_eval_windows(n_tokens, self.block_size, self.stride) * self.block_size / (n_tokens - 1)


def measure(
    cfg: EvalTextConfig,
    loaded: Loaded,
    chosen: machine.Runtime,
    warn: Callable[[str], None],
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Everything that is found, as JSON values. `warn` is told what the user should know before it begins.

    Raises DataError for a text that cannot be used, ConfigError for a stride that leaves tokens out, NumericalError
    for a model whose loss is not finite.
    """
    report = on_progress or (lambda doing, share: None)
    windows = windows_of(cfg, loaded.config, str(chosen.device.value))
    reader = Reader(loaded.path, loaded.config, loaded.tokenizer, on_progress)
    text, learnt, warnings = reader.read(cfg.data, cfg.split)
    if text.left_out:
        did = "left out" if cfg.tokenizer.unknown == "skip" else "replaced by a stand-in"
        warnings.append(f"{text.left_out:,} characters that the vocabulary lacks are {did}")
    sizes = token_sizes(loaded.tokenizer)[text.tokens[1:]]
    length = run_length(int(sizes[:, 0].sum()), len(sizes))
    shared = None if learnt.tokens is None else overlap(learnt.tokens, text.tokens, text.starts, length)
    seen = shared.share if shared and shared.runs else None
    if seen is not None and seen >= SEEN_SHARE and not learnt.predicted:
        warnings.append(f"{seen:.1%} of the passages of {length} tokens are in the training text too, word for word")
    times = windows.times_read(len(text.tokens))
    slow = f"stride={windows.stride}: each token is read {times:.0f} times, which takes so many times as long"
    for warning in [*warnings, *([slow] if times >= SLOW else [])]:
        warn(warning)
    unrounded = _unrounded_loss(cfg, loaded, text, windows, chosen, report)
    began = time.perf_counter()
    scored = Scored(_scores(loaded, text, windows, chosen, report), sizes)
    seconds = time.perf_counter() - began
    facts = _facts(text, scored) | {"seen_share": seen, "seen_length": length, "training_text": learnt.why or "known"}
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": {"path": str(loaded.path), "step": loaded.step},
        "text": facts,
        "how": how(windows, chosen, text) | {"weights": cfg.weights, "loss_of_float_weights": unrounded},
        **_figures(cfg, text, scored, windows.block_size),
        "baselines": _baselines(cfg, text, learnt, loaded, report),
        **_breakdown(cfg, text, scored, windows, loaded),
        "warnings": warnings,
        "seconds": seconds,
        "tokens_per_second": len(sizes) / seconds,
    }


def windows_of(cfg: EvalTextConfig, trained: TrainConfig, device: str) -> Windows:
    block_size = trained.model.block_size
    stride = cfg.stride or block_size
    if stride > block_size:
        raise ConfigError(
            f"stride={stride}: windows that far apart leave tokens out",
            where=f"the model's block_size is {block_size}",
            fix=f"stride={block_size} or less",
        )
    batch_size = cfg.batch_size or max(1, TOKENS_AT_ONCE[device] // block_size)
    return Windows(block_size, stride, batch_size, cfg.data.pack or trained.data.pack)


def _scores(loaded: Loaded, text: Text, windows: Windows, chosen: machine.Runtime, report: Progress) -> Scores:
    size, stride = windows.block_size, windows.stride
    batches = eval_batches(text.tokens, size, windows.batch_size, stride=stride, documents=windows.documents(text))
    n_labels, done = len(text.tokens) - 1, 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        report("evaluating", done / n_labels)

    with machine.out_of_memory_as_error(f"batch_size={max(1, windows.batch_size // 4)}", "runtime.device=cpu"):
        return checked(score(loaded.model, batches, lambda: machine.autocast(chosen), count))


def checked(scores: Scores) -> Scores:
    """The scores. Raises NumericalError if they are not finite."""
    bad = ~np.isfinite(scores.nats)
    if bad.any():
        raise NumericalError(
            f"the model's loss is not finite for {int(bad.sum()):,} of {len(bad):,} tokens",
            where=f"first at token {int(bad.argmax()) + 1:,} of the text",
            fix=["runtime.dtype=float32", "an earlier checkpoint: ckpt=PATH"],
        )
    return scores


def _unrounded_loss(
    cfg: EvalTextConfig, loaded: Loaded, text: Text, windows: Windows, chosen: machine.Runtime, report: Progress
) -> float | None:
    """With weights=int8 the loss before the weights are rounded, in place, for what follows; else None."""
    if cfg.weights is None:
        return None
    loss = float(_scores(loaded, text, windows, chosen, report).nats.mean())
    quantize(loaded.model)
    return loss


def _facts(text: Text, scored: Scored) -> dict[str, Any]:
    n_bytes, n_characters = scored.sizes.sum(0).tolist()
    return {
        "label": text.label,
        "split": text.split,
        "sha256": text.sha256,
        "tokens": len(text.tokens),
        "scored_tokens": len(scored.sizes),
        "scored_bytes": n_bytes,
        "scored_characters": n_characters,
        "documents": len(text.starts),
        "files": len(set(text.names)),
        "left_out": text.left_out,
    }


def how(windows: Windows, chosen: machine.Runtime, text: Text) -> dict[str, Any]:
    return {
        **dataclasses.asdict(windows),
        "least_context": windows.block_size - windows.stride,
        "times_read": windows.times_read(len(text.tokens)),
        "device": chosen.device.value,
        "dtype": chosen.dtype.value,
        "threads": chosen.threads.value,
        "gptforge": __version__,
        "torch": torch.__version__,
    }


def _figures(cfg: EvalTextConfig, text: Text, scored: Scored, block_size: int) -> dict[str, Any]:
    """The figures of the whole text, and their intervals."""
    drawn = units(len(scored.sizes), text.starts, block_size)
    sums = scored.sums(drawn.starts)
    found = intervals(sums, cfg.resamples, cfg.confidence, cfg.seed)
    return {
        **{name: float(value) for name, value in figures(scored.sums(np.zeros(1, dtype=np.int64))[0]).items()},
        "intervals": {name: list(bounds) for name, bounds in found.items()},
        "bootstrap": {
            "units": drawn.what,
            "n_units": len(sums),
            "resamples": cfg.resamples if found else 0,
            "confidence": cfg.confidence,
            "seed": cfg.seed,
        },
    }


def _baselines(
    cfg: EvalTextConfig, text: Text, learnt: Learnt, loaded: Loaded, report: Progress
) -> list[dict[str, Any]]:
    if not cfg.baselines:
        return []

    def tell(share: float) -> None:
        report("comparing", share)

    found = baselines(text.tokens, learnt.tokens, loaded.tokenizer, cfg.ngram_order, cfg.baseline_tokens, tell)
    return [dataclasses.asdict(baseline) for baseline in found]


def _breakdown(cfg: EvalTextConfig, text: Text, scored: Scored, windows: Windows, loaded: Loaded) -> dict[str, Any]:
    before = tokens_before(len(scored.sizes), windows.block_size, windows.stride, windows.documents(text))
    several = len(set(text.names)) > 1

    def text_of(first: int, end: int) -> str:
        return loaded.tokenizer.decode(text.tokens[first:end])

    return {
        "by_context": by_context(scored, before),
        "by_source": by_source(scored, text.starts, text.names) if several else [],
        "passages": passages(scored, cfg.passages, text.starts, text.names, text_of),
    }
