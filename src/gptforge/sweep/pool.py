"""Runs the points of a sweep, some at a time, each as a `gptforge train` process of its own.

Knows what a process says on stderr and how it ends, not why a point is run nor how that is shown (see board.py).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from gptforge.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED
from gptforge.history import DONE, FAILED, STOPPED, in_use
from gptforge.runs import Run
from gptforge.signals import PARENT, StopSignals
from gptforge.sweep.board import Board
from gptforge.sweep.points import RUNNING, Point, Sweep, take_results

POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """A point that is to train, up to a step or to its end."""

    point: Point
    until: int | None = None


@dataclass(slots=True)
class Job:
    """A task's process, and what it says of its failure."""

    task: Task
    process: subprocess.Popen[bytes]
    place: int
    error: list[str] = field(default_factory=list)

    @property
    def point(self) -> Point:
        return self.task.point


class Pool:
    """So many places for processes. `environments[i]` is what a process in place i finds beside our own environment.

    `closed` is set once a failure is to be the last thing that happens; `on_ended` is called with each point that ends.
    """

    def __init__(
        self, sweep: Sweep, environments: Sequence[Mapping[str, str]], board: Board, signals: StopSignals
    ) -> None:
        self._sweep, self._environments, self._board, self._signals = sweep, environments, board, signals
        self._free = list(range(len(environments)))
        self._jobs: list[Job] = []
        self._events: SimpleQueue[tuple[Job, str | int]] = SimpleQueue()
        self._told = False  # of a signal
        self.closed = False
        self.on_ended: Callable[[Point], None] = lambda point: None
        signals.pass_on = self._pass_on

    def run(self, tasks: Iterable[Task]) -> None:
        """Runs the tasks in their order, each taken when there is a place for it. Returns when all have ended, or those
        that had begun when it was closed."""
        waiting = _Queue(iter(tasks), lambda task: in_use(self._sweep.run(task.point)), self._board.held)
        while self._jobs or (waiting.more and not self.stopping()):
            while self._free and not self.stopping() and (task := waiting.take()):
                self._begin(task)
            self._board.tick([job.point for job in self._jobs])
            self._tell_of_stopping()
            self._listen()

    def stopping(self) -> bool:
        """Whether no further process may begin."""
        return self.closed or bool(self._signals.asked)

    def _tell_of_stopping(self) -> None:
        """Once after a signal: that the points do as they are told."""
        if self._signals.asked and not self._told:
            self._told = True
            what = f"{len(self._jobs)} point{'' if len(self._jobs) == 1 else 's'} save what they have"
            self._board.line(f"stopping ({self._signals.asked}): {what}; a second Ctrl-C ends them at once")

    def _begin(self, task: Task) -> None:
        point, place = task.point, self._free.pop(0)
        point.status = RUNNING
        self._sweep.write()
        self._board.began(point)
        environment = {**os.environ, **self._environments[place], PARENT: str(os.getpid())}
        process = subprocess.Popen(
            command(self._sweep, task),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which passes it on
            env=environment,
        )
        job = Job(task, process, place)
        self._jobs.append(job)
        if self._signals.asked:  # while the process was being made
            process.send_signal(signal.SIGTERM)
        threading.Thread(target=_read, args=(job, self._events.put), daemon=True).start()

    def _listen(self) -> None:
        """Takes what the processes have said meanwhile; waits a little for the first of it."""
        until = time.monotonic() + POLL_SECONDS
        while True:
            try:
                job, what = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return
            if isinstance(what, int):
                self._ended(job, what)
                return
            self._heard(job, what)

    def _heard(self, job: Job, line: str) -> None:
        if not hear(job.error, line) and line.startswith(("gptforge: warning", "warning: ")):
            self._board.warned(job.point, line.removeprefix("gptforge: "))

    def _ended(self, job: Job, code: int) -> None:
        self._jobs.remove(job)
        self._free.append(job.place)
        point = job.point
        settle(point, self._sweep.run(point), code, job.error, bool(self._signals.asked))
        self.closed |= self._sweep.cfg.fail_fast and point.status == FAILED
        self._sweep.write()
        self._board.ended(point, job.task.until)
        self.on_ended(point)

    def _pass_on(self, number: int) -> None:
        for job in self._jobs:
            job.process.send_signal(number if os.name != "nt" else signal.SIGTERM)


class _Queue:
    """Tasks in their order, but those whose run a process still has: of a sweep that was killed, one may be saving."""

    def __init__(self, tasks: Iterator[Task], is_held: Callable[[Task], bool], tell: Callable[[Point], None]) -> None:
        self._tasks, self._is_held, self._tell = tasks, is_held, tell
        self._held: list[Task] = []
        self._ended = False

    @property
    def more(self) -> bool:
        """Whether there may be another task."""
        return bool(self._held) or not self._ended

    def take(self) -> Task | None:
        """The next task that can begin; None: there is none now."""
        for task in self._held:
            if not self._is_held(task):
                self._held.remove(task)
                return task
        for task in self._tasks:
            if not self._is_held(task):
                return task
            self._held.append(task)
            self._tell(task.point)
        self._ended = True
        return None


def command(sweep: Sweep, task: Task) -> list[str]:
    """What is typed for a task: a new run, or one that goes on."""
    run = sweep.run(task.point)
    words = [sys.executable, "-m", "gptforge", "train"]
    if run.config.exists():
        words.append(f"resume={run.path}")
    else:
        words += [f"config={sweep.frozen(task.point)}", f"hydra.run.dir={run.path}"]
    if task.until is not None:
        newest = max(run.steps(), default=0)
        # At least one: a run that was stopped in its evaluation at that step makes it up before it trains on
        words.append(f"train.stop_after={max(1, task.until - newest)}")
    return words


def hear(error: list[str], line: str) -> bool:
    """Keeps a line that a process says, if it is of an error. Of several the last is why the process ended."""
    if line.startswith("gptforge: ") and not line.startswith("gptforge: warning"):
        error[:] = [line.removeprefix("gptforge: ")]
    elif error and line.startswith("  "):
        error.append(line)
    else:
        return False
    return True


def settle(point: Point, run: Run, code: int, error: Sequence[str], stopping: bool = False) -> None:
    """Writes into a point how its process has ended: with this exit code, after these lines of an error."""
    take_results(point, run)
    point.exit_code = code
    if code == EXIT_DONE:
        point.status = DONE
    elif code in (EXIT_STOPPED, EXIT_INTERRUPTED) or (stopping and code < 0):
        point.status = STOPPED
    else:
        point.status, point.error = FAILED, "\n".join(error) or _ended_by(code)


def _read(job: Job, put: Callable[[tuple[Job, str | int]], None]) -> None:
    """In a thread of its own: the lines that a process says, then its exit code."""
    assert job.process.stderr is not None
    with job.process.stderr as lines:
        for raw in lines:
            put((job, raw.decode("utf-8", "replace").rstrip("\r\n")))
    put((job, job.process.wait()))


def _ended_by(code: int) -> str:
    return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"
