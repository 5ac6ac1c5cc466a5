"""A small run that was stopped, with its cache and its text, and commands on copies of them that are measured.

Knows nothing of what is done to the copies.
"""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import small

STEP = 4  # at which the run was stopped
PATIENCE = 90.0  # seconds until a process is taken for one that will never end
MOST_MEMORY = 16_000_000_000  # bytes of addresses: what goes wrong must not take the machine with it


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended: how, what it said, the most memory that it had, and how long it computed."""

    code: int
    out: str
    err: str
    memory: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the run is, its cache and its text."""

    place: Path

    def lay_out(self) -> None:
        """Copies of all of it in the working directory."""
        for name in ("run", "cache"):
            shutil.copytree(self.place / name, name, symlinks=True)
        shutil.copy(self.place / "text.txt", "text.txt")


def prepared() -> Ground:
    """Trains the run, and lets the cache have what the commands put there."""
    place = Path.cwd()
    small.write_text()
    cfg = small.config(train__stop_after=STEP, checkpoint__every=STEP, checkpoint__keep=1)
    for words, code in (
        (small.typed(cfg, "run"), 75),
        (["prepare", "data=text.txt", "clean=none"], 0),
        (["sample", "ckpt=run", "sample.max_new_tokens=4"], 0),
    ):
        done = ended(words)
        assert done.code == code, f"{words}: {done.err}"
    return Ground(place)


def ended(words: Sequence[str], before: Sequence[str] = (), **variables: str) -> Ended:
    """A command line in a process of its own, from its start to its end; `before` is what starts it."""
    environment = os.environ | {"GPTFORGE_CACHE": str(Path("cache").absolute())} | variables
    if shutil.which("prlimit"):
        before = [*before, "prlimit", f"--as={MOST_MEMORY}"]
    began, computed = time.monotonic(), _computed()
    with open(".out", "wb") as out, open(".err", "wb") as err:
        process = subprocess.Popen(
            [*before, *small.command(*words)], stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment
        )
        memory = 0
        while process.poll() is None:
            memory = max(memory, _most_memory(process.pid))
            if time.monotonic() - began > PATIENCE:
                process.kill()
            time.sleep(0.02)
    said, told = (Path(name).read_text(encoding="utf-8", errors="replace") for name in (".out", ".err"))
    return Ended(process.returncode, said, told, memory, _computed() - computed)


def _computed() -> float:
    """Seconds that all children which have ended computed: on a busy machine these say what a clock does not."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _most_memory(pid: int) -> int:
    """The most bytes that a process has had so far. What the system tells at its end counts its parent's too."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
