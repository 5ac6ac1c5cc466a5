"""Breaks gptforge on purpose and tells which faults notice: a suite that nothing fails proves nothing.

    cd tests; python -m faults.mutants [NAME ...] [--workers N]

Each mutant is one change of a copy of the sources, and the faults that must then break their promise. A line is

    name  what was broken  found by C1 (0/8), C4 (3/8)

and the exit code is 1 if a mutant was found by none of them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "src"
LINE = re.compile(r"^(\w+)\s+(\d+)/(\d+)\s")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands once in `file` and becomes `new`; each of `faults`, an id and a number of trials, may notice."""

    name: str
    what: str
    file: str
    old: str
    new: str
    faults: tuple[tuple[str, int], ...]


MUTANTS = [
    Mutant(
        "no-fsync",
        "files of a checkpoint are not synced before its folder gets its name",
        "checkpoint.py",
        "        f.flush()\n        os.fsync(f.fileno())\n",
        "        f.flush()\n",
        (("C4", 60),),
    ),
    Mutant(
        "no-rename",
        "a checkpoint is written under its own name",
        "checkpoint.py",
        '    temporary = target.with_name(f".tmp-{target.name}-{os.getpid()}")\n',
        "    temporary = target\n",
        (("C2", 60), ("C4", 60)),
    ),
    Mutant(
        "export-litter",
        "what was written of an export before an error stays",
        "interop/place.py",
        "        _remove(written, above)\n        raise\n",
        "        raise\n",
        (("C6", 30),),
    ),
    Mutant(
        "no-manifest",
        "what a checkpoint holds is not compared with its manifest",
        "checkpoint.py",
        "def verify(checkpoint: Path) -> None:\n",
        "def verify(checkpoint: Path) -> None:\n    return\n\n\ndef _verify(checkpoint: Path) -> None:\n",
        (("C1", 40),),
    ),
    Mutant(
        "no-rng",
        "random states are not restored",
        "train/state.py",
        '            restore_torch_rng(of_rank(read_tensors(path / "rng.safetensors"), rank))\n',
        "",
        (("R3", 8),),
    ),
    Mutant(
        "no-window",
        "what is usual is forgotten when a run goes on",
        "train/state.py",
        "        return cls(**held, watch=Watch(**watch))\n",
        "        return cls(**held, watch=Watch())\n",
        (("N2", 8),),
    ),
    Mutant(
        "no-lock",
        "a run can be written by two processes",
        "runs.py",
        "        if not try_lock(handle):\n",
        "        if False:\n",
        (("X3", 4),),
    ),
    Mutant(
        "no-message",
        "a write of a checkpoint that fails is a bug, not a message",
        "checkpoint.py",
        """        raise from_os_error(e, f"checkpoint step {step} cannot be written") from e\n""",
        "        raise RuntimeError from e\n",
        (("C2", 60), ("C3", 6)),
    ),
    Mutant(
        "no-redaction",
        "the password of an address is told as it was typed",
        "errors.py",
        "def without_passwords(text: str) -> str:\n",
        "def without_passwords(text: str) -> str:\n    return text\n\n\ndef _without(text: str) -> str:\n",
        (("S4", 24),),
    ),
    Mutant(
        "telemetry",
        "each command reports to a server first",
        "cli.py",
        "    words = sys.argv[1:]\n",
        "    words = sys.argv[1:]\n    import socket\n\n    socket.create_connection(('192.0.2.1', 80), 1)\n",
        (("S6", 1),),
    ),
    Mutant(
        "wrong-exit",
        "a config that cannot be ends with another exit code",
        "errors.py",
        '    kind = "config error"\n',
        '    kind = "config error"\n    exit_code = 1\n',
        (("F1", 40), ("F2", 8)),
    ),
    Mutant(
        "no-limits",
        "the state in a checkpoint is believed",
        "train/state.py",
        "        refuse_strange(cls, held)\n",
        "",
        (("S2", 51), ("S3", 240)),
    ),
]


def broken(mutant: Mutant, folder: Path) -> Path:
    """A copy of the sources with the mutant in it. Raises ValueError where its place is not there any more."""
    copy = Path(shutil.copytree(SOURCES, folder / "src"))
    shutil.copytree(SOURCES.parent / "conf", folder / "conf")
    path = copy / "gptforge" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has its place {text.count(mutant.old)} times")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return copy


def found_by(mutant: Mutant, workers: int) -> list[str]:
    """The faults that break their promise, with how many trials still passed."""
    found = []
    with tempfile.TemporaryDirectory(prefix="gptforge-mutant-", ignore_cleanup_errors=True) as name:
        source = broken(mutant, Path(name))
        for fault, trials in mutant.faults:
            words = [sys.executable, "-m", "faults", fault, "--trials", str(trials), "--workers", str(workers)]
            env = os.environ | {"PYTHONPATH": str(source)}
            done = subprocess.run(words, capture_output=True, text=True, env=env)
            line = next((match for match in map(LINE.match, done.stdout.splitlines()) if match), None)
            if line is None:
                raise RuntimeError(f"{fault} did not run on {mutant.name}: {done.stderr[-2000:]}")
            if done.returncode:
                found.append(f"{line[1]} ({line[2]}/{line[3]})")
    return found


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    given = parser.parse_args(words)
    names = [mutant.name for mutant in MUTANTS]
    if unknown := set(given.names) - set(names):
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    missed = 0
    for mutant in MUTANTS:
        if not given.names or mutant.name in given.names:
            found = found_by(mutant, given.workers)
            missed += not found
            verdict = f"found by {', '.join(found)}" if found else "MISSED"
            print(f"{mutant.name:12} {mutant.what}: {verdict}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
