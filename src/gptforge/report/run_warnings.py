"""What is to be looked at in a run: that it learns by heart, jumps, numbers that are none, batches passed over.

Knows what run_files.py tells of a run, not how it is shown.
"""

from collections.abc import Iterator, Mapping, Sequence

from gptforge.report.run_files import Told, best_of, number

MARGIN = 0.02  # share by which val_loss is above its best before that is called overfitting
LONG = 2  # evaluations since the best one before that

_COUNTS = (
    ("spikes", "{} step{} had a loss or a gradient norm far above those before"),
    ("nonfinite", "{} step{} had a loss or a gradient that is no finite number"),
    ("passed_over", "{} batch{} passed over: the step would have spoilt the weights"),
    ("rollbacks", "{} time{} the run went back to an earlier checkpoint"),
)


def warnings(told: Told) -> list[str]:
    """All of them, the gravest first, each once."""
    overfit = _overfit(told.evaluations)
    found = [*overfit, *_counted(told.summary)]
    for text in told.log.warnings():
        if not (overfit and text.startswith("the model overfits")):
            found.append(text)
    return found


def _overfit(evaluations: Sequence[Mapping[str, float]]) -> list[str]:
    """Whether val_loss has risen for long while the loss on training text has fallen."""
    best = best_of(evaluations)
    if not best:
        return []
    since = [one for one in evaluations if one["step"] > best["step"]]
    if len(since) < LONG or "train_eval_loss" not in best or "train_eval_loss" not in since[-1]:
        return []
    last = since[-1]
    risen = last["val_loss"] > best["val_loss"] * (1 + MARGIN)
    if not risen or last["train_eval_loss"] >= best["train_eval_loss"]:
        return []
    return [
        f"the model overfits: since step {best['step']:,.0f} the validation loss rose from {best['val_loss']:.3f} to "
        f"{last['val_loss']:.3f} over {len(since)} evaluations, while that on training text fell from "
        f"{best['train_eval_loss']:.3f} to {last['train_eval_loss']:.3f}. More text, model.dropout=0.2, a smaller "
        "model or train.early_stop_patience=2 help"
    ]


def _counted(summary: Mapping[str, object]) -> Iterator[str]:
    for name, text in _COUNTS:
        n = number(summary.get(name))
        if n:
            yield text.format(f"{n:,.0f}", "" if n == 1 else "es" if "batch" in text else "s")
