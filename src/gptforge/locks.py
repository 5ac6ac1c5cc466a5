"""Locks on files, between processes. The system drops them when their holder dies, so that no stale one remains."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.1


def try_lock(handle: Any) -> bool:
    """Whether this process has the lock of an open file now."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a file. It is asked for by name of a reader, and given back at once."""
    try:
        with path.open("rb") as handle:
            if os.name == "nt":
                return not try_lock(handle)
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def waited_for(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be; `on_wait` is called each time it is not free yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        while not try_lock(handle):
            on_wait()
            time.sleep(POLL_SECONDS)
        yield
