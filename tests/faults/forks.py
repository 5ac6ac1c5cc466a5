"""Command lines in forks of this process, which has imported what they need: a start takes no seconds.

The process that forks must never compute with torch: threads that torch has begun are not there in a fork. Everything
that a command leaves in its process, such as settings of torch, ends with it.
"""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import hydra  # noqa: F401 - imported for the forks
import omegaconf  # noqa: F401 - the same
import torch._dynamo  # noqa: F401 - the same; torch.optim imports it late

import small
from gptforge.train import trainer
from killing import PATIENCE

_context = multiprocessing.get_context("fork")
_count = 0


def nothing() -> None:
    """What a fork does before its command, if nothing else is asked for."""


class Forked:
    """A command line of gptforge, or `work`, in a fork; what it says is in a file of the working directory."""

    def __init__(
        self,
        *words: str,
        first: Callable[[], None] = nothing,
        environment: Mapping[str, str] | None = None,
        work: Callable[..., int] = small.gptforge,
    ) -> None:
        global _count
        _count += 1
        self._said = Path(f"said-{_count}.txt").absolute()
        arguments = (words, first, environment or {}, work, self._said)
        self._process = _context.Process(target=_run, args=arguments, daemon=True)  # it ends with the trials
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ended(self, seconds: float = PATIENCE) -> int | None:
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""


def done(*words: str, patience: float = PATIENCE, **options) -> tuple[int, str]:
    """The exit code of a command line in a fork, and what it said. Raises AssertionError if it takes too long."""
    process = Forked(*words, **options)
    code = process.ended(patience)
    if code is None:
        process.kill()
        raise AssertionError(f"{' '.join(words)} did not end: {process.said()}")
    return code, process.said()


def _run(
    words: tuple[str, ...],
    first: Callable[[], None],
    environment: Mapping[str, str],
    work: Callable[..., int],
    said: Path,
) -> None:
    """In the fork. What is written to stdout and stderr, by Python or past it, goes to the file."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.update(environment)
    trainer.measured_peak = lambda *_: 1e12  # of no influence on the course of a run, and a fifth of a second
    first()
    code = work(*words)
    with contextlib.suppress(ValueError):
        sys.stderr.flush()
    sys.exit(code)
