"""The report of one run as a page: how it went, what it wrote, what it was, and what to type next.

Knows what run_files.py tells of a run; a part that its files do not tell is left out, or said to be missing.
"""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from gptforge.config.objective import MLM
from gptforge.config.units import shown_bytes, shown_count, shown_seconds
from gptforge.durable import write_text
from gptforge.history import BROKEN, DEAD, DONE, FAILED, RUNNING, STOPPED
from gptforge.report import curves, passage_view, run_curves, run_settings
from gptforge.report.html import Markup, definitions, element, joined, name_of, quoted, spelled, table, written
from gptforge.report.page import Section, page, paragraph
from gptforge.report.run_files import Told, best_of, number, read
from gptforge.report.run_warnings import warnings
from gptforge.runs import Run

NAME = "report.html"
SAID = 8  # warnings at the head; the log has all
CHARACTERS = 1_200  # of a sample
WRONG = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)  # what a strange file leads to

RULES = """
.state { color: var(--ink); max-width: none; }
.state b { display: inline-block; background: var(--track); border-radius: 0.4rem; padding: 0 0.6rem;
  margin-right: 0.5rem; border: 1px solid var(--axis); }
.state.failed b, .state.dead b, .state.broken b { border-color: var(--second); }
@media (min-width: 50rem) { .tiles.eight { grid-template-columns: repeat(4, 1fr); } }
.next { list-style: none; padding: 0; margin: 0.6rem 0 1rem; }
.next li { margin: 0.25rem 0; } .next code { margin-right: 0.5rem; }
pre { margin: 0.2rem 0; padding: 0.5rem 0.7rem; background: var(--track); border-radius: 0.4rem; overflow-x: auto; }
@media print { .beside { grid-template-columns: 1fr 1fr; } }
pre code { background: none; padding: 0; overflow-wrap: anywhere; }
"""


def write(run: Run, path: Path) -> None:
    """Writes the page of a run to a file, as a whole. Raises OSError."""
    write_text(path, run_page(read(run)))


def run_page(told: Told) -> str:
    """The whole page as HTML."""
    name = told.run.path.resolve().name
    made = [(anchor, title, list(_made(make, told))) for anchor, title, make in _SECTIONS]
    sections = [Section(*section) for section in made if section[2]]
    rules = RULES + curves.RULES + run_curves.RULES + passage_view.RULES
    heading = joined([name_of(name), ": report of a run"])
    return page(f"{spelled(name)}: report", heading, list(_lead(told)), sections, rules)


def _made(make: Callable[[Told], Iterator[Markup]], told: Told) -> Iterator[Markup]:
    """A section. What somebody has written into a file must not take the rest of the page along."""
    try:
        yield from list(make(told))
    except WRONG as e:
        yield paragraph(f"This cannot be shown, for a file holds something strange: {type(e).__name__}: {e}")


# The head -----------------------------------------------------------------------------------------------------


def _lead(told: Told) -> Iterator[Markup]:
    yield from _made(_state, told)
    yield from _made(_tiles, told)
    for kind, text in _said(told):
        strong = element("strong", f"{kind}: ") if kind else None
        yield element("p", strong, text, class_="said warning" if kind == "Warning" else "said")
    commands = [element("li", quoted(command), f" {what}") for command, what in next_commands(told)]
    if commands:
        yield element("ul", *commands, class_="next", aria_label="What to type next")


def _state(told: Told) -> Iterator[Markup]:
    status = told.entry.status
    yield element("p", element("b", status), _what_it_is(told), class_=f"state {status}")
    where = _position(told)
    said = {
        RUNNING: f"It is going on: the page shows it {where}. gptforge report draws it anew.",
        DEAD: f"No process has it any more, and none has said why: it was killed {where}.",
        STOPPED: f"It was stopped {where}, and can go on.",
        FAILED: f"It failed {where}: {told.entry.note or 'no reason is recorded'}",
        BROKEN: f"Its files are not complete: {told.entry.note}.",
    }
    if status in said:
        yield element("p", said[status], class_="said warning" if status in (FAILED, DEAD, BROKEN) else "said")


def _what_it_is(told: Told) -> Markup:
    model, data = told.config.get("model", {}), told.entry.data
    shape = ""
    if isinstance(model, dict) and model.get("n_layer"):
        layers, heads = int(model["n_layer"]), int(model["n_head"])
        shape = f": {layers} layer{'s' * (layers != 1)}, {heads} head{'s' * (heads != 1)}, width {model['n_embd']}, "
        shape += f"context {model['block_size']}"
    tokens = told.config.get("tokenizer", {}).get("kind")
    parts: list[str | None] = [f"{told.entry.model or 'a model'}{shape}"]
    parts += [", trained on ", name_of(data), f" ({tokens} tokens)" if tokens else ""] if data else []
    parts += ["; it learnt hidden tokens by those on both sides"] if _hides(told) else []
    return joined(parts)


def _position(told: Told) -> str:
    step, steps = _step(told), number(told.decisions.get("steps", {}).get("value"))
    return f"after step {step:,.0f}" + (f" of {steps:,.0f}" if steps and steps != step else "")


def _final(told: Told) -> bool:
    """Whether the summary was written at the end of the run; else it knows only how the run began."""
    return told.summary.get("status") in (DONE, STOPPED, FAILED)


def _step(told: Told) -> float:
    return (number(told.summary.get("steps")) if _final(told) else None) or told.newest.get("step", 0.0)


def _tiles(told: Told) -> Iterator[Markup]:
    final = told.summary if _final(told) else {}
    best = best_of(told.evaluations)

    loss, step = number(final.get("best_val_loss")) or best.get("val_loss"), best.get("step")
    at = f", step {step:,.0f}" if step is not None else ""
    shown: list[tuple[str, str, float | None]] = [
        (f"best validation loss{' of hidden tokens' * _hides(told)}{at}", "{:.4f}", loss),
        ("bits per byte, then", "{:.4f}", best.get("val_bpb") or number(final.get("val_bpb"))),
        ("steps", "{:,.0f}", _step(told)),
    ]
    tiles = [(name, form.format(value)) for name, form, value in shown if value is not None]
    for name, key, form in (
        ("tokens read" if _hides(told) else "tokens learnt", "tokens", shown_count),
        ("time", "seconds", shown_seconds),
        ("tokens a second", "tokens_per_second", shown_count),
    ):
        if (value := number(final.get(key)) or told.newest.get(key)) is not None:
            tiles.append((name, form(value)))
    for name, key, form in (
        ("parameters", "parameters", shown_count),
        ("peak memory", "peak_memory_bytes", shown_bytes),
    ):
        if value := number(told.summary.get(key)):
            tiles.append((name, form(value)))
    yield definitions(tiles, "tiles eight")


def _said(told: Told) -> Iterator[tuple[str, str]]:
    found = warnings(told)
    yield from (("Warning", text) for text in found[:SAID])
    if len(found) > SAID:
        yield "", f"And {len(found) - SAID:,} more warnings: they are in the log below."
    if told.missing:
        yield "Not all is there", "; ".join(told.missing)


def next_commands(told: Told) -> Iterator[tuple[str, str]]:
    """What to type after a run, and what it does."""
    name, status = told.run.pointer_name, told.entry.status
    if status in (STOPPED, FAILED, DEAD):
        yield f"gptforge train {_word('resume', name)}", "goes on with it"
    pointed = {which: one.step for one in told.checkpoints for which in one.pointed}
    if told.checkpoints and _hides(told):
        yield f"gptforge eval {_word('ckpt', name)}", "says how well it finds hidden tokens"
    elif told.checkpoints:
        yield f"gptforge sample {_word('ckpt', name)}", "writes with it"
        if pointed.get("best") not in (None, told.checkpoints[-1].step):
            yield f"gptforge sample {_word('ckpt', name + '/best')}", "writes with its best weights"
        yield f"gptforge eval {_word('ckpt', name)}", "says how well it predicts, beside simple baselines"


def _hides(told: Told) -> bool:
    """Whether it learnt hidden tokens, so that its losses are of these and it writes nothing."""
    return told.entry.objective == MLM


def _word(key: str, value: str) -> str:
    return shlex.quote(f"{key}={value}")


# Sections -----------------------------------------------------------------------------------------------------


def _losses(told: Told) -> Iterator[Markup]:
    unit = "nats per hidden token" if _hides(told) else "nats per token"
    yield from run_curves.losses(told.series.get("train_loss", []), told.evaluations, unit)


def _course(told: Told) -> Iterator[Markup]:
    yield from run_curves.course(told.series)


def _samples(told: Told) -> Iterator[Markup]:
    if not told.samples:
        return
    if len(told.samples) < told.n_samples:
        yield paragraph(f"{len(told.samples)} of {told.n_samples:,}, evenly spread.")
    cards = []
    for step, text in told.samples:
        cut = text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
        cards.append(element("figure", element("figcaption", f"after step {step:,}"), written(cut)))
    yield element("div", *cards, class_="beside")


def _passage(told: Told) -> Iterator[Markup]:
    if told.passage:
        yield from passage_view.passage(told.passage)


def _checkpoints(told: Told) -> Iterator[Markup]:
    if not told.checkpoints:
        return
    losses = {one["step"]: one for one in told.evaluations}
    rows = []
    for one in told.checkpoints:
        loss = losses.get(one.step, {}).get("val_loss")
        state = ", ".join(one.pointed) if one.complete else "not complete"
        rows.append((f"step {one.step:,}", state, shown_bytes(one.size), f"{loss:.4f}" if loss is not None else ""))
    yield table("Checkpoints that are kept", ("checkpoint", "is", ">size", ">validation loss"), rows)


_SECTIONS: tuple[tuple[str, str, Callable[[Told], Iterator[Markup]]], ...] = (
    ("loss", "Loss", _losses),
    ("course", "How it went", _course),
    ("samples", "What it wrote", _samples),
    ("passage", "A passage, token by token", _passage),
    ("results", "Evaluations beside baselines", run_settings.results),
    ("checkpoints", "Checkpoints", _checkpoints),
    ("config", "Config", run_settings.config),
    ("decisions", "What was decided", run_settings.decisions),
    ("data", "Text and tokens", run_settings.data),
    ("environment", "Environment", run_settings.environment),
    ("log", "Log", run_settings.log),
)
