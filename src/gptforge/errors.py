"""Errors whose message is meant for the user, one exit code each; knows nothing of who shows them.

Every message says what is wrong, then where it comes from and what to type instead. Anything
that is not one of these is a bug of ours: it exits with 1 and leaves a traceback in train.log.
"""

import errno
import re
from collections.abc import Sequence

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_DIFFERENT = 8  # `reproduce` came to other weights
EXIT_STOPPED = 75  # EX_TEMPFAIL: "try again later", which batch systems read as "requeue me"
EXIT_INTERRUPTED = 130

MAX_LINES = 8
LONGEST_LINE = 400  # characters
_PASSWORD = re.compile(r"(:/{1,2})[^/\s@:]*:[^/\s@]+@")  # a path made of an address has one slash
_SECRET = re.compile(r"token(?!s|izer)|secret|passw|credential|(api|access|private)_?-?key", re.IGNORECASE)


class UserError(Exception):
    """Something the user can mend.

    `what` names the fault and the value; `where` the file, key or place; `fix` what to type.
    """

    exit_code = 2
    kind = "error"

    def __init__(self, what: str, *, where: str = "", fix: str | Sequence[str] = "") -> None:
        super().__init__(without_passwords(what))
        self.what = without_passwords(what)  # here, for it is told, and kept in logs and summaries
        self.where = without_passwords(where)
        self.fixes = [without_passwords(one) for one in ([fix] if isinstance(fix, str) else fix)]

    def __str__(self) -> str:
        after = [f"  where: {self.where}"] if self.where else []
        after += [f"  try:   {fix}" for fix in self.fixes if fix]
        after = "\n".join(after).splitlines()[: MAX_LINES - 1]
        lines = f"{self.kind}: {self.what}".splitlines()
        if len(lines) + len(after) > MAX_LINES:  # what is cut is the middle: the place and the way out matter more
            lines = [*lines[: MAX_LINES - len(after) - 1], "  …"] if len(after) < MAX_LINES - 1 else lines[:1]
        return "\n".join(_shortened(line) for line in [*lines, *after])


def without_passwords(text: str) -> str:
    """A text without what stands before the @ of an address: https://name:password@host."""
    return _PASSWORD.sub(r"\1<redacted>@", text)


def looks_secret(name: str) -> bool:
    """Whether the name of a key or of a variable says that its value is for nobody else."""
    return _SECRET.search(name) is not None


def _shortened(line: str) -> str:
    """A line that may hold what somebody typed or wrote into a file, cut where nobody would read on."""
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


class ConfigError(UserError):
    """A key, value, option or combination that cannot be."""

    kind = "config error"


class UsageError(UserError):
    """A command line that cannot be understood."""

    kind = "usage error"


class DataError(UserError):
    """A text or tokenizer that cannot be used."""

    exit_code = 3
    kind = "data error"


class CheckpointError(UserError):
    """A run or checkpoint that is missing, damaged or of another kind."""

    exit_code = 4
    kind = "checkpoint error"


class ResourceError(UserError):
    """Not enough disk or memory, or no right to write."""

    exit_code = 5
    kind = "resource error"


class NumericalError(UserError):
    """A loss or gradient that is not finite."""

    exit_code = 6
    kind = "numerical error"


class LockedError(UserError):
    """Another process is using the run."""

    exit_code = 7
    kind = "locked"


class PeerLost(UserError):
    """Another process of the run has gone; mostly one that has said why itself."""

    exit_code = EXIT_BUG


class Stopped(Exception):
    """The run was stopped early, by a signal or `train.stop_after`, and can be resumed."""

    exit_code = EXIT_STOPPED


def missing_extra(extra: str, doing: str, kind: type[UserError] = UserError) -> UserError:
    """The error of something that needs packages which `pip install gptforge` alone does not bring."""
    return kind(f"{doing} needs packages that are not installed", fix=f"pip install 'gptforge[{extra}]'")


def from_os_error(error: OSError, doing: str, fix: str | Sequence[str] = "") -> UserError:
    """The UserError that says what an OSError means to the person at the keyboard; `fix` where no run is written."""
    reason = error.strerror or str(error)
    where = str(error.filename) if error.filename else ""
    fixes = {
        "ENOSPC": "free some space, or put the run elsewhere: hydra.run.dir=OTHER/DISK/run",
        "EDQUOT": "free some of your quota, or put the run elsewhere: hydra.run.dir=OTHER/DISK/run",
        "EACCES": "choose a folder you may write to: hydra.run.dir=PATH (runs), GPTFORGE_CACHE=PATH (cache)",
        "EROFS": "choose a folder you may write to: hydra.run.dir=PATH (runs), GPTFORGE_CACHE=PATH (cache)",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    return ResourceError(f"{doing}: {reason}", where=where, fix=fix or fixes.get(name, ""))
