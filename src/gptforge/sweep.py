"""A sweep: each point is a fresh `gptforge train` process with its finished config; a table at the end.

Knows neither Hydra nor torch. A sweep's directory holds

    sweep.json        every point: overrides, status, exit code, error, results
    points/0.json     the frozen config of a point, as `gptforge train config=` takes it
    0/ 1/ ...         the points' run directories
"""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptforge.config.units import shown_seconds
from gptforge.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED, CheckpointError
from gptforge.jsonfile import read_json, write_json
from gptforge.notices import say
from gptforge.runs import CLAIM
from gptforge.signals import StopSignals, end_with_parent

FILE = "sweep.json"
REPORTED = ("val_loss", "val_bpb", "best_val_loss", "parameters", "seconds", "steps")


@dataclass(slots=True)
class Point:
    """One combination of a sweep. `status`: waiting, running, done, stopped, failed or skipped."""

    number: int
    overrides: list[str]
    status: str = "waiting"
    exit_code: int | None = None
    error: str = ""
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A point with its frozen config, or with the reason why it has none."""

    point: Point
    saved: Mapping[str, Any] | None
    error: str = ""


def run_points(directory: Path, jobs: list[Job]) -> list[Point]:
    """Runs the jobs one after the other, each in a process of its own; a failing one does not stop the others."""
    (directory / "points").mkdir(parents=True, exist_ok=True)
    points = [job.point for job in jobs]
    for job in jobs:
        if job.saved is None:
            job.point.status, job.point.exit_code, job.point.error = "failed", 2, job.error
        else:
            write_json(directory / "points" / f"{job.point.number}.json", job.saved)
    _write(directory, points)
    with StopSignals() as signals, signals.polled():
        for job in jobs:
            if signals.asked and job.saved is not None:
                job.point.status = "skipped"
                continue
            _head(job.point, len(points))
            if job.saved is None:
                say(f"gptforge: {job.error}")
                continue
            job.point.status = "running"
            _write(directory, points)
            _run(directory, job.point, signals)
            _write(directory, points)
    _write(directory, points)
    return points


def _run(directory: Path, point: Point, signals: StopSignals) -> None:
    """One point's process; its messages are passed on line by line and the last error kept."""
    run = directory / str(point.number)
    frozen = directory / "points" / f"{point.number}.json"
    command = [sys.executable, "-m", "gptforge", "train", f"config={frozen}", f"hydra.run.dir={run}"]
    errors: list[bytes] = []
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the sweep alone, which passes it on
        preexec_fn=end_with_parent if sys.platform == "linux" else None,
    ) as process:
        signals.pass_on = process.send_signal
        if signals.asked:  # while the process was being made
            process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        for raw in process.stderr:
            say(raw.decode("utf-8", "replace").rstrip("\n"))
            if raw.startswith(b"gptforge: ") and not raw.startswith(b"gptforge: warning"):
                errors = [raw]
            elif errors and raw.startswith(b"  "):
                errors.append(raw)
        point.exit_code = process.wait()
    signals.pass_on = None
    if point.exit_code in (EXIT_STOPPED, EXIT_INTERRUPTED) or (signals.asked and point.exit_code < 0):
        point.status = "stopped"
    elif point.exit_code:
        point.status = "failed"
        said = b"".join(errors).decode("utf-8", "replace").strip()
        point.error = said.removeprefix("gptforge: ") or _ended(point.exit_code)
    else:
        point.status = "done"
    try:
        summary = read_json(run / "summary.json", "the summary")
    except CheckpointError:
        return
    point.results = {key: summary.get(key) for key in REPORTED}


def _ended(code: int) -> str:
    return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"


def finish(directory: Path) -> int:
    """Prints the table and every failure; the exit code: of the first failure, else 75 if stopped, else 0."""
    points = read(directory)
    for line in table(points):
        say(line)
    failed = [p for p in points if p.status == "failed"]
    for p in failed:
        say(f"point {p.number} ({' '.join(p.overrides)}) failed: {p.error}")
    for p in points:
        if p.status == "stopped" and (directory / str(p.number) / CLAIM).exists():
            say(f"point {p.number} can go on: gptforge train resume={directory / str(p.number)}")
    say(f"sweep in {directory}: {sum(p.status == 'done' for p in points)} of {len(points)} points done")
    if failed:
        return max(failed[0].exit_code or 0, 0) or EXIT_BUG  # below 0: ended by a signal
    return EXIT_DONE if all(p.status == "done" for p in points) else EXIT_STOPPED


def table(points: list[Point]) -> list[str]:
    """The points as aligned lines, best validation loss first."""
    done = sorted(
        (p for p in points if p.results.get("best_val_loss") is not None), key=lambda p: p.results["best_val_loss"]
    )
    rest = [p for p in points if p not in done]
    head = ("point", "status", "best val_loss", "val_bpb", "time", "overrides")
    rows: list[tuple[str, ...]] = [head]
    for p in [*done, *rest]:
        r = p.results
        rows.append(
            (
                str(p.number),
                p.status,
                f"{r['best_val_loss']:.4f}" if p in done else "-",
                f"{r['val_bpb']:.4f}" if r.get("val_bpb") is not None else "-",
                shown_seconds(r["seconds"]) if r.get("seconds") is not None else "-",
                " ".join(p.overrides),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def read(directory: Path) -> list[Point]:
    return [Point(**entry) for entry in read_json(directory / FILE, "the sweep")["points"]]


def _write(directory: Path, points: list[Point]) -> None:
    write_json(directory / FILE, {"time": time.time(), "points": [asdict(p) for p in points]})


def _head(point: Point, total: int) -> None:
    say(f"[{point.number + 1}/{total}] {' '.join(point.overrides) or 'the defaults'}")
