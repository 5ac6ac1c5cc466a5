"""What is told of a sweep while it runs: lines, and on a real terminal a small table below them that is drawn over.

Knows what runs write, not how points are run. Everything goes to stderr; stdout stays empty.
"""

import time
from collections import Counter
from collections.abc import Sequence

from gptforge.config.units import shown_seconds
from gptforge.errors import LONGEST_LINE
from gptforge.history import DONE, FAILED, RUNNING, STOPPED, Entry, read
from gptforge.notices import say
from gptforge.sweep.points import CUT, WAITING, Point, Sweep

SECONDS_BETWEEN_LOOKS = 1.0  # at what the runs have written
SECONDS_BETWEEN_LINES = 30.0  # where nothing can be drawn over
HEADS = ("point", "step", "val_loss", "left", "overrides")


class Board:
    """Lines alone, as pipes and log files want them."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._began = self._looked_at = self._told_at = time.monotonic()
        self._held: set[int] = set()
        self._durations: list[float] = []
        self.entries: dict[int, Entry] = {}  # of the points that run

    def began(self, point: Point) -> None:
        self.line(f"point {point.number} begins: {self.what(point)}")

    def held(self, point: Point) -> None:
        """Another process still has the run of a point."""
        if point.number not in self._held:
            self._held.add(point.number)
            self.line(f"point {point.number} is still in use by another process; it waits for that")

    def warned(self, point: Point, text: str) -> None:
        self.line(f"point {point.number}: {text}")

    def ended(self, point: Point, until: int | None) -> None:
        self.entries.pop(point.number, None)
        if point.status == FAILED:
            self.line(f"point {point.number} failed: {self.what(point)}\ngptforge: {point.error}")
            return
        seconds = point.results.get("seconds")
        if point.status == DONE and seconds:
            self._durations.append(seconds)
        status = f"is at step {until}" if until is not None and point.status != DONE else point.status
        bits = f": {point.bits:.4f} bits/byte" if point.bits is not None else ""
        took = f", {shown_seconds(seconds)}" if seconds else ""
        self.line(f"point {point.number} {status}{bits}{took}: {self.what(point)}")

    def tick(self, running: Sequence[Point]) -> None:
        """Called a few times a second."""
        now = time.monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self.entries = {p.number: read(str(p.number), self._sweep.run(p)) for p in running}
            self.draw()

    def draw(self) -> None:
        if time.monotonic() - self._told_at >= SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            running = (f"point {row[0]} at step {row[1]}, {row[3]} left" for row in self.rows())
            self.line("; ".join([self.state(), *running]))

    def line(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        pass

    # What is shown ------------------------------------------------------------------------------------------------

    def what(self, point: Point) -> str:
        """The overrides that tell a point from the others."""
        text = " ".join(self._sweep.swept(point)) or "the defaults"
        return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"

    def state(self) -> str:
        """How far the sweep is."""
        points = self._sweep.points
        count = Counter(p.status for p in points)
        parts = [f"{count[DONE]} of {max(len(points), self._sweep.size)} points done"]
        parts += [f"{count[s]} {s}" for s in (FAILED, CUT, STOPPED, RUNNING) if count[s]]
        parts += [f"{self._waiting()} waiting"] if self._waiting() else []
        left = self._left()
        parts.append(f"{shown_seconds(time.monotonic() - self._began)} gone")
        return ", ".join(parts + ([f"about {shown_seconds(left)} left"] if left is not None else []))

    def rows(self) -> list[tuple[str, ...]]:
        """The points that run, by the columns of HEADS."""
        rows = []
        for number, entry in self.entries.items():
            step = f"{entry.step or 0}/{entry.steps}" if entry.steps else str(entry.step or 0)
            loss = f"{entry.val_loss:.4f}" if entry.val_loss is not None else "-"
            left = _left_of(entry)
            rows.append((str(number), step, loss, shown_seconds(left) if left is not None else "-"))
        return [(*row, self.what(self._sweep.points[int(row[0])])) for row in rows]

    def _waiting(self) -> int:
        points = self._sweep.points
        return sum(p.status == WAITING for p in points) + max(0, self._sweep.size - len(points))

    def _left(self) -> float | None:
        """Seconds until the end, by how long the points took so far; None while nothing is known."""
        of_running = [left for entry in self.entries.values() if (left := _left_of(entry)) is not None]
        running = [entry for entry in self.entries.values() if entry.steps]
        totals = self._durations or [(e.seconds or 0.0) + (_left_of(e) or 0.0) for e in running]
        if not totals or (self.entries and not of_running):
            return None
        return (self._waiting() * sum(totals) / len(totals) + sum(of_running)) / self._sweep.cfg.n_jobs


def _left_of(entry: Entry) -> float | None:
    if not entry.step or not entry.steps or not entry.seconds:
        return None
    return entry.seconds / entry.step * max(0, entry.steps - entry.step)
