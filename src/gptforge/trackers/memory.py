"""trackers.json in a run directory: by which id each tracker knows the run, and which steps it has been sent."""

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptforge.errors import CheckpointError
from gptforge.jsonfile import read_json, write_json
from gptforge.trackers.delivery import Marks

NAME = "trackers.json"
FOLLOWED, ENDED, MISSED = "followed", "ended", "missed"
_LOCK = threading.Lock()  # each tracker of a run writes its own entry, in a thread of its own


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is known of a run in a tracker: the id, the steps that it has been sent, and whether there are others.

    It is FOLLOWED while more is being sent, and after a kill. When it has ENDED it has been sent this and no more, and
    the run has done nothing since. It has MISSED something if the run has gone on, or back, without it.
    """

    id: str | None = None
    sent: Marks = field(default_factory=dict)
    state: str = FOLLOWED


def recall(run_dir: Path, tracker: str) -> Tracked | None:
    """What is known of a run that was tracked before; None for one that was not, or a file that is damaged."""
    entry = _read(run_dir).get(tracker)
    if not isinstance(entry, dict):
        return None
    found, steps = entry.get("id"), entry.get("steps")
    steps = steps if isinstance(steps, dict) else {}
    sent = {kind: step for kind, step in steps.items() if isinstance(step, int)}
    state = entry.get("state")
    return Tracked(found if isinstance(found, str) else None, sent, state if state in (ENDED, MISSED) else FOLLOWED)


def keep(run_dir: Path, tracker: str, known: Tracked) -> None:
    """Writes down what is known of a run in a tracker. Raises OSError."""
    entry = {"id": known.id, "steps": known.sent, "state": known.state}
    with _LOCK:
        write_json(run_dir / NAME, _read(run_dir) | {tracker: entry})


def tracked_by(run_dir: Path) -> list[str]:
    """The names of all trackers that the run has had."""
    return list(_read(run_dir))


def _read(run_dir: Path) -> dict[str, Any]:
    with contextlib.suppress(CheckpointError):
        return read_json(run_dir / NAME, NAME)
    return {}
