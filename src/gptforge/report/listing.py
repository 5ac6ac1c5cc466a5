"""The runs of a folder as a table: which of them, in which order, and what a row says."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptforge.conditions import parse
from gptforge.config import RunsConfig, TrainConfig
from gptforge.config.schema import flatten, leaves, nearest
from gptforge.config.units import shown_seconds
from gptforge.errors import CheckpointError, ConfigError, DataError
from gptforge.history import BROKEN, COLUMNS, DEAD, DONE, FAILED, NEXT_TOKEN, RUNNING, STOPPED, Entry, entries
from gptforge.jsonfile import read_json
from gptforge.logs.screen import Screen
from gptforge.runs import CLAIM

SHOWN = ("run", "status", "step", "best val_loss", "bits/byte", "time", "model", "data", "began")

STATUSES = (RUNNING, DONE, STOPPED, FAILED, DEAD, BROKEN)
SPARED = ("began", "model", "data", "time", "bits/byte")  # columns that a narrow terminal goes without, in this order


def value(entry: Entry, name: str, root: Path) -> Any:
    """A column of a run, or a key of its config; None for what is not known."""
    if name in COLUMNS:
        return getattr(entry, name)
    try:
        return flatten(read_json(root / entry.name / CLAIM, "the config")["config"]).get(name)
    except (CheckpointError, LookupError, AttributeError):
        return None


def known() -> list[str]:
    """Every name that runs can be chosen or ordered by: columns, and keys of a config."""
    return [*COLUMNS, *(leaf.name for leaf in leaves(TrainConfig))]


def matching(every: Sequence[Entry], text: str, root: Path) -> list[Entry]:
    """Those of the runs of which the conditions hold. Raises ConfigError for what is no condition."""
    conditions = parse(text, known(), "filter=…")
    for one in conditions:
        if one.name == "status" and one.sign == "=" and one.value not in STATUSES:
            what = f"there is no status {one.value!r} among {', '.join(STATUSES)}"
            raise ConfigError(what, where="filter=…", fix=f"status={(nearest(one.value, [*STATUSES], 1) or [DONE])[0]}")
    return [one for one in every if all(c.holds(value(one, c.name, root)) for c in conditions)]


def found_in(path: str) -> list[Entry]:
    """The runs below a folder. Raises DataError if there is none."""
    if not Path(path).is_dir():
        raise DataError(f"there is no folder {path!r}", where="path=…", fix="gptforge train makes runs/")
    return entries(Path(path))


def ordered(found: list[Entry], by: str, root: Path, descending: bool) -> list[Entry]:
    """The runs by a column or key; numbers before texts, and at the end those of which it is not known."""
    values = {one.name: value(one, by, root) for one in found}
    known = [one for one in found if values[one.name] is not None]

    def place(one: Entry) -> tuple[bool, float, str]:
        it = values[one.name]
        is_number = isinstance(it, int | float)
        return not is_number, it if is_number else 0.0, "" if is_number else str(it)

    return sorted(known, key=place, reverse=descending) + [one for one in found if values[one.name] is None]


def show(screen: Screen, found: list[Entry], matching: int, n: int, cfg: RunsConfig) -> None:
    """The table, and how many more there are."""
    for line in table(screen, found):
        screen.line(line)
    for one in found:
        if one.note:
            screen.line(f"{screen.clean(one.name)} {one.status}: {screen.clean(one.note.splitlines()[0])}")
    if more := matching - len(found):
        screen.line(f"and {more:,} more: limit=null shows all, sort=val_bpb the best first, filter=status=done some")
    elif not n:
        screen.line(f"there is no run in {cfg.path}: gptforge train makes one")
    elif not matching:
        screen.line(f"none of the {n:,} runs in {cfg.path} is so: filter={cfg.filter}")


def table(screen: Screen, found: Sequence[Entry]) -> list[str]:
    """The runs as aligned lines; on a narrow terminal without the columns that say least."""
    rows = [tuple(map(screen.clean, row)) for row in (SHOWN, *map(cells, found))]
    widths = {name: max(len(row[i]) for row in rows) for i, name in enumerate(SHOWN)}
    for name in SPARED if screen.isatty() else ():
        if sum(widths.values()) + 2 * (len(widths) - 1) <= screen.columns:
            break
        del widths[name]
    shown = [[(row[SHOWN.index(name)], width) for name, width in widths.items()] for row in rows]
    return ["  ".join(cell.ljust(width) for cell, width in row).rstrip() for row in shown]


def cells(one: Entry) -> tuple[str, ...]:
    """A run as a row of texts."""
    step = "-" if one.step is None else f"{one.step}/{one.steps}" if one.steps else str(one.step)
    loss, bits = (f"{v:.4f}" if v is not None else "-" for v in (one.best_val_loss or one.val_loss, one.val_bpb))
    took = shown_seconds(one.seconds) if one.seconds is not None else "-"
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.began))
    name = f"{one.name} [{', '.join(one.tags)}]" if one.tags else one.name
    model = one.model or "-"
    if one.objective not in (None, NEXT_TOKEN):  # another loss than that of next tokens
        model += f", {one.objective}"
    return name, one.status, step, loss, bits, took, model, one.data or "-", began
