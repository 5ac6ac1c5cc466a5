"""How good a model gets in how much time, from the start of the process to its end.

    python benchmarks/time_to_loss.py --data FILE [--experiment NAME] [--quick] [--out FILE]

FILE is the text, such as tinyshakespeare (1,115,394 bytes), on which nanoGPT's figures are: its last tenth is the
validation split and every loss here is over all of it, in nats per token. Measured are the shortest run that reaches
nanoGPT's loss of 1.898, against the time that its recipe takes in a plain loop on this machine (plain_run.py); and the
loss after as long as nanoGPT's own code took on two cores of an AMD EPYC (103 s). With --experiment only
`gptforge train experiment=NAME` is measured, as long as it takes.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Options, Row, finish, median, options, row, say
from processes import gptforge, output, seconds
from text import write_text

NANOGPT_LOSS, NANOGPT_SECONDS = 1.898, 103.0  # its own code on 2 cores of an AMD EPYC, float32
FASTER, LOSS_THEN = 5.0, 1.55  # what is promised: that loss so many times sooner, and this one after those seconds
PROMISED = {"shakespeare_30m": 1.45}  # the loss at the end of an experiment
# Seconds of train.time that are tried until all seeds reach the loss
BUDGETS = (8, 10, 12, 14, 15, 16, 17, 18, 19, 20, 25, 30, 40, 60, 90)
SEEDS = 5
FIRST_SEED = 1
MARGIN = 1.0  # seconds that a run of fixed wall time is planned to end early
TRIES = 3
PLAIN_SEEDS = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="the text file; needed, but for --quick")
    parser.add_argument("--experiment", help="measure gptforge train experiment=NAME only")
    parser.add_argument("--seeds", type=int, help=f"how many seeds (default {SEEDS}, experiment 1)")
    parser.add_argument("--also", nargs="*", default=[], metavar="KEY=VALUE", help="more words for every run of ours")


def train(data: Path, seed: int, words: Sequence[str], name: str) -> dict[str, Any]:
    """The summary of a run, with its wall time from start to end of the process."""
    run = Path(f"{name}-{seed}")
    command = gptforge("train", f"data={data}", f"seed={seed}", f"hydra.run.dir={run}", "ui=quiet", *words)
    wall = seconds(command)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8")) | {"wall": wall}
    say(f"  {name}, seed {seed}: val_loss {summary['val_loss']:.4f} after {wall:.1f} s, {summary['steps']} steps")
    return summary


def time_to(
    loss: float, budgets: Sequence[float], data: Path, seeds: Sequence[int], words: list[str]
) -> list[dict[str, Any]]:
    """The runs of the shortest budget whose every seed ends at or below the loss; nothing if none does."""
    for budget in budgets:
        runs = []
        for seed in seeds:
            runs.append(train(data, seed, [*words, f"train.time={budget}s"], f"to-{budget}s"))
            if runs[-1]["val_loss"] > loss:
                break
        else:
            return runs
    return []


def within(limit: float, data: Path, seeds: Sequence[int], words: list[str]) -> list[dict[str, Any]]:
    """One run a seed whose whole process ends within `limit` seconds; a run that did not is made again, shorter."""
    short = train(data, 0, [*words, "train.time=1s"], "start")
    before = short["wall"] - 1.0  # starting, and what ends later than planned
    runs = []
    for seed in seeds:
        for n in range(TRIES):
            found = train(data, seed, [*words, f"train.time={limit - before - MARGIN:.1f}s"], f"within-{n}")
            if found["wall"] <= limit:
                runs.append(found)
                break
            before += found["wall"] - limit
        else:
            raise RuntimeError(
                f"{TRIES} runs that should have ended within {limit} s took longer: is the machine busy?"
            )
    return runs


def loss_row(label: str, runs: Sequence[dict[str, Any]], target: float | None, key: str = "val_loss") -> Row:
    walls, steps = (median([run[name] for run in runs]) for name in ("wall", "steps"))
    losses = ", ".join(f"{run[key]:.4f}" for run in runs)
    detail = f"{walls:.1f} s, {steps:,.0f} steps; seeds: {losses}; mean {sum(r[key] for r in runs) / len(runs):.4f}"
    return row(label, "nats", [run[key] for run in runs], target, detail, at_most=True)


def plain(data: Path, seed: int, steps: Sequence[str] = ()) -> dict[str, Any]:
    """nanoGPT's recipe by a plain loop: its loss, and its wall time from start to end of the process."""
    script = Path(__file__).with_name("plain_run.py")
    wall, printed = output([sys.executable, str(script), str(data), str(seed), *steps])
    found = json.loads(printed) | {"wall": wall}
    say(f"  plain loop, seed {seed}: val_loss {found['val_loss']:.4f} after {wall:.1f} s")
    return found


def short_runs(data: Path, found: Options) -> tuple[list[Row], list[str]]:
    """Time to nanoGPT's loss, the same for its recipe in a plain loop, and loss after nanoGPT's time."""
    seeds = range(FIRST_SEED, FIRST_SEED + (found.extra.seeds or (1 if found.quick else SEEDS)))
    words, steps = list(found.extra.also), []
    target, budgets, limit = NANOGPT_LOSS, BUDGETS, NANOGPT_SECONDS
    if found.quick:
        words += ["model=tiny", "sample.max_new_tokens=1"]
        target, budgets, limit, steps = 10.0, (1,), 30.0, ["5"]
    rows, notes = [], []
    theirs = [plain(data, seed, steps) for seed in seeds[:PLAIN_SEEDS]]
    reached = time_to(target, budgets, data, seeds, words)
    if reached:
        losses = median([run["val_loss"] for run in reached])
        detail = f"val_loss {losses:.4f}; nanoGPT's own code on an EPYC: {NANOGPT_SECONDS:.0f} s"
        walls = [run["wall"] for run in reached]
        rows.append(row(f"time to val_loss {target}", "s", walls, NANOGPT_SECONDS / FASTER, detail, at_most=True))
        slow = median([run["wall"] for run in theirs])
        label = "nanoGPT's recipe in a plain loop / time to its loss"
        rows.append(
            row(label, "x", [slow / wall for wall in walls], FASTER, f"{slow:.1f} s against {median(walls):.1f} s")
        )
    else:
        notes.append(f"val_loss {target} was not reached by every seed within {budgets[-1]} s")
    rows.append(loss_row("val_loss of nanoGPT's recipe in a plain loop", theirs, None))
    rows.append(loss_row(f"val_loss after {limit:.0f} s", within(limit, data, seeds, words), LOSS_THEN))
    return rows, notes


def main() -> None:
    name = "time_to_loss"
    found = options(name, __doc__ or "", arguments)
    if not found.quick and not (found.extra.data and found.extra.data.is_file()):
        raise SystemExit("time_to_loss.py needs a text: --data FILE, or make bench-quality DATA=FILE")
    data = found.extra.data.resolve() if found.extra.data else None
    experiment = found.extra.experiment
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        data = data or write_text(Path("text.txt").resolve(), 100_000)
        if experiment:
            if found.out is not None and found.extra.out is None:
                found.out = found.out.with_name(f"{experiment}.json")
            words = [f"experiment={experiment}", *found.extra.also]
            seeds = range(FIRST_SEED, FIRST_SEED + (found.extra.seeds or 1))
            runs = [train(data, seed, words, experiment) for seed in seeds]
            last = loss_row(f"last val_loss of experiment={experiment}", runs, PROMISED.get(experiment))
            rows = [last, loss_row(f"best val_loss of experiment={experiment}", runs, None, "best_val_loss")]
            return finish(experiment, f"A whole recipe: experiment={experiment}", rows, [], found)
        rows, notes = short_runs(data, found)
    finish(name, "Loss and time, process start included", rows, notes, found)


if __name__ == "__main__":
    main()
