"""What is told of a tokenizer: figures as lines, and a text whose tokens can be seen, on any terminal or pipe.

Knows the JSON values of tokenizers/report.py, not how they are found.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gptforge.logs.screen import Screen, fit

if TYPE_CHECKING:
    from rich.text import Text

# Light backgrounds that differ in brightness too
COLORS = ("black on #a6cee3", "black on #fdbf6f", "black on #b2df8a", "black on #fb9a99", "black on #cab2d6")
SHOWN_SOURCES = 12
LONGEST_SHOWN = 60


def show(found: Mapping[str, Any], screen: Screen) -> None:
    """All of it; tokens have colors on a terminal that has, else lines between them."""
    ascii_only = fit("│⏎", screen.encoding) != "│⏎"
    for line in _lines(found, ascii_only):
        screen.line(line)
    screen.line("")
    if not screen.can_draw() or os.environ.get("NO_COLOR"):
        screen.line(_separated(found["cut"], ascii_only))
        return
    from rich.console import Console

    Console(file=screen, force_terminal=True).print(_colored(found["cut"]))  # type: ignore[arg-type] - as rich asks


def _lines(found: Mapping[str, Any], ascii_only: bool) -> Iterator[str]:
    """The figures as aligned lines for people."""
    yield f"{found['kind']}: {found['vocab_size']:,} tokens{_named(found['special'])}; text: {found['text']}"
    yield from found["notes"]
    yield ""
    yield f"{'':28} {'bytes':>13} {'tokens':>13} {'bytes/token':>12}"
    sources = sorted(found["sources"], key=lambda part: part["bytes_per_token"])
    for part in [*found["parts"], *sources[:SHOWN_SOURCES]]:
        name = part["name"] if len(part["name"]) <= 26 else "..." + part["name"][-23:]
        yield f"  {name:26} {part['bytes']:>13,} {part['tokens']:>13,} {part['bytes_per_token']:>12.3f}"
    if len(sources) > SHOWN_SOURCES:
        yield f"  and {len(sources) - SHOWN_SOURCES} more; those above are cut into the shortest tokens"
    yield ""
    yield from _compared(found["gpt2"])
    share = found["unused"] / found["vocab_size"]
    yield f"unused      {found['unused']:,} tokens ({share:.1%}) do not occur in the training part"
    if found["unused_examples"]:
        yield f"            such as {' '.join(_short(token['text'], ascii_only) for token in found['unused_examples'])}"
    for name in ("longest", "frequent"):
        for n, token in enumerate(found[name]):
            yield f"{name if not n else '':12}{token['count']:>9,} x  {_short(token['text'], ascii_only)}"


def _short(text: str, ascii_only: bool) -> str:
    """A token in quotes, the end of a long one left out."""
    shown = (ascii if ascii_only else repr)(text)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 4]}...{shown[-1]}"


def _named(special: Mapping[str, int]) -> str:
    return f", with {', '.join(special)}" if special else ""


def _compared(found: Mapping[str, Any] | None) -> Iterator[str]:
    """How the tokenizer does beside GPT-2's; nothing where nothing was compared."""
    if found is None:
        return
    if "missing" in found:
        yield f"GPT-2       not compared: {found['missing']}"
        return
    own, other = found["own"], found["other"]
    text = f"{own['bytes']:,} bytes of the validation part"
    yield f"GPT-2       {other['tokens']:,} tokens for {text}, {other['bytes_per_token']:.3f} bytes/token;"
    ratio = own["tokens"] / max(1, other["tokens"])
    yield f"            this one {own['tokens']:,}, {own['bytes_per_token']:.3f} bytes/token: {ratio:.2f} times as many"


def _separated(tokens: Iterable[Mapping[str, Any]], ascii_only: bool) -> str:
    """A text with a line between its tokens; a line break is seen as such, and breaks the line."""
    bar = "|" if ascii_only else "│"
    return bar.join(_seen(token["text"], ascii_only) for token in tokens)


def _colored(tokens: Iterable[Mapping[str, Any]]) -> "Text":
    """A text on whose background tokens change color."""
    from rich.text import Text

    text = Text()
    for n, token in enumerate(tokens):
        text.append(_seen(token["text"], False), COLORS[n % len(COLORS)])
    return text


def _seen(text: str, ascii_only: bool) -> str:
    """The text of a token with its line breaks marked, and every other control character escaped."""
    mark = "\\n\n" if ascii_only else "⏎\n"
    escaped = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    if ascii_only:
        escaped = escaped.encode("ascii", "backslashreplace").decode()
    return escaped.replace("\n", mark)
