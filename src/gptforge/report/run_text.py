"""One run on a terminal: the account of it, in aligned lines. Knows nothing of files."""

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptforge.config.objective import MLM
from gptforge.config.schema import shown
from gptforge.config.units import shown_bytes, shown_count, shown_seconds
from gptforge.history import RUNNING
from gptforge.logs.screen import Screen, visible
from gptforge.logs.series import finite
from gptforge.report.plot import plot

LABEL = 15  # columns of the first one
FIGURES = (  # of the results: key, what it is called, how it is written
    ("best_val_loss", "best val_loss", "{:.4f}"),
    ("val_loss", "val_loss", "{:.4f}"),
    ("train_loss", "train_loss", "{:.4f}"),
    ("val_bpb", "bits per byte", "{:.4f}"),
)
OBVIOUS = "asked for"  # the reason of a decision that needs none


def show(told: Mapping[str, Any], screen: Screen) -> None:
    """The account of a run, part by part; a part of which nothing is known is left out, and said under `missing`."""
    for line in _lines(told, screen):
        screen.line(screen.clean(line))


def _lines(told: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    width = screen.width
    yield f"{told['name']}: {told['status']}{_about(told)}"
    yield from _head(told, width)
    yield from _part("changed", _changes(told["changed"]))
    yield from _part("decided", _decisions(told["decisions"], width))
    yield from _part("loss", _curve(told["curves"], width))
    yield from _part("results", _results(told["results"]))
    yield from _part("checkpoints", _checkpoints(told["checkpoints"]))
    yield from _part("warnings", told["warnings"])
    yield from _part("missing", told["missing"])
    yield from _part("next", told["next"])


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}".rstrip() for line in lines)


def _about(told: Mapping[str, Any]) -> str:
    """The word after the status: why it failed, or when it last gave a sign of life."""
    if told["note"]:
        return f" ({told['note'].splitlines()[0]})"
    if told["status"] == RUNNING and told["last_sign"]:
        return f", its last record {shown_seconds(max(0.0, time.time() - told['last_sign']))} ago"
    return ""


def _head(told: Mapping[str, Any], width: int) -> Iterator[str]:
    """What the run is, one thing a line."""
    count = told["parameters"] or told["results"].get("parameters")
    facts, environment = told["data_facts"], told["environment"]
    took = f", {shown_seconds(told['seconds'])} of training" if finite(told["seconds"]) is not None else ""
    step = told["step"] if told["step"] is not None else told["results"].get("steps")
    steps = told["steps"] or _value(told["decisions"], "steps")
    rows = [
        ("model", _joined(told["model"], f"{shown_count(count)} parameters" if finite(count) is not None else None)),
        ("data", _joined(told["data"], _tokens(facts))),
        ("objective", _objective(told["config"])),
        ("tags", ", ".join(told["tags"])),
        ("began", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(told['began']))}{took}"),
        ("steps", " of ".join(f"{n:,}" for n in (step, steps) if isinstance(n, int))),
        ("machine", _machine(environment)),
        ("weights", str(told["results"].get("weights_sha256") or "")[:64]),
        ("text", str(facts.get("data") or "")[:64]),
        ("typed", " ".join(map(visible, told["typed"]))),
    ]
    for name, value in rows:
        room = max(20, width - LABEL - 2)
        for n, line in enumerate(textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)):
            yield f"  {'' if n else name:{LABEL}}{line}"


def _objective(config: Mapping[str, Any]) -> str:
    """What was learnt, where it was not each next token."""
    held = config.get("objective")
    if not isinstance(held, dict) or held.get("kind") != MLM:
        return ""
    return f"hidden tokens, {finite(held.get('mask_rate')) or 0:.0%} of all; losses are of these alone"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _tokens(facts: Mapping[str, Any]) -> str | None:
    splits = facts.get("splits")
    if not isinstance(splits, dict) or not splits:
        return None
    parts = [splits.get(name) for name in ("train", "val")]
    train, val = (part.get("tokens") if isinstance(part, dict) else None for part in parts)
    if not isinstance(train, int) or not isinstance(val, int):
        return None
    return f"{train:,} + {val:,} tokens of {facts.get('vocab_size')} ({facts.get('tokenizer_kind')})"


def _machine(environment: Mapping[str, Any]) -> str:
    """The environment in one line."""
    named = [f"{name} {environment[name]}" for name in ("gptforge", "torch", "python") if environment.get(name)]
    commit = environment.get("commit")
    cores = environment.get("cores")
    return _joined(
        str(environment.get("device") or ""),
        f"{cores} cores" if cores else None,
        *named,
        f"commit {commit:.10}" if isinstance(commit, str) else None,
    )


def _changes(changed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The keys that are not as they were to begin with, as one would type them."""
    pairs = [(f"{key}={_quoted(entry['value'])}", _quoted(entry["default"])) for key, entry in changed.items()]
    width = max((len(text) for text, _ in pairs), default=0)
    return [f"{text:{width}}  (default {default})" for text, default in pairs]


def _quoted(value: Any) -> str:
    return repr(value) if isinstance(value, str) and value != value.strip() else shown(value)


def _decisions(decisions: Mapping[str, Any], width: int) -> list[str]:
    """What gptforge chose by itself, with the reason, each in one line."""
    known = [(name, one) for name, one in decisions.items() if isinstance(one, dict)]
    rows = [(name, shown(one.get("value")), str(one.get("reason", ""))) for name, one in known]
    rows = [row for row in rows if row[2] != OBVIOUS and row[1] != "null"]
    if not rows:
        return []
    first, second = (max(len(row[n]) for row in rows) for n in (0, 1))
    lines = [f"{name:{first}}  {value:{second}}  {reason}" for name, value, reason in rows]
    return [line if len(line) <= width - 2 else line[: width - 3] + "…" for line in lines]


def _curve(curves: Mapping[str, Any], width: int) -> list[str]:
    train, val = curves["train_loss"], curves["val_loss"]
    lines = plot([("t", train), ("v", val)], width - 2)
    known = [name for name, points in (("t training", train), ("v validation", val)) if points]
    return [*lines, f"{', '.join(known)}: nats per token over steps"] if lines else []


def _results(results: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, name, how in FIGURES:
        if (value := finite(results.get(key))) is not None:
            at = results.get("best_step") if key == "best_val_loss" else None
            lines.append(f"{name:{LABEL}}{how.format(value)}" + (f" at step {at:,}" if isinstance(at, int) else ""))
    for key, name, unit in (("tokens", "tokens", shown_count), ("tokens_per_second", "tokens/s", shown_count)):
        if (value := finite(results.get(key))) is not None:
            lines.append(f"{name:{LABEL}}{unit(value)}")
    if (value := finite(results.get("peak_memory_bytes"))) is not None:
        lines.append(f"{'peak memory':{LABEL}}{shown_bytes(value)}")
    return lines


def _checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> list[str]:
    marks = [", ".join(name for name in ("best", "latest") if one[name]) for one in checkpoints]
    return [
        f"step {one['step']:<8,} {shown_bytes(one['bytes']):>9}  {mark}"
        for one, mark in zip(checkpoints, marks, strict=True)
    ]


def _value(decisions: Mapping[str, Any], name: str) -> Any:
    held = decisions.get(name)
    return held.get("value") if isinstance(held, dict) else None
