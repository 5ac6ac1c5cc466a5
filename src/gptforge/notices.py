"""A line for people on stderr that never fails: any encoding, no control codes, even a closed stream."""

import contextlib
import sys
import time
from collections.abc import Callable

from gptforge.config.units import shown_seconds

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
    begun: dict[str, float] = {}

    def tell(doing: str, share: float) -> None:
        nonlocal last
        now = time.monotonic()
        began = begun.setdefault(doing, now)
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = f", {shown_seconds((now - began) * (1 / share - 1))} left" if 0 < share < 1 else ""
            say(f"{doing} {what}: {share:.0%}{left}")

    return tell
