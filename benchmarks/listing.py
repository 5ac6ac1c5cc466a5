"""How long one waits for the list of 5,000 runs: as always, and when all must be read for it.

    python benchmarks/listing.py [--quick] [--rounds N] [--out FILE]

Whole commands, with the start of the process. The runs are copies of one that was trained, each with a loss of its own
and 200 records. `gptforge runs` keeps what it has read in an index; the yardstick is the list without one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import alternate, finish, median, options, ratios, row, say
from processes import gptforge, seconds
from text import write_text

RUNS, QUICK = 5_000, 50
SHORT = ["model=tiny", "data=text.txt", "ui=quiet", "train.steps=20", "log.every=1", "sample.max_new_tokens=1"]
NOT_READ = shutil.ignore_patterns("checkpoints", "samples", "report.html", "loss.svg", "metrics.csv", "passage.json")
LISTED, ANEW = f"gptforge runs, {RUNS:,} of them", "the same without its index"


def copies(run: Path, n: int) -> None:
    """n runs with the small files of this one, each with a loss of its own and ten times its records."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    for number in range(n):
        copy = Path("runs", f"run-{number:05}")
        shutil.copytree(run, copy, ignore=NOT_READ)
        loss = 1.5 + number / n
        (copy / "summary.json").write_text(json.dumps({**summary, "val_loss": loss}), encoding="utf-8")
        told = "".join(json.dumps({**r, "step": r["step"] + 20 * k}) + "\n" for k in range(10) for r in records)
        (copy / "metrics.jsonl").write_text(told, encoding="utf-8")


def without_index() -> float:
    Path("runs", ".index.json").unlink(missing_ok=True)
    return seconds(gptforge("runs"))


def main() -> None:
    found = options("listing", __doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTFORGE_CACHE"] = str(Path(folder, "cache"))
        write_text(Path("text.txt"), 20_000)
        seconds(gptforge("train", *SHORT, "hydra.run.dir=model"))
        say("copying the run")
        copies(Path("model"), QUICK if found.quick else RUNS)
        tasks: dict[str, Callable[[], float]] = {ANEW: without_index, LISTED: lambda: seconds(gptforge("runs"))}
        measured = alternate(tasks, found.rounds)
    rows = [row(LISTED, "s", measured[LISTED], 1.0, at_most=True), row(ANEW, "s", measured[ANEW])]
    detail = f"{median(measured[LISTED]):.2f} s against {median(measured[ANEW]):.2f} s"
    rows.append(row("with the index / without", "x", ratios(measured[LISTED], measured[ANEW]), None, detail))
    finish("listing", "Listing", rows, [], found)


if __name__ == "__main__":
    main()
