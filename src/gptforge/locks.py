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


@contextlib.contextmanager
def waited_for(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be; `on_wait` is called each time it is not free yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        while not try_lock(handle):
            on_wait()
            time.sleep(POLL_SECONDS)
        yield
