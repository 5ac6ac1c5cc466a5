"""Trackers as sinks of a run, one each: what it tells goes to them, live. Knows neither torch nor the trainer."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptforge.errors import CheckpointError
from gptforge.history import FAILED, RUNNING
from gptforge.jsonfile import read_json
from gptforge.logs.events import Plan, Sink, Values
from gptforge.runs import SWEEP
from gptforge.trackers import TrackedRun
from gptforge.trackers.courier import Courier
from gptforge.trackers.delivery import Event, record, safe, sample
from gptforge.trackers.found import load
from gptforge.trackers.gaps import past, told
from gptforge.trackers.memory import FOLLOWED, Tracked, keep, recall


class TrackerSink(Sink):
    """One tracker of a run in `run_dir`, whose config is `config`."""

    def __init__(self, tracker: str, run_dir: Path, config: Mapping[str, Any]) -> None:
        self.title = f"tracker {tracker}"
        self._tracker, self._run_dir, self._config = tracker, run_dir, config
        self._before = recall(run_dir, tracker)
        killed = self._before is not None and self._before.state == FOLLOWED
        self._told = told(run_dir) if killed else []  # now, before the run's metrics are cut back
        self._courier: Courier | None = None

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        """Begins to track the run, or goes on; the tracker first gets what it has missed."""
        had = past(self._before, self._told, told(self._run_dir), start_step)
        self._told = []
        name, group = name_of(self._run_dir)
        found = self._before.id if self._before else None
        run = TrackedRun(self._run_dir, name, safe(self._config), group, found, had.step)
        self._courier = Courier(self._tracker, lambda: load(self._tracker)(), run, had, self._keep)

    def record(self, values: Values) -> None:
        self._send(record(values))

    def progress(self, step: int, fraction: float, values: Values) -> None:
        if self._courier:
            self._courier.check()

    def sample(self, step: int, text: str) -> None:
        self._send(sample(step, text))

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        courier, self._courier = self._courier, None
        if courier:
            courier.finish(safe(summary))

    def close(self) -> None:
        """Ends the tracked run of a run that has failed; its summary says why."""
        if self._courier is None:
            return
        summary: dict[str, Any] = {}
        with contextlib.suppress(CheckpointError):
            summary = read_json(self._run_dir / "summary.json", "the summary")
        if summary.get("status", RUNNING) == RUNNING:
            summary["status"] = FAILED
        self.finish(summary, [])

    def _send(self, event: Event | None) -> None:
        if self._courier and event:
            self._courier.send(event)

    def _keep(self, known: Tracked) -> None:
        keep(self._run_dir, self._tracker, known)


def name_of(run_dir: Path) -> tuple[str, str | None]:
    """What a tracked run is called, and its group: a point of a sweep has the sweep's name before its number."""
    place = run_dir.resolve()
    if (place.parent / SWEEP).is_file():
        return f"{place.parent.name}-{place.name}", place.parent.name
    return place.name, None
