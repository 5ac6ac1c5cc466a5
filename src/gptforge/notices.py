"""A line for people on stderr that never fails: any encoding, no control codes, even a closed stream."""

import contextlib
import sys


def say(text: str) -> None:
    from gptforge.logs.screen import Screen, visible  # here, so that a command line without a message is not slower

    with contextlib.suppress(OSError, ValueError, AttributeError):  # AttributeError: no stderr at all
        Screen(sys.stderr).line(visible(text))
