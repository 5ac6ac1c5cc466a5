"""The result of an evaluation on a terminal, in a pipe and in a file. Knows its JSON form only, see measure.py."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptforge.errors import ResourceError, UsageError
from gptforge.jsonfile import write_json
from gptforge.logs.screen import Screen

MOST_SOURCES = 10  # files shown; the JSON has all
NAMES = {
    "loss": ("loss", "nats per token"),
    "cloze_loss": ("of those the mask hid", "nats per token"),
    "cloze_top1": ("hidden token right", "of those the mask hid"),
    "cloze_top5": ("among the first 5", "of those the mask hid"),
    "perplexity": ("perplexity", ""),
    "bits_per_byte": ("bits per byte", ""),
    "bits_per_character": ("bits per character", ""),
    "accuracy_top1": ("next token right", "of the tokens"),
    "accuracy_top5": ("among the first 5", "of the tokens"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title and column heads; columns whose head begins with > are numbers, set to the right."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: int = -1  # the row that matters


def show(result: Mapping[str, Any], screen: Screen) -> None:
    """Writes the result for people: drawn on a terminal, as plain aligned text elsewhere."""
    drawn = screen.can_draw()
    write(head(result), tables(result), screen)
    for kind in ("worst", "best"):
        for n, passage in enumerate(result["passages"][kind]):
            if not n:
                screen.line(f"\n{kind} passages, bits per byte")
            _passage(passage, screen, drawn)
    scored, seconds = result["text"]["scored_tokens"], result["seconds"]
    screen.line(f"\n{scored:,} tokens in {seconds:.1f} s, {result['tokens_per_second']:,.0f} a second")


def write(head: Iterable[str], tables: Iterable[Table], screen: Screen) -> None:
    """Some lines, and tables that are drawn where the screen allows it."""
    for line in head:
        screen.line(screen.clean(line))
    for table in tables:
        screen.line()
        (_drawn if screen.can_draw() else _plain)(table, screen)


def head(result: Mapping[str, Any]) -> Iterator[str]:
    """What was evaluated on what, and how."""
    text, how, checkpoint = result["text"], result["how"], result["checkpoint"]
    part = {"all": "", "val": "the validation part of ", "train": "the training part of "}[text["split"]]
    yield f"{run_of(Path(checkpoint['path'])).name}, step {checkpoint['step']:,}, on {part}{text['label']}"
    sizes = f"{text['scored_tokens']:,} tokens"
    if "scored_bytes" in text:
        sizes += f", {text['scored_bytes']:,} bytes"
    else:
        sizes += f" to be found of {text['tokens']:,}, {result['hidden_tokens']:,} of them hidden"
    documents = f", {text['documents']:,} documents" if text["documents"] > 1 else ""
    yield f"{sizes}{documents}; windows of {how['block_size']} tokens, {how['dtype']} on {how['device']}"
    if how.get("weights"):
        before = how["loss_of_float_weights"]
        yield f"weights of eight bits: {result['loss'] - before:+.4f} beside the loss of float weights, {before:.4f}"
    if how["pack"] == "documents":
        yield "each token sees its own document only"
    if how["stride"] < how["block_size"]:
        least = f"after the first window every token has at least {how['least_context']} before it"
        yield f"stride {how['stride']}: {least}; each is read {how['times_read']:.1f} times"
    if text.get("seen_share") is not None:
        yield f"{text['seen_share']:.2%} of its passages of {text['seen_length']} tokens are in the training text too"


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """The numbers, the baselines, the loss by context and by source."""
    rows = []
    for key, (name, unit) in NAMES.items():
        if key not in result:  # next tokens have other figures than hidden ones
            continue
        form = "{:.2%}" if "_top" in key else "{:.4f}"
        low_high = result["intervals"].get(key)
        between = f"{form.format(low_high[0])} to {form.format(low_high[1])}" if low_high else ""
        rows.append((name, form.format(result[key]), unit, between))
    drawn = result["bootstrap"]
    interval = f"{drawn['confidence']:.0%} interval" if drawn["resamples"] else ""
    title = f"the model; intervals from drawing {drawn['units']}" if drawn["resamples"] else "the model"
    yield Table(title, ("", ">", "", interval), rows)
    if result["baselines"]:
        yield _baselines(result)
    columns = ("tokens before", ">loss", ">tokens")
    if groups := result["by_context"]:
        yield Table("loss by context", columns, [(_span(g), f"{g['loss']:.4f}", f"{g['tokens']:,}") for g in groups])
    if files := result["by_source"]:
        shown = files[:MOST_SOURCES]
        title = f"by file, the worst {len(shown)} of {len(files)}" if len(shown) < len(files) else "by file"
        rows = [(f["source"], f"{f['bits_per_byte']:.4f}", f"{f['loss']:.4f}", f"{f['tokens']:,}") for f in shown]
        yield Table(title, ("", ">bits per byte", ">loss", ">tokens"), rows)


def _span(group: Mapping[str, Any]) -> str:
    return str(group["to"]) if group["from"] == group["to"] else f"{group['from']}-{group['to']}"


def _baselines(result: Mapping[str, Any]) -> Table:
    model = {"name": "the model", "bits_per_byte": result["bits_per_byte"], "note": ""}
    ranked = sorted([model, *result["baselines"]], key=lambda entry: entry["bits_per_byte"])
    rows = [(entry["name"], f"{entry['bits_per_byte']:.4f}", entry["note"]) for entry in ranked]
    why = result["text"]["training_text"]
    title = "beside it" if why == "known" else f"beside it; no unigram and n-gram: {why}"
    return Table(title, ("", ">bits per byte", ""), rows, strong=ranked.index(model))


def _plain(table: Table, screen: Screen) -> None:
    screen.line(screen.clean(table.title))
    rows = [[head.lstrip(">") for head in table.heads]] if any(head.strip(">") for head in table.heads) else []
    rows += [[screen.clean(cell) for cell in row] for row in table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.heads))]
    for row in rows:
        cells = [
            cell.rjust(width) if head.startswith(">") else cell.ljust(width)
            for cell, width, head in zip(row, widths, table.heads, strict=True)
        ]
        screen.line("  " + "  ".join(cells).rstrip())


def _drawn(table: Table, screen: Screen) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    grid = Drawn(box=box.SIMPLE_HEAD, show_header=any(head.strip(">") for head in table.heads))
    for head in table.heads:
        grid.add_column(Text(head.lstrip(">")), justify="right" if head.startswith(">") else "left")
    for n, row in enumerate(table.rows):
        grid.add_row(*(Text(screen.clean(cell)) for cell in row), style="bold green" if n == table.strong else None)
    console = Console(file=screen, force_terminal=True)  # type: ignore[arg-type] - has what rich asks of a file
    console.print(Text(screen.clean(table.title), "bold"), grid)


def _passage(passage: Mapping[str, Any], screen: Screen, drawn: bool) -> None:
    before, text, after = (screen.clean(passage[part].replace("\n", "\\n")) for part in ("before", "text", "after"))
    where = screen.clean(f"{passage['bits_per_byte']:7.3f}  {passage['source']}, token {passage['token']:,}")
    if not drawn:
        screen.line(where)
        return screen.line(f"         {before}>>>{text}<<<{after}")
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    around = Text.assemble((before, "dim"), (text, "bold"), (after, "dim"))
    Console(file=screen, force_terminal=True).print(where, Padding(around, (0, 0, 0, 9)))  # type: ignore[arg-type]


# The file --------------------------------------------------------------------


WRITABLE = "out=PATH (a file or a folder that you may write)"


def place_for(out: str | None, checkpoint: Path) -> Path:
    """The file or folder where a result goes: `out`, or the checkpoint's run.

    Raises UsageError for a place that cannot be, ResourceError for one that cannot be written: before all work.
    """
    path = Path(out).expanduser() if out else run_of(checkpoint)
    folder = path if path.is_dir() else path.absolute().parent
    if path.exists() and not path.is_dir() and not path.is_file():
        raise UsageError(f"{path} is neither a file nor a folder", fix=WRITABLE)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", where="out=… on the command line", fix=WRITABLE)
    if not os.access(folder, os.W_OK):
        raise ResourceError("the result cannot be written", where=str(folder), fix=WRITABLE)
    return path


def save(result: Mapping[str, Any], path: Path, name: str) -> Path:
    """Writes the result as JSON, as a whole, to a file, or into a folder by that name.

    Returns the file; raises ResourceError.
    """
    try:
        path = path / name if path.is_dir() else path
        write_json(path, result)
    except OSError as e:
        raise ResourceError(f"the result cannot be written: {e.strerror}", where=str(path), fix=WRITABLE) from e
    return path


def file_name(result: Mapping[str, Any]) -> str:
    """Tells evaluations of one run apart: by step, text, part, stride and packing; the same again has the same name."""
    text, how = result["text"], result["how"]
    label = re.sub(r"[^\w.-]+", "-", f"{text['label']}-{text['split']}")[:60]
    stride = f"-stride{how['stride']}" if how["stride"] < how["block_size"] else ""
    apart = "-documents" if how["pack"] == "documents" else ""
    return f"eval-{result['checkpoint']['step']:06d}-{label}{stride}{apart}-{text['sha256'][:8]}.json"


def run_of(checkpoint: Path) -> Path:
    """The run directory of a checkpoint; of one that stands alone, the folder that it lies in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
