"""Ctrl-C and SIGTERM as a question that the work asks itself at good moments. Knows nothing of the work.

First signal: `asked` becomes true; before `polled()` it raises Stopped at once, for there is nothing to finish.
Second signal: the process ends on the spot with 130. Before and after all that, see `end_at_once`.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from gptforge.errors import EXIT_INTERRUPTED, Stopped

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
# Told when the parent is gone, to a process that follows one. A signal of its own, for it comes once for each thread
# that the parent had (Linux hands the children of a thread that dies to the next one): nobody asks a second time
PARENT_GONE = getattr(signal, "SIGUSR2", None)

PARENT = "GPTFORGE_PARENT"  # the environment variable that names the process whose end is this one's

_follows = False  # whether this process was started for another one's sake

NOT_BEGUN = b"\ngptforge: stopped before the first step\n"


class StopSignals:
    """Handlers for the length of a `with`. `pass_on(number)`, if set, hands signals to child processes.

    With a `rank` this is one of several processes: the first alone speaks, and what a second signal does is decided
    by whoever started them.
    """

    def __init__(self, rank: int | None = None) -> None:
        self._rank = rank
        self.asked: str = ""  # the signal's name once one came
        self.pass_on: Callable[[int], None] | None = None
        self._polled = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        self._before = _handle(self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    @contextlib.contextmanager
    def polled(self) -> Iterator[None]:
        """While inside, the work promises to look at `asked`; a first signal interrupts nothing."""
        self._polled = True
        try:
            yield
        finally:
            self._polled = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        parent_gone = _follows and number == PARENT_GONE
        if self.asked and (self._rank is not None or parent_gone):
            return
        if self.asked:
            show_cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a live display may have hidden it
            _tell(show_cursor + b"\ngptforge: stopped at once\n")
            if self.pass_on is not None:
                self.pass_on(number)
            os._exit(EXIT_INTERRUPTED)
        self.asked = "the end of its parent" if parent_gone else signal.Signals(number).name
        if self.pass_on is not None:
            self.pass_on(number)
        if not self._polled:
            if not self._rank:
                _tell(NOT_BEGUN)
            raise Stopped(self.asked)


def end_at_once(code: int, message: bytes = b"") -> None:
    """From now on a signal ends the process with `code`: of a work that has not begun, or that is over."""

    def end(number: int, frame: FrameType | None) -> None:
        _tell(message)
        os._exit(code)

    _handle(end)


def turn_deaf() -> None:
    """For the last moments of a process: Python takes its handlers away then, and a signal would kill."""
    _handle(signal.SIG_IGN)


def follow_parent() -> None:
    """For a process that was started for another one's sake: on Linux it is told to stop once that one is gone."""
    global _follows
    parent = os.environ.pop(PARENT, "")
    if parent and sys.platform == "linux":
        _follows = True
        end_with_parent(signal.SIGUSR2)
        if str(os.getppid()) != parent:  # it is gone already
            os.kill(os.getpid(), signal.SIGUSR2)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """In a new process, on Linux: asks for a signal when the one that started it is killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> dict[int, object]:
    """Installs a handler for the signals that are not ignored, as `nohup` and `&` want it; the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python allows no handlers there
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _tell(message: bytes) -> None:
    """Straight to stderr: print() may be what the signal interrupted, and cannot be entered twice."""
    with contextlib.suppress(OSError):
        os.write(2, message)
