"""Whole processes, from their start on: how long they take, when they first show something, what they hold at most."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

POLL = 0.002  # seconds between looks at a file that should appear
SMALL_PARENT = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def gptforge(*words: str) -> list[str]:
    return [sys.executable, "-m", "gptforge", *words]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def seconds(command: Sequence[str], expected: int = 0) -> float:
    """How long a process takes from start to end. Raises RuntimeError for another exit code, with its words."""
    return output(command, expected)[0]


def output(command: Sequence[str], expected: int = 0) -> tuple[float, str]:
    """How long a process takes, and what it writes to stdout. Raises as `seconds` does."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    took = time.perf_counter() - began
    _check(command, done.returncode, expected, done.stderr)
    return took, done.stdout


def seconds_to_line(command: Sequence[str], path: Path, words: str) -> float:
    """How long until a line of `path`, a file that the process writes, has `words`; the process may then finish."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not (path.exists() and words in path.read_text(encoding="utf-8")):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} never wrote {words!r}: {_said(process)}")
            time.sleep(POLL)
        took = time.perf_counter() - began
        said = _said(process)
    _check(command, process.returncode, 0, said)
    return took


def seconds_to_output(command: Sequence[str], n: int) -> float:
    """How long until the process has written n bytes to stdout; it may then finish."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0) as process:
        assert process.stdout is not None
        read = 0
        while read < n:
            piece = process.stdout.read(n - read)
            if not piece:
                raise RuntimeError(f"{' '.join(command)} wrote {read} bytes only")
            read += len(piece)
        took = time.perf_counter() - began
        process.stdout.read()
    _check(command, process.returncode, 0, "")
    return took


def peak_bytes(command: Sequence[str]) -> int:
    """The most resident memory that a process held, in bytes. Unix only.

    A small process starts it, for a child's record begins with what its parent held.
    """
    done = subprocess.run([sys.executable, "-I", "-S", "-c", SMALL_PARENT, *command], capture_output=True, text=True)
    _check(command, done.returncode, 0, done.stderr)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()


def _check(command: Sequence[str], code: int, expected: int, said: str) -> None:
    if code != expected:
        raise RuntimeError(f"{' '.join(command)} ended with {code} instead of {expected}:\n{said[-2000:]}")
