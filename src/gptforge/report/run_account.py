"""What one run says of itself, part by part, whatever state it is in: as JSON values, for pages and terminals.

A part that is missing or damaged is named under `missing`, and the rest is there. Knows not how any of it is shown.
"""

import contextlib
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptforge.config import TrainConfig
from gptforge.config.objective import MLM
from gptforge.config.schema import flatten, leaves
from gptforge.errors import CheckpointError
from gptforge.history import BROKEN, DEAD, DONE, RUNNING, Entry, read
from gptforge.jsonfile import read_json
from gptforge.logs.files import read_metrics
from gptforge.logs.series import OVERFIT_MARGIN, points
from gptforge.option_files import with_options
from gptforge.runs import Run

COUNTS = {
    "spikes": "losses or gradient norms far above those before (spikes): a smaller optimizer.lr may help",
    "nonfinite": "losses or gradients that were not finite",
    "passed_over": "batches were passed over",
    "rollbacks": "times the run went back to a checkpoint",
}


def account(run: Run) -> dict[str, Any]:
    """Everything about a run. Raises nothing for a broken one."""
    missing: list[str] = []
    entry = read(run.pointer_name, run)
    saved = _read(run.config, "the run's config", missing)
    summary = _read(run.summary, "the summary", missing)
    records = metrics(run, missing)
    told: dict[str, Any] = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    told |= {
        "path": str(run.path),
        "last_sign": _changed_at(run.metrics),
        "typed": _typed(run),
        "changed": changed(saved),
        "decisions": _read(run.decisions, "the decisions", missing),
        "results": _results(records, summary, ended=entry.status not in (RUNNING, DEAD)),
        "config": saved.get("config") if isinstance(saved.get("config"), dict) else {},
        "data_facts": facts(run, missing),
        "curves": {name: points(records, name) for name in ("train_loss", "val_loss")},
        "checkpoints": list(checkpoints(run)),
        "environment": _read(run.environment, "the environment", missing),
        "warnings": list(warnings(records, summary)),
        "missing": missing,
    }
    return told | {"next": _next(run, entry, told["checkpoints"], summary)}


def metrics(run: Run, missing: list[str]) -> list[dict[str, Any]]:
    """The records of a run; none, and a word about it, where they cannot be read."""
    try:
        if not run.metrics.exists():
            missing.append("metrics.jsonl is missing")
        return read_metrics(run.metrics)
    except CheckpointError as e:
        missing.append(f"metrics.jsonl: {e.what}")
    except OSError as e:
        missing.append(f"metrics.jsonl cannot be read: {e.strerror}")
    return []


def facts(run: Run, missing: list[str]) -> dict[str, Any]:
    """What text was learnt: data.json, or of an older run the fingerprint in its newest checkpoint."""
    if found := _read(run.data, "what is known of the text", missing):
        return found
    with contextlib.suppress(CheckpointError, OSError, LookupError, AttributeError):
        state = read_json(run.newest_first()[0] / "state.json", "the training state")
        return {name: state["fingerprint"].get(name) for name in ("data", "tokenizer")}
    return {}


def changed(saved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys whose value is not that of the defaults and the options chosen: {key: {value, default}}."""
    config, choices = saved.get("config"), saved.get("choices")
    if not isinstance(config, dict):
        return {}
    chosen = {str(k): str(v) for k, v in choices.items()} if isinstance(choices, dict) else {}
    usual, found = flatten(with_options(TrainConfig, chosen)), flatten(config)
    keys = [leaf.name for leaf in leaves(TrainConfig) if leaf.name in found]
    return {key: {"value": found[key], "default": usual[key]} for key in keys if found[key] != usual[key]}


def checkpoints(run: Run) -> Iterator[dict[str, Any]]:
    """Each checkpoint's step and size, and whether it is the best or the latest."""
    try:
        steps, best = run.steps(), run.pointer("best")
    except OSError:
        return
    for step in steps:
        size = size_of(run.checkpoint(step))
        yield {"step": step, "bytes": size, "best": step == best, "latest": step == steps[-1]}


def size_of(path: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def warnings(records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it should be in the course of a run."""
    val, train = points(records, "val_loss"), dict(points(records, "train_eval_loss"))
    if val:
        best, last = min(val, key=lambda point: point[1]), val[-1]
        fell = train.get(last[0], 0.0) < train.get(best[0], 0.0)
        if fell and last[1] > best[1] * (1 + OVERFIT_MARGIN):
            yield (
                f"overfit: since step {best[0]:.0f} val_loss rose from {best[1]:.4f} to {last[1]:.4f} while the loss"
                " on training text fell; the best checkpoint is the one to use"
            )
    for name, what in COUNTS.items():
        count = summary.get(name)
        if isinstance(count, int) and count > 0:
            yield f"{count:,} {what}"


def _next(run: Run, entry: Entry, saved: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[str]:
    """What to type next."""
    name, verb = shlex.quote(run.pointer_name), "eval" if entry.objective == MLM else "sample"
    if entry.status == BROKEN and saved:  # a start mends what it can; a checkpoint has its own config
        newest = shlex.quote(str(run.checkpoint(saved[-1]["step"])))
        mended = [f"gptforge train resume={name}"] if run.config.is_file() else []
        return [*mended, f"gptforge {verb} ckpt={newest}"]
    if entry.status == BROKEN:
        return [f"gptforge runs rm {name}"]
    if entry.status == RUNNING:
        return [f"gptforge show {name}"]
    if entry.status != DONE:
        again = [f"gptforge train resume={name}"]
        return [*again, f"gptforge {verb} ckpt={name}"] if saved else again
    if not saved:
        return [f"gptforge train config={shlex.quote(str(run.config))}"]
    commands = [*dict.fromkeys((f"gptforge {verb} ckpt={name}", f"gptforge eval ckpt={name}"))]
    best = next((one["step"] for one in saved if one["best"]), None)
    if best is not None and best != summary.get("steps"):
        commands.insert(0, f"gptforge {verb} ckpt={name}/best")
    return commands


def _results(records: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], ended: bool) -> dict[str, Any]:
    """The last values there are. The summary has the last word, but for a run that has not ended."""
    newest: dict[str, Any] = {}
    for record in records:
        newest |= _known(record)
    if "step" in newest:
        newest["steps"] = newest.pop("step")
    if val := points(records, "val_loss"):
        step, loss = min(val, key=lambda point: point[1])
        newest |= {"best_val_loss": loss, "best_step": int(step)}
    said = _known(summary)
    return newest | said if ended else said | newest


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are there; a number that is none, which JSON has no sign for, is not."""
    return {k: v for k, v in values.items() if v is not None and (not isinstance(v, float) or math.isfinite(v))}


def _read(path: Path, what: str, missing: list[str]) -> dict[str, Any]:
    try:
        return read_json(path, what)
    except CheckpointError as e:
        missing.append(f"{path.name}: {e.what}" if path.exists() else f"{path.name} is missing")
        return {}


def _typed(run: Run) -> list[str]:
    """What was typed, one word each, over all starts."""
    try:
        return (run.path / "overrides.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _changed_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
