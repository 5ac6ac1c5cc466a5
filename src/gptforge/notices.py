"""A line for people on stderr that never fails: any encoding, no control codes, even a closed stream."""

import contextlib
import sys
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 2.0


def say(text: str) -> None:
    from gptforge.logs.screen import Screen, visible  # here, so that a command line without a message is not slower

    with contextlib.suppress(OSError, ValueError, AttributeError):  # AttributeError: no stderr at all
        Screen(sys.stderr).line(visible(text))


def slow_work(ui: str, what: str = "the text") -> Callable[[str, float], None] | None:
    """A function (doing, share) that says every few seconds how far the work is; None where nobody reads it."""
    if ui in ("json", "quiet"):
        return None
    last = time.monotonic()

    def tell(doing: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{doing} {what}: {share:.0%}")

    return tell
