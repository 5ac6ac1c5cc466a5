"""The points that run as a table that is drawn over, below the lines that stay. For real terminals."""

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gptforge.logs.live import terminal
from gptforge.logs.screen import Screen
from gptforge.sweep.board import HEADS, Board
from gptforge.sweep.points import Sweep

WIDEST = 120  # columns


class LiveBoard(Board):
    """Drawn from the thread that runs the sweep, once a second. A terminal that has gone ends the drawing alone."""

    def __init__(self, sweep: Sweep, screen: Screen, console: Console | None = None) -> None:
        super().__init__(sweep)
        self._screen = screen
        self._console = console or terminal(screen)
        self._live: Live | None = None

    def draw(self) -> None:
        try:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
                self._live.start()
            self._live.update(self.area(), refresh=True)
        except OSError:
            self._live = None

    def area(self) -> RenderableType:
        """The state of the sweep, and a row for each point that runs."""
        width = min(self._console.width, WIDEST)
        table = Table(*HEADS, box=SIMPLE_HEAD, pad_edge=False, header_style="dim", width=width)
        table.columns[-1].ratio = 1  # the others are as wide as what is in them
        for column, style in zip(table.columns, ("cyan", "", "bold", "", "dim"), strict=True):
            column.style, column.no_wrap, column.overflow = style, True, "ellipsis"
        for row in self.rows():
            table.add_row(*(Text(self._screen.clean(cell)) for cell in row))
        return Group(Text(self._screen.clean(self.state()), "bold"), table)

    def line(self, text: str) -> None:
        try:
            for row in text.splitlines():
                self._console.print(Text(self._screen.clean(row), "bold red" if row.startswith("gptforge: ") else ""))
        except OSError:
            self._live = None

    def close(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
