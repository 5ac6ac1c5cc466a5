"""Elements of a page, in which every text is escaped and every character can be seen. Knows nothing of reports."""

import re
from collections.abc import Iterable, Sequence
from html import escape

VOID = ("meta", "br", "input")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")


class Markup(str):
    """HTML that is finished. Any other str is text, and is escaped when it comes into an element."""

    __slots__ = ()


def spelled(text: str) -> str:
    """A text whose control, direction and other invisible characters are written as Python writes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def element(name: str, /, *content: str | None, **attributes: str | float | None) -> Markup:
    """An element; content that is None and attributes that are None are left out.

    `class_` is the attribute class, `stroke_width` stroke-width. Raises ValueError for a name that is none.
    """
    names = [key.rstrip("_").replace("_", "-") for key in attributes]
    if not all(map(_NAME.fullmatch, [name, *names])):
        raise ValueError(f"no names of an element and its attributes: {name}, {', '.join(names)}")
    shown = "".join(
        f' {key}="{escape(spelled(str(value)))}"'
        for key, value in zip(names, attributes.values(), strict=True)
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(content)}</{name}>")


def joined(content: Iterable[str | None]) -> Markup:
    """Several texts and elements as one."""
    return Markup("".join(c if isinstance(c, Markup) else escape(spelled(c)) for c in content if c is not None))


def quoted(text: str) -> Markup:
    """A text of the user's, exactly as it is, and with a direction of its own."""
    return element("code", element("bdi", text))


def written(text: str) -> Markup:
    """A text of several lines as it was written, its line breaks and tabs too."""
    parts = re.split(r"([\n\t])", text.replace("\r\n", "\n")) if text else []
    shown = joined(Markup(part) if part in ("\n", "\t") else part for part in parts)
    return element(
        "pre", element("code", element("bdi", shown))
    )  # within, for a line break at the begin of pre is lost


def name_of(text: str) -> Markup:
    """A name that the user gave, such as a file's: with a direction of its own."""
    return element("bdi", text)


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = (), class_: str = ""
) -> Markup:
    """A table whose first column names the rows; a head that begins with > is of numbers, set to the right.

    It scrolls by itself where it is wider than the page.
    """
    right = [head.startswith(">") for head in heads]
    head = [
        element("th", text.removeprefix(">"), scope="col", class_="n" if r else None)
        for text, r in zip(heads, right, strict=True)
    ]
    body = [element("tr", *_cells(row, right)) for row in rows]
    below = [element("tfoot", element("tr", *_cells(foot, right)))] if foot else []
    parts = [element("thead", element("tr", *head)), element("tbody", *body), *below]
    made = element("table", element("caption", caption), *parts, class_=class_ or None)
    return element("div", made, class_="wide", role="region", aria_label=caption, tabindex=0)


def details(summary: str, *content: str, class_: str | None = None) -> Markup:
    """A part that is opened with a click; one of class long is not printed."""
    return element("details", element("summary", summary), *content, class_=class_)


def definitions(pairs: Iterable[tuple[str, str]], class_: str) -> Markup:
    """Names with their values."""
    items = (element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    return element("dl", *items, class_=class_)


def _cells(row: Sequence[str], right: Sequence[bool]) -> Iterable[Markup]:
    for n, (cell, is_number) in enumerate(zip(row, right, strict=True)):
        scope = "row" if n == 0 else None
        yield element("td" if n else "th", cell, scope=scope, class_="n" if is_number else None)
