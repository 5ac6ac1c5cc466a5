"""F: configurations that cannot be: each gets one short answer that names what is wrong, and nothing is made.

What is wrong is drawn in wrong_words.py and wrong_files.py; here it is typed, in this process or in one of its own.
"""

import contextlib
import io
import itertools
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from faults.suite import Fault
from faults.wrong_files import FILES
from faults.wrong_words import DRAWINGS, Typed, typo
from gptforge import cli
from small import command, gptforge

MOST_LINES = 8
LONGEST = 4000  # characters of a message: eight lines that nobody reads are no answer
LONGEST_WAIT = 20  # seconds for an answer in this process, where most take a tenth of one
MOST_MEMORY = 4_000_000_000  # bytes of addresses
PATIENCE = 3.0  # seconds for a process that has nothing to do but to refuse


def only_composed() -> None:
    """From now on this process takes commands up to where they would begin, and has no more memory than they need."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    cli.execute = lambda command, config, call: 0


def everything() -> set[Path]:
    """What is in the working directory."""
    return set(Path.cwd().rglob("*"))


def check(line: Typed, code: int, said: str, before: set[Path]) -> None:
    """Raises unless the answer keeps the promise."""
    told = f"\n{line}\nexit code {code}: {said[:2500]}"
    assert "Traceback" not in said and "internal error" not in said, "a bug came to the surface" + told
    if code == 0:
        assert line.valid, "it was taken" + told
    else:
        assert code in line.codes, f"not one of the exit codes {line.codes}" + told
        assert said.startswith("gptforge: "), "no message" + told
        assert len(said.splitlines()) <= MOST_LINES, f"{len(said.splitlines())} lines" + told
        assert len(said) <= LONGEST, f"{len(said)} characters" + told
        assert not line.named or any(name in said for name in line.named), f"names none of {line.named}" + told
    assert everything() == before, f"it made {everything() - before}" + told


def typed_here(line: Typed) -> tuple[int, str]:
    """The exit code and what was said on stderr, in this process."""
    said = io.StringIO()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST_WAIT)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = gptforge(*line.words)
    finally:
        signal.alarm(0)
    return code, said.getvalue()


class TooLong(BaseException):
    """An answer has not come. Nothing that catches exceptions takes this for one of its own."""


def _too_long(*_: Any) -> None:
    raise TooLong


def can_be_typed(line: Typed) -> bool:
    """Whether the system can pass the words on to a process."""
    try:
        return all("\0" not in word and len(os.fsencode(word)) < 2**16 for word in line.words)
    except UnicodeEncodeError:
        return False


def one_refused(draw: random.Random) -> tuple[Typed, int]:
    """A line that is refused, in a folder of its own, and the exit code: one that is taken would train."""
    for number in itertools.count():
        Path(str(number)).mkdir()
        os.chdir(str(number))
        line = draw.choice([*DRAWINGS, *FILES])(draw)
        if can_be_typed(line) and (code := typed_here(line)[0]):
            return line, code
        os.chdir("..")
    raise AssertionError("unreachable")


def refused(draw: random.Random, ground: Any) -> None:
    """Anything wrong or strange, in a command line or in a file that it names."""
    line = draw.choice([*DRAWINGS, *FILES])(draw)
    before = everything()
    try:
        code, said = typed_here(line)
    except TooLong:
        raise AssertionError(f"there was no answer in {LONGEST_WAIT} s: {line}") from None
    check(line, code, said, before)


def suggested(draw: random.Random, ground: Any) -> None:
    """A typing error of one letter: the message says what was meant."""
    line = typo(draw)
    code, said = typed_here(line)
    check(line, code, said, set())
    assert line.right in said, f"{line.right!r} is not suggested\n{line}\n{said}"


def refused_alone(draw: random.Random, ground: Any) -> None:
    """The same by the real command, which has to be quick."""
    line, expected = one_refused(draw)
    before = everything()
    began = time.perf_counter()
    done = subprocess.run(command(*line.words), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    took = time.perf_counter() - began
    check(line, done.returncode, done.stderr, before)
    assert done.returncode == expected, f"exit code {done.returncode}, in process {expected}: {line}"
    assert not os.path.exists("runs"), f"the root of runs was touched: {line}"
    assert took < PATIENCE, f"it took {took:.1f} s: {line}"


FAULTS = [
    Fault("F1", "a config that cannot be gets one short answer", refused, 1000, 5000, prepared=only_composed),
    Fault("F1t", "a typing error gets the right suggestion", suggested, 500, 2000, prepared=only_composed, least=0.95),
    Fault(
        "F2",
        "a config that cannot be ends a process at once",
        refused_alone,
        20,
        200,
        prepared=only_composed,
        alone=True,
    ),
]
