"""What happens in a run, as the trainer tells it: the plan, records, samples, notes, warnings, the end.

A sink overrides what it cares about. Knows nothing of files, terminals or what the metrics mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]  # numbers by metric name


@dataclass(slots=True)
class Plan:
    """What will run and why. A row is (what, value, reason)."""

    title: str
    rows: list[tuple[str, str, str]]
    run_dir: str


class Sink:
    """Somewhere a run is told about. Every method does nothing until it is overridden."""

    title = ""  # how it is spoken of; without one, by the name of its class

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        """Before the first step; `start_step` is above 0 in a run that is continued."""

    def record(self, values: Values) -> None:
        """One line of metrics: `step` and any of the columns of metrics.csv."""

    def progress(self, step: int, fraction: float, values: Values) -> None:
        """After every step; `fraction` is the share of the run that is done. For live displays only."""

    def sample(self, step: int, text: str) -> None:
        """A text the model has written."""

    def note(self, text: str) -> None:
        """Something worth knowing, such as a saved checkpoint."""

    def warn(self, text: str) -> None:
        """Something that the user should look at."""

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        """The end: the content of summary.json, and what to type next."""

    def close(self) -> None:
        """Let go of files and the screen. May be called twice."""
