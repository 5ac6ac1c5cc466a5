"""trackers.json in a run directory: by which id each tracker knows the run, and which steps it has been sent."""

import contextlib
import threading
from pathlib import Path
from typing import Any

from gptforge.errors import CheckpointError
from gptforge.jsonfile import read_json, write_json
from gptforge.trackers.delivery import Marks

_LOCK = threading.Lock()  # each tracker of a run writes its own entry, in a thread of its own


def recall(run_dir: Path, tracker: str) -> tuple[str | None, Marks] | None:
    """(id, last steps sent) of a run that was tracked before; None for one that was not, or a file that is damaged."""
    entry = _read(run_dir).get(tracker)
    if not isinstance(entry, dict):
        return None
    found, steps = entry.get("id"), entry.get("steps")
    steps = steps if isinstance(steps, dict) else {}
    return found if isinstance(found, str) else None, {k: v for k, v in steps.items() if isinstance(v, int)}


def keep(run_dir: Path, tracker: str, found: str | None, sent: Marks) -> None:
    """Writes down that a run is tracked. Raises OSError."""
    with _LOCK:
        write_json(run_dir / "trackers.json", _read(run_dir) | {tracker: {"id": found, "steps": sent}})


def _read(run_dir: Path) -> dict[str, Any]:
    with contextlib.suppress(CheckpointError):
        return read_json(run_dir / "trackers.json", "trackers.json")
    return {}
