"""How well an encoder finds hidden tokens of a text: its loss as in training, and a cloze test. Knows no files.

Some tokens, always the same, are put into question as in training (data/masking.py). The loss is of all of these, so
that it is the val_loss of the run; the rest is of those in whose place the mask stood: the others can be seen, or read.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gptforge import runtime as machine
from gptforge.checkpoint import Loaded
from gptforge.config import EvalTextConfig
from gptforge.config.schema import default_of
from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import eval_batches
from gptforge.data.masking import masked, masking_of
from gptforge.errors import ConfigError
from gptforge.evals.figures import Scored, figures, intervals, units
from gptforge.evals.measure import SCHEMA_VERSION, checked, how, windows_of
from gptforge.evals.score import Scores, score
from gptforge.evals.text import Progress, Reader, Text
from gptforge.tokenizers.mask import mask_of, without_mask

OF_DECODERS = ("stride", "passages", "ngram_order", "baseline_tokens", "weights")  # keys that mean nothing here
WANTED = {"loss": "cloze_loss", "accuracy_top1": "cloze_top1", "accuracy_top5": "cloze_top5"}


def measure(
    cfg: EvalTextConfig,
    loaded: Loaded,
    chosen: machine.Runtime,
    warn: Callable[[str], None],
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Everything that is found, as JSON values, in the form of measure.py's. What a decoder alone has is not in it:
    bits per byte, which need the probability of a whole text, baselines, and the loss by what came before.

    Raises DataError for a text that cannot be used, ConfigError for a key that has no meaning here, NumericalError.
    """
    for f in dataclasses.fields(cfg):
        if f.name in OF_DECODERS and getattr(cfg, f.name) != default_of(f):
            raise ConfigError(f"{f.name} is of models that predict next tokens", fix=f"leave {f.name} out")
    report = on_progress or (lambda doing, share: None)
    windows = windows_of(cfg, loaded.config, str(chosen.device.value))
    text, _, warnings = Reader(loaded.path, loaded.config, without_mask(loaded.tokenizer), on_progress).read(
        cfg.data, cfg.split
    )
    for warning in warnings:
        warn(warning)
    began = time.perf_counter()
    plain = eval_batches(text.tokens, windows.block_size, windows.batch_size, documents=windows.documents(text))
    batches = list(masked(plain, masking_of(loaded.config.objective, loaded.tokenizer, None)))
    n, done = sum(batch.learnt for batch in batches), 0

    def count(scored: int) -> None:
        nonlocal done
        done += scored
        report("evaluating", done / n)

    with machine.out_of_memory_as_error(f"batch_size={max(1, windows.batch_size // 4)}", "runtime.device=cpu"):
        scores = checked(score(loaded.model, batches, lambda: machine.autocast(chosen), count))
    seconds = time.perf_counter() - began
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": {"path": str(loaded.path), "step": loaded.step},
        "objective": dataclasses.asdict(loaded.config.objective),
        "text": _facts(text, n),
        "how": how(windows, chosen, text),
        **_figures(cfg, text, scores, batches, mask_of(loaded.tokenizer), windows.block_size),
        "baselines": [],
        "by_context": [],
        "by_source": [],
        "passages": {"worst": [], "best": []},
        "warnings": warnings,
        "seconds": seconds,
        "tokens_per_second": n / seconds,
    }


def _facts(text: Text, n: int) -> dict[str, Any]:
    return {
        "label": text.label, "split": text.split, "sha256": text.sha256, "tokens": len(text.tokens),
        "scored_tokens": n, "documents": len(text.starts), "files": len(set(text.names)), "left_out": text.left_out,
    }  # fmt: skip


def _figures(
    cfg: EvalTextConfig, text: Text, scores: Scores, batches: list[Batch], mask: int, block_size: int
) -> dict[str, Any]:
    """The figures, and their intervals from drawing stretches of the text."""
    asked = np.concatenate([(batch.labels != IGNORE).numpy().ravel() for batch in batches])
    inputs = np.concatenate([batch.inputs.numpy().ravel() for batch in batches])
    at = np.flatnonzero(asked)  # of each scored token which label it is, for windows follow each other
    hidden = inputs[at] == mask
    alone = Scores(scores.nats[hidden], scores.hits[hidden])
    drawn = units(len(text.tokens) - 1, text.starts, block_size)
    found: dict[str, Any] = {"hidden_tokens": int(hidden.sum()), "intervals": {}}
    resamples = 0
    for of, places, names in ((scores, at, {"loss": "loss"}), (alone, at[hidden], WANTED)):
        if not len(places):  # objective.mask_fraction=0 hides nothing
            continue
        scored = Scored(of, np.zeros((len(places), 2), dtype=np.int64))
        starts = np.unique(np.searchsorted(places, drawn.starts))
        sums = scored.sums(starts[starts < len(places)])
        whole = figures(sums.sum(0))
        between = intervals(sums, cfg.resamples, cfg.confidence, cfg.seed)
        resamples = cfg.resamples if between else resamples
        found |= {name: float(whole[key]) for key, name in names.items()}
        found["intervals"] |= {name: list(between[key]) for key, name in names.items() if key in between}
    of_them = {"units": drawn.what, "n_units": len(drawn.starts), "resamples": resamples}
    return found | {"bootstrap": of_them | {"confidence": cfg.confidence, "seed": cfg.seed}}
