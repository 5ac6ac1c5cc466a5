"""How things are measured here: rounds in turn, ratios within a round, their spread, and the result as a file.

Two programs are never compared by two separate measurements: each round runs all of them once,
every other round in the opposite order, and a ratio is of two times of the same round. What slows
the machine down for a while then slows both. Knows nothing of what is measured; imports no torch,
so that it adds nothing to what a process is charged for.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
BUSY = 0.5  # load average per core at the start, above which others use the machine
PACKAGES = ("torch", "numpy", "transformers")

Series = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: the median of its rounds and how far they lie apart, and what it should be.

    `unit` is "x" (a ratio), "%" (a share, 0.65 is 65 %), or what stands behind the number. `target` is a lower
    bound, with `at_most` an upper one; None where nothing was promised. `detail` says what the figure is made of.
    """

    label: str
    unit: str
    median: float
    low: float
    high: float
    n: int
    target: float | None = None
    at_most: bool = False
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the target; None without one."""
        if self.target is None:
            return None
        return self.median <= self.target if self.at_most else self.median >= self.target


@dataclass(slots=True)
class Options:
    """What every benchmark is told on its command line."""

    quick: bool  # tiny shapes and few rounds: shows that it works, measures nothing
    rounds: int
    out: Path | None  # where the result goes; None: it is only printed
    extra: argparse.Namespace
    load: tuple[float, ...] = field(default_factory=lambda: os.getloadavg() if hasattr(os, "getloadavg") else ())
    began: float = field(default_factory=time.perf_counter)


def options(name: str, doc: str, add: Callable[[argparse.ArgumentParser], object] | None = None) -> Options:
    """The command line of the benchmark `name`. A quick run is stored only where --out says so."""
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny shapes: shows that it works, measures nothing")
    parser.add_argument("--rounds", type=int, help="how often each side runs (default 5, quick 2)")
    parser.add_argument("--out", type=Path, help=f"the result's file (default {RESULTS.name}/{name}.json, quick: none)")
    if add is not None:
        add(parser)
    found = parser.parse_args()
    if found.quick and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})  # one core, for the workers too
    rounds = found.rounds or (2 if found.quick else 5)
    out = found.out or (None if found.quick else RESULTS / f"{name}.json")
    return Options(found.quick, rounds, out.resolve() if out else None, found)


def alternate(tasks: Mapping[str, Callable[[], float]], rounds: int) -> Series:
    """What each task returns in each round; every other round goes through the tasks backwards."""
    found: Series = {name: [] for name in tasks}
    for n in range(rounds):
        for name in list(tasks)[:: -1 if n % 2 else 1]:
            found[name].append(tasks[name]())
        say(f"  round {n + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]:.4g}" for name, values in found.items()))
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The quotient of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def row(
    label: str, unit: str, values: Sequence[float], target: float | None = None, detail: str = "", at_most: bool = False
) -> Row:
    """The row of a figure that was measured once in each round."""
    median = statistics.median(values)
    return Row(label, unit, median, min(values), max(values), len(values), target, at_most, detail)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def shown(value: float, unit: str) -> str:
    """A number with its unit: 3.12x, 65.3 %, 0.21 s."""
    if unit == "%":
        digits = 1 if abs(value) >= 0.1 else 2
        return f"{100 * value:.{digits}f} %"
    if unit == "x":
        return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{number} {unit}".rstrip()


def verdict(row: Row) -> str:
    """'>= 3.00x, met', '<= 1.0 %, missed', or nothing."""
    if row.target is None:
        return ""
    bound = f"{'<=' if row.at_most else '>='} {shown(row.target, row.unit)}"
    return f"{bound}, {'met' if row.met else 'missed'}"


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text: label, median, the least and the most, target, detail."""
    cells = [
        (r.label, shown(r.median, r.unit), f"{shown(r.low, r.unit)} to {shown(r.high, r.unit)}", verdict(r), r.detail)
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def finish(
    name: str,
    title: str,
    rows: Sequence[Row],
    notes: Sequence[str],
    found: Options,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Prints the rows and stores them with what the machine is and how busy it was, and `more` of what was found."""
    notes = [*notes, *busy(found.load)]
    if found.quick:
        rows = [replace(r, target=None) for r in rows]  # tiny shapes keep no promises
        notes.append("a quick run shows that the benchmark works; its figures mean nothing")
    say(f"\n{title}\n{table(rows)}")
    for note in notes:
        say(f"note: {note}")
    if found.out is None:
        return
    os.chdir(ROOT)  # a benchmark may have worked in a folder that is gone, where torch cannot be loaded
    result = {"name": name, "title": title, "quick": found.quick, "machine": machine(found.load)}
    result |= {"seconds": round(time.perf_counter() - found.began, 1)}
    result |= {"rows": [asdict(r) for r in rows], "notes": notes} | dict(more or {})
    store(found.out, result)
    say(f"wrote {found.out}")


def store(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """A stored result and its rows."""
    result = json.loads(path.read_text(encoding="utf-8"))
    return result, [Row(**r) for r in result["rows"]]


def busy(load: Sequence[float]) -> list[str]:
    """A note when others used the machine as the measurement began."""
    cores = os.cpu_count() or 1
    if not load or load[0] <= BUSY * cores:
        return []
    return [f"the machine was busy: load average {load[0]:.1f} on {cores} cores before the start"]


def machine(load: Sequence[float]) -> dict[str, Any]:
    """What the figures were measured on. Call it after measuring: it imports torch."""
    from gptforge import runtime
    from gptforge.config import RuntimeConfig

    found = runtime.probe()
    chosen = runtime.choose(RuntimeConfig(), found)
    return {
        "cpu": runtime.cpu_name(),
        "cores": found.cores,
        "device": str(chosen.device.value),
        "dtype": str(chosen.dtype.value),
        "bf16_instructions": found.cpu_bf16,
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_before": [round(value, 2) for value in load],
    }


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit that was measured, with + when files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--", "src", "conf", "benchmarks/*.py") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
