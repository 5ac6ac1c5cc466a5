"""Brings events to one tracker in a thread of its own, so that it neither stops nor slows a run.

A tracker may raise anything, or never return. What it raises is kept until somebody asks; one that does not return is
left behind, and the process ends without it.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from gptforge.trackers import TrackedRun, Tracker
from gptforge.trackers.delivery import EVALUATION, Delivery, Event, lacks
from gptforge.trackers.gaps import Past
from gptforge.trackers.memory import ENDED, MISSED, Tracked

MOST_WAITING = 50_000  # events, some 30 MB; a tracker that is further behind is given up
PATIENCE = 30.0  # seconds at the end of a run for what is still to be sent
PATIENCE_STOPPED = 10.0  # the same for one that was stopped, perhaps by a machine that is about to go

left_behind: set[str] = set()  # trackers that failed or never returned; their libraries may hold up the process's end


class TrackerFault(Exception):
    """A tracker that has failed, in words."""


class Courier:
    """The way to one tracker. `make` gives it; `past` is what it has and what it is sent first; `keep` writes down how
    far it has come: at its start, at each evaluation, and when it ends or fails."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Tracker],
        run: TrackedRun,
        past: Past,
        keep: Callable[[Tracked], None],
    ) -> None:
        self._name, self._make, self._run, self._past, self._keep = name, make, run, past, keep
        self._queue: queue.Queue[Event | Mapping[str, Any]] = queue.Queue(MOST_WAITING)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Hands over an event, at once. Raises TrackerFault if the tracker has failed, or takes nothing any longer."""
        self._put(event)

    def check(self) -> None:
        """Raises TrackerFault if the tracker has failed."""
        if self._fault is not None:
            left_behind.add(self._name)
            reason = str(self._fault).strip() or "it said nothing"
            raise TrackerFault(f"{type(self._fault).__name__}: {reason.splitlines()[0]:.200}")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Ends the tracked run and waits until all is sent, but not longer than PATIENCE. Raises TrackerFault."""
        patience = PATIENCE_STOPPED if summary.get("status") == "stopped" else PATIENCE
        until = time.monotonic() + patience
        self._put(summary)
        self._thread.join(max(0.0, until - time.monotonic()))
        self.check()
        if self._thread.is_alive():
            left_behind.add(self._name)
            raise TrackerFault(f"it has not taken all there was within {patience:g} s")

    def _put(self, what: Event | Mapping[str, Any]) -> None:
        self.check()
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            left_behind.add(self._name)
            raise TrackerFault(f"it is {MOST_WAITING:,} records behind") from None

    def _work(self) -> None:
        """In the thread: everything that calls the tracker."""
        found, delivery = self._run.id, None
        try:
            tracker = self._make()
            found = tracker.start(self._run)
            delivery = Delivery(tracker, self._past.sent, self._past.sound)
            self._keep(Tracked(found, delivery.sent))
            for event in self._past.events:
                if lacks(delivery.sent, event):
                    self._send_on(event, delivery, found)
            while isinstance(event := self._queue.get(), Event):
                self._send_on(event, delivery, found)
            tracker.finish(event)
            self._keep(Tracked(found, delivery.sent, ENDED))
        except BaseException as e:  # SystemExit too: a library's wish to end is no reason for a run to
            with contextlib.suppress(Exception):  # first, for the process may end as soon as the fault is known
                sent = delivery.sent if delivery else self._past.sent
                self._keep(Tracked(found, sent, MISSED))
            self._fault = e

    def _send_on(self, event: Event, delivery: Delivery, found: str | None) -> None:
        delivery.send(event)
        if event.kind == EVALUATION:
            self._keep(Tracked(found, delivery.sent))
