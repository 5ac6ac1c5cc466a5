"""Runs the points of a sweep through a launcher that is not ours, as pool.py does here.

Knows that it takes tasks and tells how each ended, not what it is: a cluster's queue, or other processes.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence

from gptforge import history
from gptforge.history import in_use
from gptforge.notices import say
from gptforge.signals import StopSignals
from gptforge.sweep.board import Board
from gptforge.sweep.points import RUNNING, WAITING, Point, Sweep, reconcile
from gptforge.sweep.pool import POLL_SECONDS, Task, settle

Launch = Callable[[Sweep, Sequence[Task]], list[tuple[int, list[str]]]]  # of each its exit code and its error's lines


class Elsewhere:
    """Has the methods of Pool, but hands all tasks over at once, and hears of them again when all have ended."""

    def __init__(self, sweep: Sweep, board: Board, launch: Launch) -> None:
        self._sweep, self._board, self._launch = sweep, board, launch
        self._given: list[Task] = []
        self.closed = False
        self.on_ended: Callable[[Point], None] = lambda point: None

    def run(self, tasks: Iterable[Task]) -> None:
        """Runs the tasks. Where the launcher fails or is interrupted, the runs themselves say how far they came."""
        self._given = [self._free(task) for task in tasks]
        if not self._given or self.closed:
            return
        for task in self._given:
            task.point.status = RUNNING
        self._sweep.write()
        name = self._sweep.cfg.launcher
        self._board.line(f"points given to launcher={name}: {len(self._given)}. It tells when all have ended")
        with StopSignals() as signals, signals.polled():
            signals.pass_on = self._pass_on
            try:
                ends = self._launch(self._sweep, self._given)
            except KeyboardInterrupt:
                self._lost("it was interrupted; what runs on other machines goes on")
            except Exception as e:  # what a launcher may raise nobody can say; it has lost its jobs
                self._lost(f"{type(e).__name__}: {e}")
            else:
                for task, (code, error) in zip(self._given, ends, strict=True):
                    self._ended(task, code, error)
            finally:
                self.closed |= bool(signals.asked)
                self._sweep.write()

    def stopping(self) -> bool:
        """Whether nothing further may begin."""
        return self.closed

    def _free(self, task: Task) -> Task:
        """The task, once no process of an earlier start of the sweep has its run any more."""
        while in_use(self._sweep.run(task.point)):
            self._board.held(task.point)
            time.sleep(POLL_SECONDS)
        return task

    def _pass_on(self, number: int) -> None:
        """After a signal: points that run on this machine stop and save, and jobs that wait find that they are not to
        begin. Raises KeyboardInterrupt where a point runs on another machine, which no signal reaches."""
        here = [history.holder(run) for task in self._given if in_use(run := self._sweep.run(task.point))]
        for task in self._given:
            if not in_use(self._sweep.run(task.point)):
                task.point.status = WAITING
        self._sweep.write()
        for pid in filter(None, here):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if None in here:
            raise KeyboardInterrupt

    def _ended(self, task: Task, code: int, error: list[str]) -> None:
        settle(task.point, self._sweep.run(task.point), code, error)
        self._board.ended(task.point, task.until)
        self.on_ended(task.point)

    def _lost(self, why: str) -> None:
        self.closed = True
        say(f"gptforge: launcher={self._sweep.cfg.launcher} has not ended well: {why}")
        reconcile(self._sweep)
