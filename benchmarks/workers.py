"""One process a side: the parent says 'do so much now', the others sleep on their pipes meanwhile.

A side needs a process of its own where settings are per process: the allocator's, the threads', a library that
patches another. How much CPU a side uses while it should sleep is measured too, for threads of OpenMP may spin.

    python benchmarks/workers.py MODULE FUNCTION JSON        what the parent starts
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

IDLE_LIMIT = 0.02  # of one core, that a sleeping side may use


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure: `work(n)` does n units of it and may return a figure; `facts` are for the parent."""

    work: Callable[[int], object]
    facts: dict[str, Any]


def can_compile() -> bool:
    """Whether torch.compile finds a C++ compiler on this machine."""
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")))


NO_COMPILER = "no C++ compiler was found: the compiled rows are not measured"


def need_peer() -> None:
    """Ends with a word on what to type where transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise SystemExit("transformers is missing, the peer to measure against: pip install '.[bench]', or make bench")


class WorkerError(RuntimeError):
    """A side ended or never began; its own words are on stderr."""


class Worker:
    """A side that is ready when it has been made. `module.function(**arguments)` gives its Subject, in its process."""

    def __init__(self, module: str, function: str, python: str = sys.executable, /, **arguments: Any) -> None:
        self.name = f"{module}.{function}"
        command = [python, str(Path(__file__).resolve()), module, function, json.dumps(arguments)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # nothing that is measured may reach for the network
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            self.facts: dict[str, Any] = self._reply()
        except BaseException:
            self.close()
            raise
        self._slept_from = time.perf_counter()
        self._asleep = self._cpu_asleep = 0.0

    def seconds(self, n: int = 1) -> float:
        """How long n units took, by the worker's own clock."""
        return self._asked(n)["seconds"]

    def figure(self, n: int = 1) -> float:
        """What n units of work returned."""
        return self._asked(n)["figure"]

    def _asked(self, n: int) -> dict[str, Any]:
        self._asleep += time.perf_counter() - self._slept_from
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        reply = self._reply()
        self._slept_from = time.perf_counter()
        self._cpu_asleep += reply["cpu_asleep"]
        return reply

    def spun(self) -> list[str]:
        """A note when it used the CPU while it should have slept."""
        share = self._cpu_asleep / max(self._asleep, 1e-9)
        if self._cpu_asleep < 0.1 or share < IDLE_LIMIT:
            return []
        return [f"{self.name} used {share:.0%} of a core while it should have slept"]

    def close(self) -> None:
        """Ends the process; none outlives its parent's interest."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    @property
    def tokens(self) -> int:
        """Tokens in a unit of training."""
        return self.facts["tokens"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name} ended with code {self._process.wait()}")
        return json.loads(line)


def serve(make: Callable[[], Subject]) -> None:
    """The worker's side: builds its subject, then works on demand until its stdin is closed."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the replies
    subject = make()
    print(json.dumps(subject.facts), file=channel, flush=True)
    cpu = time.process_time()
    for line in sys.stdin:
        asleep = time.process_time() - cpu
        began = time.perf_counter()
        figure = subject.work(int(line))
        reply = {"seconds": time.perf_counter() - began, "cpu_asleep": asleep}
        if isinstance(figure, float):
            reply["figure"] = figure
        print(json.dumps(reply), file=channel, flush=True)
        cpu = time.process_time()


if __name__ == "__main__":
    _, module, function, arguments = sys.argv
    serve(lambda: getattr(importlib.import_module(module), function)(**json.loads(arguments)))
