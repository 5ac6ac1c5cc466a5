"""What a run was made of, as parts of its page: config, decisions, text, machine; its log, and what eval found.

Knows what run_files.py tells of a run. A value of another kind than gptforge writes raises one of the errors that
run_page.py expects.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptforge.config import TrainConfig
from gptforge.config.schema import flatten, leaves, shown
from gptforge.config.units import shown_bytes
from gptforge.report import charts
from gptforge.report.html import Markup, details, element, joined, name_of, quoted, table
from gptforge.report.page import paragraph
from gptforge.report.run_files import Told, number

LONGEST = 300  # characters of a value
LINES = 200  # of the log
CLOZE_NAMES = {
    "cloze_loss": "loss of those the mask hid", "cloze_top1": "of these, right",
    "cloze_top5": "of these, among the first 5",
}  # fmt: skip
NAMES = {"loss": "loss", "perplexity": "perplexity", "bits_per_byte": "bits per byte"}


def config(told: Told) -> Iterator[Markup]:
    """What was typed, which options were chosen, and the keys that are not at their defaults."""
    if told.typed:
        yield paragraph("Typed: ", joined(_apart([quoted(word) for word in told.typed])))
    elif told.config:
        yield paragraph("Nothing was typed: everything is as gptforge chooses it.")
    if told.choices:
        chosen = [element("code", f"{group}={option}") for group, option in told.choices.items()]
        yield paragraph("Options: ", joined(_apart(chosen)))
    if not told.config:
        return
    defaults = {leaf.name: leaf for leaf in leaves(TrainConfig)}
    values = flatten(told.config)
    words = {word.partition("=")[0].lstrip("+~") for word in told.typed}
    changed = []
    for name, value in values.items():
        leaf = defaults.get(name)
        if leaf is None or value != _plain(leaf.default):
            typed = "typed" if {name, name.rpartition(".")[2]} & words else ""
            changed.append((name, _value(value), "no such key here" if leaf is None else _value(leaf.default), typed))
    if changed:
        yield table("Keys that are not at their defaults", ("key", "value", "default", ""), changed)
    rows = [(name, _value(value)) for name, value in values.items()]
    yield details(f"All {len(rows):,} keys", table("The whole config", ("key", "value"), rows), class_="long")


def _plain(default: Any) -> Any:
    """A default as JSON gives it back."""
    return list(default) if isinstance(default, tuple) else default


def _value(value: Any) -> Markup:
    text = shown(value) if not isinstance(value, str) else value
    return quoted(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _apart(parts: Sequence[Markup]) -> list[str]:
    return [piece for n, part in enumerate(parts) for piece in ((" ", part) if n else (part,))]


def decisions(told: Told) -> Iterator[Markup]:
    """What was left to gptforge, with its reasons."""
    if told.decisions:
        rows = [
            (name.replace("_", " "), _value(one["value"]), str(one["reason"])) for name, one in told.decisions.items()
        ]
        yield table("Automatic choices", ("what", "value", "why"), rows)


def data(told: Told) -> Iterator[Markup]:
    """Which text, and by which fingerprints it and its tokens are known again."""
    wanted = ("data", "texts", "packing", "tokenizer", "length", "batch", "tokens", "compute")
    rows = [(what, value, reason) for what, value, reason in told.log.plan if what in wanted]
    if rows:
        yield table("As it was planned", ("what", "", ""), rows)
    known = [(name, told.fingerprint[name]) for name in ("data", "tokenizer") if told.fingerprint.get(name)]
    if known:
        yield paragraph("Equal fingerprints have equal text, split and tokens:")
        yield table("Fingerprints", ("of", "SHA-256"), [(name, element("code", str(sha))) for name, sha in known])


def environment(told: Told) -> Iterator[Markup]:
    """Versions and the machine."""
    rows = []
    for name, value in told.environment.items():
        if name.endswith("_bytes") and number(value) is not None:
            name, value = name.removesuffix("_bytes"), shown_bytes(float(value))
        if value not in (None, ""):
            rows.append((name.replace("_", " "), name_of(value if isinstance(value, str) else shown(value))))
    if rows:
        yield table("Versions and machine", ("what", ""), rows)
    if sha := told.summary.get("weights_sha256"):
        yield paragraph("SHA-256 of the weights: ", element("code", str(sha)))


def log(told: Told) -> Iterator[Markup]:
    """What was told on the way: starts, notes, warnings, errors."""
    rows = [(time, kind, name_of(text)) for time, kind, text in told.log.told]
    if rows:
        less = f"The last {LINES} of {len(rows):,}" if len(rows) > LINES else "All"
        if told.log.starts > 1:
            yield paragraph(f"It was started {told.log.starts} times.")
        yield details(
            f"{less} notes and warnings", table("train.log", ("time", "kind", "text"), rows[-LINES:]), class_="long"
        )


# What `gptforge eval` found -----------------------------------------------------------------------------------


def results(told: Told) -> Iterator[Markup]:
    """Every result that is kept in the run: figures, beside simple baselines or by task."""
    for found in told.results:
        if "tasks" in found:
            yield _tasks(found)
        elif "text" in found and "bits_per_byte" in found:
            yield _beside_baselines(found)
        elif "text" in found:
            yield _figures(found)


def _beside_baselines(found: Mapping[str, Any]) -> Markup:
    model = {"name": "the model", "bits_per_byte": found["bits_per_byte"], "note": ""}
    ranked = sorted([model, *found["baselines"]], key=lambda one: float(one["bits_per_byte"]))
    most = max(float(one["bits_per_byte"]) for one in ranked) or 1.0
    rows = []
    for one in ranked:
        bits, own = float(one["bits_per_byte"]), one is model
        name = element("strong", one["name"]) if own else one["name"]
        rows.append((name, str(one["note"]), f"{bits:.4f}", charts.bar(bits / most, "first" if own else "second")))
    text, step = found["text"], found["checkpoint"]["step"]
    part = {"val": "the validation part of ", "train": "the training part of "}.get(text["split"], "")
    figures = ", ".join(f"{name} {float(found[key]):.4f}" for key, name in NAMES.items() if key in found)
    caption = f"Step {int(step):,} on {part}{text['label']}: {figures}"
    return table(caption, ("", "", ">bits per byte", ""), rows, class_="bars")


def _figures(found: Mapping[str, Any]) -> Markup:
    """Those of hidden tokens, which there is nothing beside of."""
    names = ("loss", "cloze_loss", "cloze_top1", "cloze_top5")
    said = {**CLOZE_NAMES, "loss": "loss of the tokens to be found"}
    rows = [(said[key], f"{float(found[key]):.4f}") for key in names if key in found]
    text, step = found["text"], found["checkpoint"]["step"]
    part = {"val": "the validation part of ", "train": "the training part of "}.get(text["split"], "")
    return table(f"Step {int(step):,} on {part}{text['label']}", ("", ">"), rows)


def _tasks(found: Mapping[str, Any]) -> Markup:
    rows = []
    for task in [*found["tasks"], *found["groups"]]:
        for one in task["figures"]:
            error = "" if one["stderr"] is None else f"{float(one['stderr']):.4f}"
            rows.append((str(task["name"]), str(one["metric"]), f"{float(one['value']):.4f}", error))
    caption = f"Step {int(found['checkpoint']['step']):,} on tasks of the lm-evaluation-harness"
    return table(caption, ("task", "figure", ">value", ">standard error"), rows)
