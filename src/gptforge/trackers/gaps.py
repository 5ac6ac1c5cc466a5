"""What a tracker lacks of a run that goes on, from what is known of it and from the run's files.

Knows neither threads, nor whether the tracker can take back what it has.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gptforge.errors import CheckpointError
from gptforge.trackers.delivery import EVALUATION, Event, Marks, events, lacks
from gptforge.trackers.memory import FOLLOWED, MISSED, Tracked, keep, recall, tracked_by


@dataclass(frozen=True, slots=True)
class Past:
    """What a tracker has from earlier starts. `sent` is what it counts as having if it can take nothing back.

    Up to the step `sound` it has what the run's files have. `events` are those that it may lack; once gone through
    they are let go of. What comes is of later steps than `step`, unless it takes back.
    """

    sent: Marks
    sound: int
    step: int
    events: Iterator[Event]


def past(known: Tracked | None, before: Iterable[Event], now: Iterable[Event], start_step: int) -> Past:
    """`before` is what the run's files told when it was left, `now` what they tell up to the step it goes on from."""
    if known is None:
        return Past({}, 0, 0, iter(list(now)))
    sent = perhaps_sent(known.sent, before) if known.state == FOLLOWED else known.sent
    sound = start_step
    if known.state == MISSED:  # what it has may be of steps that were made anew since
        sound = 0
    elif known.state == FOLLOWED:  # it has all that came before the last event that was written down
        sound = max(0, min(start_step, max(known.sent.values(), default=0) - 1))
    missing = [event for event in now if event.step > sound or lacks(sent, event)]
    first = next((event.step for event in missing if lacks(sent, event)), None)
    step = start_step if first is None else min(first - 1, max(sent.values(), default=0))
    return Past(sent, sound, step, iter(missing))


def goes_on(run_dir: Path) -> None:
    """Writes down, before the run's files are changed, that all trackers miss what the run does from here on.

    One that follows it will say so. Raises OSError, and ValueError for an id that is no text that can be written.
    """
    for tracker in tracked_by(run_dir):
        known = recall(run_dir, tracker)
        if known is None or known.state == MISSED:
            continue
        sent = perhaps_sent(known.sent, told(run_dir)) if known.state == FOLLOWED else known.sent
        keep(run_dir, tracker, replace(known, sent=sent, state=MISSED))


def told(run_dir: Path) -> list[Event]:
    """What the run's files tell so far; nothing, if they are damaged."""
    with contextlib.suppress(CheckpointError, OSError):
        return list(events(run_dir))
    return []


def perhaps_sent(sent: Marks, so_far: Iterable[Event]) -> Marks:
    """`sent`, with what followed it before the process was killed: it was most likely sent.

    To send it again would show it twice for good in a tracker that cannot take back; not to send it may leave a gap.
    The gap is small: what comes after the next evaluation was not sent, or that evaluation would be written down.
    """
    found = dict(sent)
    for event in so_far:
        if lacks(found, event):
            found[event.kind] = event.step
            if event.kind == EVALUATION:
                break
    return found
