"""A run as short, flushed lines: for pipes, log files, batch systems and simple terminals.

Knows no cursor and no colour. Lines are thinned in time, evaluations never.
"""

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptforge.logs.events import Plan, Sink, Values
from gptforge.logs.screen import Screen, wrap
from gptforge.logs.view import History, View, sample_lines

SECONDS_BETWEEN_LINES = 5.0


class PlainSink(Sink):
    """Lines of at most 100 columns, fewer where COLUMNS or the terminal says so."""

    def __init__(
        self, screen: Screen, history: History | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._screen = screen
        self._clock = clock
        self._view = View(history, clock)
        self._shown_at = float("-inf")

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        self._view.start(plan, total_steps, start_step)
        self._text(plan.title)
        names = max((len(what) for what, _, _ in plan.rows), default=0)
        for what, value, reason in plan.rows:
            self._row(what, names, value, reason)

    def _row(self, name: str, names: int, value: str, reason: str = "") -> None:
        """One aligned row; the reason goes to its own line when there is no room beside the value."""
        value, reason = self._screen.clean(value), self._screen.clean(reason)
        head = f"  {self._screen.clean(name):<{names}}  "
        text = f"{value}  ({reason})" if reason else value
        if len(head + text) > self._screen.width and reason:
            self._text(value, head)
            self._text(f"({reason})", " " * len(head))
        else:
            self._text(text, head)

    def record(self, values: Values) -> None:
        best = self._view.record(values)
        if "val_loss" not in values and self._clock() - self._shown_at < SECONDS_BETWEEN_LINES:
            return
        self._shown_at = self._clock()
        lines = wrap(self._view.line(values, best), self._screen.width - 2)
        for number, fields in enumerate(lines):
            text = "  ".join(" ".join(part for part in field if part) for field in fields)
            self._screen.line("  " * bool(number) + text)

    def progress(self, step: int, fraction: float, values: Values) -> None:
        self._view.progress(step, fraction, values)

    def sample(self, step: int, text: str) -> None:
        self._screen.line(f"sample at step {step}:")
        for line in sample_lines(self._screen.clean(text), self._screen.width - 4):
            self._screen.line(f"    {line}".rstrip())

    def note(self, text: str) -> None:
        self._text(text)

    def warn(self, text: str) -> None:
        self._text(text, "warning: ")

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        rows = self._view.results(summary, self._screen.encoding)
        names = max(len(name) for name, _ in rows)
        self._screen.line("results")
        for name, value in rows:
            self._row(name, names, value)
        for number, command in enumerate(next_commands):
            # Never wrapped: it is there to be copied.
            self._screen.line(("next:   " if not number else " " * 8) + self._screen.clean(command))

    def _text(self, text: str, head: str = "") -> None:
        """`text` after `head`, wrapped, with further lines indented under its start."""
        indent = " " * min(len(head), self._screen.width // 2) if head else "  "
        for line in textwrap.wrap(
            self._screen.clean(text),
            self._screen.width,
            initial_indent=head,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self._screen.line(line)


class QuietSink(Sink):
    """Warnings and one line at the end."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._view = View()

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        self._view.start(plan, total_steps, start_step)

    def warn(self, text: str) -> None:
        self._screen.line(f"warning: {self._screen.clean(text)}")

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self._screen.line(self._view.result_line(summary))
