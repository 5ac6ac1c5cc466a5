"""A comparison of runs on a terminal: tables with a column for each run, curves, the verdict. Knows no files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptforge.config.schema import shown
from gptforge.config.units import shown_bytes, shown_count, shown_seconds
from gptforge.logs.screen import Screen
from gptforge.report.comparison import BITS, UNKNOWN
from gptforge.report.plot import plot

ROWS = (  # of the table of results: key, what it is called, how a value is written
    ("best_val_loss", "best val_loss", "{:.4f}".format),
    ("best_val_bpb", "best bits/byte", "{:.4f}".format),
    ("steps", "steps", "{:,.0f}".format),
    ("tokens", "tokens", shown_count),
    ("seconds", "time", shown_seconds),
    ("tokens_per_second", "tokens/s", shown_count),
    ("parameters", "parameters", shown_count),
    ("peak_memory_bytes", "peak memory", shown_bytes),
)
LONGEST = 40  # characters of a value in the table of configs


def show(found: Mapping[str, Any], screen: Screen) -> None:
    for line in _lines(found, screen.width):
        screen.line(screen.clean(line))


def _lines(found: Mapping[str, Any], width: int) -> Iterator[str]:
    runs = found["runs"]
    letters = [run["letter"] for run in runs]
    yield from (f"{run['letter']}  {run['name']}, {run['status']}{_tags(run)}" for run in runs)
    yield ""
    if found["differ"]:
        yield from _table("config", letters, {k: [_short(v) for v in values] for k, values in found["differ"].items()})
    else:
        yield "the configs are the same"
    decided = {k: values for k, values in found["decided"].items() if k not in _asked(found["differ"])}
    if decided:
        yield ""
        yield from _table("decided", letters, {k: [_short(v) for v in values] for k, values in decided.items()})
    yield ""
    yield from _table("results", letters, dict(_results(runs)))
    if lines := plot([(run["letter"], run["curve"]) for run in runs], width):
        yield ""
        yield from lines
        name = "bits per byte of validation text" if found["metric"] == BITS else "val_loss, nats per token,"
        yield f"{name} over {'tokens' if found['over'] == 'tokens' else 'steps'}"
    yield ""
    yield from _verdict(found)


def named(found: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each run with its name and what is its own in its config."""
    for n, run in enumerate(found["runs"]):
        own = [f"{key.rpartition('.')[2]}={_short(values[n])}" for key, values in found["differ"].items()]
        yield run, "  ".join([run["name"], *own])


def _tags(run: Mapping[str, Any]) -> str:
    return f" [{', '.join(run['tags'])}]" if run["tags"] else ""


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) and value != value.strip() else shown(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _asked(differ: Mapping[str, Any]) -> set[str]:
    """The last parts of the keys that differ: the decision of that name says it once more."""
    return {key.rpartition(".")[2] for key in differ}


def _results(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    for key, name, written in ROWS:
        values = [run["figures"][key] for run in runs]
        if any(value is not None for value in values):
            yield name, ["-" if value is None else written(value) for value in values]


def _table(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Aligned columns, the first one with the names of the rows."""
    lines = [(title, *heads), *((name, *cells) for name, cells in rows.items())]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heads) + 1)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _verdict(found: Mapping[str, Any]) -> Iterator[str]:
    """Means and spreads of the configurations, what differs between them, and what that is worth."""
    if found["why"]:
        yield found["why"]
    if found["metric"]:
        name = "best bits per byte" if found["metric"] == BITS else "best val_loss"
        yield f"{name}, lower is better"
        for group in found["groups"]:
            if group["values"]:
                n, spread = len(group["values"]), group["sd"]
                told = f", standard deviation {spread:.4f} over {n} seeds" if spread is not None else ", one seed"
                yield f"  {'+'.join(group['letters'])}: mean {group['mean']:.4f}{told}"
        yield from map(_told, found["verdicts"])
    yield from found["notes"]


def _told(verdict: Mapping[str, Any]) -> str:
    names = f"{'+'.join(verdict['second'])} - {'+'.join(verdict['first'])}"
    difference = f"  {names} = {verdict['difference']:+.4f}"
    if verdict["verdict"] == UNKNOWN:
        return difference
    interval = f"{100 * verdict['confidence']:.4g} % interval"
    limits = f"{verdict['low']:+.4f} to {verdict['high']:+.4f}"
    how = f"{verdict['method']}, {verdict['degrees_of_freedom']:.1f} degrees of freedom"
    return f"{difference}, {interval} {limits} ({how}): {verdict['verdict']}"
