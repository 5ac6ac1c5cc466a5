"""A question before something is lost: asked of a person, refused where there is none. Knows not what is lost."""

import sys

from gptforge.errors import UsageError
from gptforge.notices import say


def agreed(what: str, yes: bool) -> bool:
    """Whether somebody wants it: `yes` was typed, or y is answered. Raises UsageError where nobody can be asked.

    `what` is how the question begins, such as "remove 2 runs, 3.1 MB".
    """
    if yes:
        return True
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(f"{what}? There is no terminal to ask on", fix="the same with --yes")
    say(f"{what}? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
