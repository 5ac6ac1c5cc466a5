"""Write text for people on any terminal or pipe: other encodings, narrow screens, streams that close.

Knows nothing of runs or metrics. Whatever text comes in, no control code of its own goes out.
"""

import contextlib
import os
import unicodedata
from collections.abc import Iterable
from typing import Any

MAX_WIDTH = 100
BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*#"
_STAND_INS = {"…": "...", "·": "-", "–": "-", "—": "-", "→": "->", "×": "x", "’": "'", "“": '"', "”": '"', "━": "-"}
_STAND_INS |= dict.fromkeys(BARS, "#")


def encoding_of(stream: Any) -> str:
    """The encoding that the reader of `stream` expects.

    Under LC_ALL=C Python writes UTF-8 all the same, to a terminal that asked for ASCII.
    """
    env = os.environ
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG")
    chosen = env.get("PYTHONIOENCODING") or env.get("PYTHONUTF8") == "1"
    if locale in ("C", "POSIX") and not chosen:
        return "ascii"
    return (getattr(stream, "encoding", None) or "utf-8").lower()


def fit(text: str, encoding: str) -> str:
    """`text` with a stand-in for every character that the encoding lacks."""
    if _fits(text, encoding):
        return text
    return "".join(c if _fits(c, encoding) else _STAND_INS.get(c, "?") for c in text)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def visible(text: str) -> str:
    """`text` without what a terminal would obey: control characters become �, a tab four blanks."""
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def spark(values: list[float], width: int, encoding: str) -> str:
    """The last `width` values as a row of small bars, the largest the tallest."""
    shown = values[-width:]
    if not shown:
        return ""
    bars = BARS if _fits(BARS, encoding) else ASCII_BARS
    low, high = min(shown), max(shown)
    if high == low:
        return bars[len(bars) // 2] * len(shown)
    # Halved first: the difference of two huge numbers can be infinite.
    heights = [(v / 2 - low / 2) / (high / 2 - low / 2) for v in shown]
    return "".join(bars[min(int(height * len(bars)), len(bars) - 1)] for height in heights)


def wrap(fields: Iterable[tuple[str, str]], width: int) -> list[list[tuple[str, str]]]:
    """(label, value) fields as lines of at most `width` columns; a field is never cut in two."""
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0
    for field in fields:
        size = len(" ".join(part for part in field if part)) + 2
        if lines[-1] and used + size - 2 > width:
            lines.append([])
            used = 0
        lines[-1].append(field)
        used += size
    return lines


def still() -> bool:
    """Whether the environment asks that nothing is drawn over, even on a terminal."""
    return os.environ.get("TTY_INTERACTIVE") == "0" or os.environ.get("TTY_COMPATIBLE") == "0"


class Screen:
    """A text stream that takes any text and, once it is closed at the other end, raises only once.

    It has what rich asks of a file.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.encoding = encoding_of(stream)

    def write(self, text: str) -> int:
        try:
            self._stream.write(fit(text, self.encoding))
        except OSError:
            self._silence()
            raise
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()
            raise

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except (AttributeError, ValueError):
            return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def line(self, text: str = "") -> None:
        self.write(text + "\n")
        self.flush()

    def clean(self, text: str) -> str:
        """The text as it will be shown, so that its width is known before it is laid out."""
        return fit(visible(text), self.encoding)

    @property
    def width(self) -> int:
        """Of a text that is to be read: that of the screen, at most MAX_WIDTH."""
        return max(20, min(MAX_WIDTH, self.columns))

    @property
    def columns(self) -> int:
        """COLUMNS or the terminal's width where known, else MAX_WIDTH."""
        columns = os.environ.get("COLUMNS", "")
        known = int(columns) if columns.isdecimal() else 0
        if not known and self.isatty():
            with contextlib.suppress(OSError, ValueError):
                known = os.get_terminal_size(self.fileno()).columns
        return known or MAX_WIDTH

    def can_draw(self) -> bool:
        """Whether lines can be drawn over: only on a real terminal, whatever FORCE_COLOR says."""
        return self.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")

    def _silence(self) -> None:
        # What is still buffered would fail again when the interpreter exits, with exit code 120.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
