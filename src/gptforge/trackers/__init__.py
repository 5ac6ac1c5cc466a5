"""Trackers: where a run is told about beside its own files, such as TensorBoard or a server; and what one has to do.

metrics.jsonl is the truth, a tracker gets a copy. This is the whole of what a package needs to know that brings one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told at the start.

    `config` has dotted names and no secrets; `group` is the sweep that the run is a point of. `id` is what `start`
    returned when the run was first tracked, None at the first time; what comes now is of later steps than `step`,
    unless `back` says otherwise.
    """

    run_dir: Path
    name: str
    config: Mapping[str, Any]
    group: str | None = None
    id: str | None = None
    step: int = 0


class Tracker:
    """One tracked run. Made without arguments; every method does nothing until it is overridden.

    All methods are called one after the other in one thread, which is not the one that trains: they may be slow. What
    they raise is told once as a warning, and the run goes on without the tracker.
    """

    def start(self, run: TrackedRun) -> str | None:
        """Begin to track, or go on with `run.id`. Returns the id by which the tracked run is found again, if any."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers by the names that they have in metrics.jsonl; for one step there may be several calls."""

    def text(self, name: str, text: str, step: int) -> None:
        """A text that the model has written."""

    def back(self, step: int) -> bool:
        """Forget what was logged at this step and later, for the run has gone back; False where that cannot be.

        Then steps that are made anew are not logged a second time.
        """
        return False

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The end. `summary` is that of summary.json; its `status` is done, stopped or failed."""
