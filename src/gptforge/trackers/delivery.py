"""What is sent to a tracker: numbers and texts, each step once, also when a run goes back or on; without secrets.

The same for a run that is followed live and for one that is exported. Knows neither threads nor which tracker it is.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptforge.config.schema import flatten
from gptforge.errors import looks_secret, without_passwords
from gptforge.logs.files import read_metrics
from gptforge.runs import STEP_DIR
from gptforge.trackers import Tracker

REDACTED = "<redacted>"
EVALUATION = "evaluation"
SAMPLE = "sample"  # the name of the texts that a model writes at an evaluation
Marks = dict[str, int]  # the last step that was sent, for each kind of event


@dataclass(frozen=True, slots=True)
class Event:
    """A record of metrics, or a text, at a step. Those of one kind come in the order of their steps."""

    kind: str
    step: int
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


def record(values: Mapping[str, Any]) -> Event | None:
    """A record of metrics as it is sent: its finite numbers. None for one that has no step."""
    step = values.get("step")
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    numbers = {name: _number(value) for name, value in values.items() if name != "step"}
    kind = EVALUATION if "val_loss" in values else "training"
    return Event(kind, step, {name: number for name, number in numbers.items() if number is not None})


def sample(step: int, text: str) -> Event:
    return Event(SAMPLE, step, text=text)


def events(run_dir: Path) -> Iterator[Event]:
    """What a run has told so far, in the order in which it did, from its files. Raises CheckpointError."""
    names = ((STEP_DIR.fullmatch(path.stem), path) for path in run_dir.glob("samples/*.txt"))
    texts = sorted((int(name[1]), path) for name, path in names if name)
    records = [one for one in map(record, read_metrics(run_dir / "metrics.jsonl")) if one]
    for n, one in enumerate(records):
        yield one
        following = records[n + 1].step if n + 1 < len(records) else one.step + 1
        while texts and texts[0][0] < following:  # after all records of its step; what is later still was forgotten
            step, path = texts.pop(0)
            yield sample(step, path.read_text(encoding="utf-8", errors="replace"))


def lacks(sent: Marks, event: Event) -> bool:
    """Whether one that has been sent all up to these marks has not been sent this event."""
    return event.step > sent.get(event.kind, -1)


class Delivery:
    """Events to a tracker that has been started, in their order. `sent` is what it has from earlier starts.

    What it has of later steps than `step` is no longer so, and is taken back if it can.
    """

    def __init__(self, tracker: Tracker, sent: Marks, step: int) -> None:
        self._tracker = tracker
        self.sent = dict(sent)
        if any(mark > step for mark in sent.values()):
            self._back(step + 1)

    def send(self, event: Event) -> None:
        if not lacks(self.sent, event) and not self._back(event.step):
            return  # made anew after the run went back; it has the first one
        if event.kind == SAMPLE:
            self._tracker.text(SAMPLE, event.text, event.step)
        elif event.values:
            self._tracker.log(event.values, event.step)
        self.sent[event.kind] = event.step  # now: what it has refused was not sent

    def _back(self, step: int) -> bool:
        """Whether the tracker has forgotten this step and later ones."""
        if not self._tracker.back(step):
            return False
        self.sent = {kind: min(mark, step - 1) for kind, mark in self.sent.items()}
        return True


def safe(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config or summary as it may leave this machine: dotted names, without what looks like a secret."""
    return {name: REDACTED if looks_secret(name) else _safe(value) for name, value in flatten(tree).items()}


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return safe(value) if isinstance(value, Mapping) else value


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
