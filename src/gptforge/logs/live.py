"""A run on a real terminal: tables before and after, and between them a small area that is drawn over.

Knows rich, and that it is never to be trusted with the run: it is drawn from the training thread
(no thread of its own that could fail unseen), at most four times a second.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gptforge.config.units import shown_seconds
from gptforge.logs.events import Plan, Sink, Values
from gptforge.logs.screen import Screen, spark, wrap
from gptforge.logs.view import CURVE_WIDTH, Fields, History, View, loss_text, sample_lines

SECONDS_BETWEEN_DRAWINGS = 0.25


class _Console(Console):
    """rich's console, which would end the process when the terminal has gone."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the BrokenPipeError


def terminal(screen: Screen) -> Console:
    """rich's console on a screen of which it has been asked whether it can draw; rich itself believes FORCE_COLOR."""
    return _Console(
        file=screen,  # type: ignore[arg-type] - rich needs write, flush, isatty, fileno and encoding only
        force_terminal=True,
        force_interactive=True,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _fields(fields: Fields) -> Text:
    return Text("  ").join(
        Text(" ").join([*([Text(label, "dim")] if label else []), Text(value)]) for label, value in fields
    )


class _Area:
    """The area that is drawn over: a bar, the loss, and the numbers."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self._view
        width = min(options.max_width, 100)
        share = f"{view.fraction:4.0%}"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=view.fraction, width=width - len(share) - 1), share)
        yield bar
        left = view.left()
        times = [
            ("step", view.steps()),
            ("elapsed", shown_seconds(view.elapsed())),
            ("left", shown_seconds(left) if left is not None else "-"),
        ]
        for line in wrap(times, width):
            yield _fields(line)
        if view.smoothed is not None:
            loss = loss_text(view.smoothed)
            curve = spark(view.losses, min(CURVE_WIDTH, width - len(loss) - 8), console.encoding)
            yield Text.assemble(("loss ", "dim"), (loss, "bold"), "  ", (curve, "cyan"))
        for line in wrap(view.dashboard(), width):
            yield _fields(line)


class RichSink(Sink):
    """Tables, a live area, and permanent lines above it."""

    def __init__(
        self, screen: Screen, history: History | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = terminal(screen)
        self._screen = screen
        self._clock = clock
        self._view = View(history, clock)
        self._live: Live | None = None
        self._drawn_at = float("-inf")

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        self._view.start(plan, total_steps, start_step)
        table = Table("what", "value", "why", box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for column, style in zip(table.columns, ("cyan", "", "dim"), strict=True):
            column.overflow = "fold"
            column.style = style
        for row in plan.rows:
            table.add_row(*map(self._text, row))
        self._console.print(self._text(plan.title, "bold"))
        self._console.print(table)

    def progress(self, step: int, fraction: float, values: Values) -> None:
        self._view.progress(step, fraction, values)
        if self._live is None:
            # stdout stays as it is: it may be a file of data while stderr is the terminal.
            area = _Area(self._view)
            self._live = Live(area, console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        if self._clock() - self._drawn_at >= SECONDS_BETWEEN_DRAWINGS:
            self._drawn_at = self._clock()
            self._live.refresh()

    def record(self, values: Values) -> None:
        best = self._view.record(values)
        if "val_loss" in values:
            for line in wrap(self._view.line(values, best), min(self._console.width, 100)):
                text = _fields(line)
                text.highlight_words([" (best)"], "bold green")
                self._console.print(text)

    def sample(self, step: int, text: str) -> None:
        self._console.print(self._text(f"sample at step {step}:", "dim"))
        for line in sample_lines(self._screen.clean(text), min(self._console.width, 100) - 4):
            self._console.print(Text(f"    {line}", "italic"))

    def note(self, text: str) -> None:
        self._console.print(self._text(text, "dim"))

    def warn(self, text: str) -> None:
        self._console.print(Text.assemble(("warning: ", "bold yellow"), self._text(text, "yellow")))

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self.close()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in self._view.results(summary, self._console.encoding):
            table.add_row(name, self._text(value, "bold green" if name == "best val loss" else ""))
        self._console.print()
        self._console.print(table)
        for number, command in enumerate(next_commands):
            # Never wrapped by us: it is there to be copied.
            line = Text.assemble(("next:   " if not number else " " * 8, "dim"), self._text(command, "bold"))
            self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _text(self, value: str, style: str = "") -> Text:
        """Text as it is: no markup, no control codes."""
        return Text(self._screen.clean(value), style=style)
