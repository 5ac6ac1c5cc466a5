"""The points of a sweep and the file that keeps how they went. Knows neither Hydra nor torch, and starts nothing.

A sweep's directory holds

    sweep.json            how it is run, and every point: overrides, status, exit code, error, results
    points/0.json         the frozen config of a point, as `gptforge train config=` takes it
    0/ 1/ ...             the points' run directories
    experiment/best.yaml  the best point, as an option of `experiment=`
    .lock                 held by the process that runs the sweep
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptforge.config import SweepConfig
from gptforge.config.schema import build
from gptforge.errors import EXIT_BUG, CheckpointError, UserError
from gptforge.history import DONE, FAILED, STOPPED
from gptforge.jsonfile import read_json, write_json
from gptforge.logs.files import read_metrics
from gptforge.runs import SWEEP, Run

BEST = Path("experiment", "best.yaml")  # in a sweep's directory

WAITING, RUNNING, SKIPPED, CUT = "waiting", "running", "skipped", "cut"
REPORTED = ("val_loss", "val_bpb", "best_val_loss", "parameters", "seconds", "steps")


@dataclass(slots=True)
class Point:
    """One combination of a sweep. `status`: waiting, running, done, stopped, failed, skipped or cut (by halving).

    `results` has what the run's summary says, losses in nats per token, and `best_val_bpb`, its best evaluation in bits
    per byte. Of a point that was cut these are those of the rung.
    """

    number: int
    overrides: list[str]
    status: str = WAITING
    exit_code: int | None = None
    error: str = ""
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def bits(self) -> float | None:
        """By what points are compared: bits per byte, which do not depend on the tokenizer."""
        return self.results.get("best_val_bpb")


@dataclass(slots=True)
class Sweep:
    """A sweep's directory with what its file says."""

    path: Path
    cfg: SweepConfig
    points: list[Point]
    words: list[str] = field(default_factory=list)  # of a search: what it looks through, as it was typed
    keys: list[str] = field(default_factory=list)  # of a search: what its points differ in

    @property
    def size(self) -> int:
        """How many points it will have; a search finds them one after the other."""
        return self.cfg.trials if self.words else len(self.points)

    def run(self, point: Point) -> Run:
        return Run(self.path / str(point.number))

    def frozen(self, point: Point) -> Path:
        return self.path / "points" / f"{point.number}.json"

    def swept(self, point: Point) -> list[str]:
        """The overrides that not all points have."""
        if self.keys:
            return [override for override in point.overrides if override.partition("=")[0] in self.keys]
        common = set[str]().union(*(p.overrides for p in self.points))
        common = common.intersection(*(p.overrides for p in self.points)) if len(self.points) > 1 else set()
        return [override for override in point.overrides if override not in common]

    def write(self) -> None:
        said = {"time": time.time(), "sweep": asdict(self.cfg), "words": self.words, "keys": self.keys}
        write_json(self.path / SWEEP, {**said, "points": [asdict(p) for p in self.points]})


def read(path: Path) -> Sweep:
    """The sweep in a directory. Raises CheckpointError where there is none that can be read."""
    held = read_json(path / SWEEP, "the sweep")
    try:
        points = [Point(**entry) for entry in held["points"]]
        cfg = build(SweepConfig, held.get("sweep", {}))
    except (LookupError, TypeError, UserError) as e:
        raise CheckpointError(f"the sweep is not complete: {e}", where=str(path / SWEEP)) from None
    words, keys = ([str(word) for word in held.get(name, [])] for name in ("words", "keys"))
    return Sweep(path, cfg, points, words, keys)


def take_results(point: Point, run: Run) -> None:
    """What the run of a point says of itself; nothing if it has not come that far."""
    try:
        summary = read_json(run.summary, "the summary")
    except CheckpointError:
        return
    point.results = {key: summary.get(key) for key in REPORTED} | {"best_val_bpb": best_bits(summary)}


def best_bits(summary: Mapping[str, Any]) -> float | None:
    """Bits per byte of the best evaluation. Each is of the same text, so they are to the loss as those of the last."""
    last, bits, best = (summary.get(key) for key in ("val_loss", "val_bpb", "best_val_loss"))
    if not isinstance(last, int | float) or not isinstance(bits, int | float) or not isinstance(best, int | float):
        return None
    return bits * best / last if last else float(bits)


def at_step(run: Run, step: int) -> dict[str, Any] | None:
    """The record of the evaluation at a step; None where there was none, or the file is damaged: the run mends it."""
    try:
        records = read_metrics(run.metrics)
    except CheckpointError:
        return None
    return next((r for r in records if r.get("step") == step and r.get("val_bpb") is not None), None)


def reconcile(sweep: Sweep, retry: bool = False) -> None:
    """Puts each point into the state that its run is in: the sweep may have been killed before it could write it down.

    With `retry` failed points wait again, but those whose config cannot be.
    """
    for point in sweep.points:
        if point.status in (DONE, CUT) or (point.status == FAILED and not (retry and sweep.frozen(point).exists())):
            continue
        point.status, point.exit_code, point.error = WAITING, None, ""
        run = sweep.run(point)
        try:
            summary = read_json(run.summary, "the summary") if run.summary.exists() else {}
        except CheckpointError:
            continue  # the run itself will say so when it goes on
        if summary.get("status") == DONE:
            point.status, point.exit_code = DONE, 0
        elif summary.get("status") == FAILED and not retry:
            point.status, point.error = FAILED, str(summary.get("error", ""))
            point.exit_code = summary.get("exit_code", EXIT_BUG)
        elif summary.get("status") == STOPPED:
            point.status = STOPPED
        take_results(point, run)
        lost = not sweep.frozen(point).exists() and (sweep.cfg.halving or not run.config.exists())
        if point.status not in (DONE, FAILED) and lost:
            error = f"checkpoint error: its frozen config is missing\n  where: {sweep.frozen(point)}"
            point.status, point.exit_code, point.error = FAILED, CheckpointError.exit_code, error
