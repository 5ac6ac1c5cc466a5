"""A run that is over, sent to a tracker: the same numbers and texts as if it had been followed live."""

from dataclasses import dataclass, replace

from gptforge.errors import CheckpointError, ResourceError, UserError
from gptforge.jsonfile import read_json
from gptforge.runs import Run
from gptforge.trackers import TrackedRun
from gptforge.trackers.delivery import SAMPLE, Delivery, events, safe
from gptforge.trackers.found import load
from gptforge.trackers.memory import ENDED, MISSED, Tracked, keep, recall
from gptforge.trackers.sink import name_of


@dataclass(frozen=True, slots=True)
class Exported:
    """What was sent. `id` is what the tracker knows the run by."""

    run: str
    tracker: str
    id: str | None
    records: int
    samples: int


def export(run: Run, tracker: str) -> Exported:
    """Sends a run to a tracker, as a new tracked run where the tracker cannot forget one that it has.

    Raises CheckpointError for a run that cannot be read or has no metrics, LockedError for one that is in use,
    ConfigError for a tracker that is not there, ResourceError for one that fails.
    """
    with run.locked():
        saved = read_json(run.config, "the saved config").get("config")
        summary = read_json(run.summary, "the summary") if run.summary.exists() else {}
        found = list(events(run.path))
        if not found or not isinstance(saved, dict):
            what = "has no metrics yet" if not found else "has no config"
            raise CheckpointError(f"{run.path} {what}: there is nothing to send", where=str(run.metrics))
        name, group = name_of(run.path)
        try:
            chosen = load(tracker, "to")()
            if had := recall(run.path, tracker):  # should this end half-way, one that takes back has lost what it had
                keep(run.path, tracker, replace(had, state=MISSED))
            known = chosen.start(TrackedRun(run.path, name, safe(saved), group))
            chosen.back(0)  # what it had of this run
            delivery = Delivery(chosen, {}, 0)
            for event in found:
                delivery.send(event)
            chosen.finish(safe(summary))
        except UserError:
            raise
        except Exception as e:
            fix = f"gptforge runs export {run.pointer_name} to={tracker}"
            raise ResourceError(f"the tracker {tracker} failed: {type(e).__name__}: {e}", fix=fix) from e
        keep(run.path, tracker, Tracked(known, delivery.sent, ENDED))
    samples = sum(event.kind == SAMPLE for event in found)
    return Exported(run.pointer_name, tracker, known, len(found) - samples, samples)
