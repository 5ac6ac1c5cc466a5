"""What sweeps cost: two points at a time against one after the other, and halving against the whole grid.

    python benchmarks/sweeps.py [--quick] [--rounds N] [--out FILE]

Whole commands, with the start of every process. Halving is judged by the steps that it trains, which no noise reaches,
and by how much worse its best point is than the grid's. The text is Python's own documentation (data=pydoc).
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import Options, Row, alternate, finish, median, options, ratios, row, say
from processes import gptforge, seconds

ONE, TWO = "one after the other", "two at a time"
LENGTHS = {"model.n_embd": 16, "model.block_size": 16, "train.batch_size": 2, "sample.max_new_tokens": 1}  # quick
SWEPT = ["optimizer.lr=3e-4,1e-3,3e-3", "model.n_layer=1,2,4", "model.n_head=1,2,4"]
FULL = 27


def jobs(found: Options) -> list[Row]:
    """Two runs of model=tiny on half the cores each, against the same with all cores in turn."""
    steps = 4 if found.quick else 1000
    counter = iter(range(10_000))

    def sweep(n_jobs: int) -> float:
        words = [f"train.steps={steps}", "seed=1,2", f"n_jobs={n_jobs}", f"hydra.sweep.dir=jobs{next(counter)}"]
        return seconds(gptforge("train", "-m", *common(found), *words))

    tasks: dict[str, Callable[[], float]] = {ONE: lambda: sweep(1), TWO: lambda: sweep(2)}
    measured = alternate(tasks, found.rounds)
    detail = f"{median(measured[ONE]):.1f} s against {median(measured[TWO]):.1f} s"
    gained = ratios(measured[ONE], measured[TWO])
    return [row(f"2 runs of {steps} steps: {ONE} / {TWO}", "x", gained, 1.6, detail)]


def halving(found: Options) -> list[Row]:
    """The same 27 points whole and halved."""
    steps = 18 if found.quick else 360
    words = [*common(found), *(SWEPT[:1] if found.quick else SWEPT), f"train.steps={steps}", "n_jobs=2"]
    say("the whole grid")
    whole = seconds(gptforge("train", "-m", *words, f"eval.every={steps // 9}", "hydra.sweep.dir=grid"))
    say("halving")
    halved = seconds(gptforge("train", "-m", *words, "halving=3", "hydra.sweep.dir=halved"))
    (trained, bits), (all_steps, best) = (outcome(Path(name)) for name in ("halved", "grid"))
    label = f"halving {3 if found.quick else FULL} points"
    return [
        row(f"{label}: steps / the grid's", "%", [trained / all_steps], 0.4, f"{trained:,} of {all_steps:,}", True),
        row(f"{label}: bits per byte / the grid's", "x", [bits / best], 1.01, f"{bits:.4f}, {best:.4f}", True),
        row(f"{label}: time / the grid's", "%", [halved / whole], None, f"{halved:.0f} s of {whole:.0f} s"),
    ]


def outcome(place: Path) -> tuple[int, float]:
    """The steps that a sweep has trained, and the bits per byte of its best point."""
    points = json.loads((place / "sweep.json").read_text(encoding="utf-8"))["points"]
    summaries = [json.loads((place / str(p["number"]) / "summary.json").read_text(encoding="utf-8")) for p in points]
    bits = [p["results"]["best_val_bpb"] for p in points if p["status"] == "done"]
    return sum(s["steps"] for s in summaries), min(bits)


def common(found: Options) -> list[str]:
    words = ["model=tiny", "data=pydoc", "runtime.compile=false"]
    return words + [f"{key}={value}" for key, value in LENGTHS.items()] if found.quick else words


def main() -> None:
    found = options("sweeps", __doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTFORGE_CACHE"] = str(Path(folder, "cache"))
        seconds(gptforge("prepare", "data=pydoc"))  # once, so that nobody waits for it
        rows = [*jobs(found), *halving(found)]
    finish("sweeps", "Sweeps", rows, [], found)


if __name__ == "__main__":
    main()
