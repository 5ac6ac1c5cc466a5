"""The most memory that training and writing hold, against what gptforge info says that they need.

    python benchmarks/memory.py [--quick] [--rounds N] [--out FILE]

Whole processes: two steps, an evaluation and a checkpoint; then a text of as many tokens as the context has. What
Python, torch and gptforge hold before there is a model is measured by itself and taken off, and what is left is
compared with the estimate: weights, gradients, moments, activations and logits, or weights and cache.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import Row, finish, options, row, say
from processes import gptforge, peak_bytes, python, seconds
from text import write_text

SHAPES = {
    "small (0.8 M), batch 8": ["model=small", "train.batch_size=8"],
    "medium (10.7 M), batch 16": ["model=medium", "train.batch_size=16"],
    "gpt2 with bytes (86 M), context 256, batch 4": ["model=gpt2", "tokenizer=byte", "block_size=256", "batch_size=4"],
}
QUICK = {"tiny, batch 4": ["model=tiny", "train.batch_size=4"]}
SHORT = ["train.steps=2", "sample.max_new_tokens=8", "ui=quiet"]
MIB = 2**20


def estimates(words: list[str]) -> tuple[int, int]:
    """Bytes that gptforge info names for training, and for writing one text: float32 weights and the cache."""
    command = gptforge("info", "data=text.txt", "json=true", *words)
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return sum(found["training_memory_bytes"].values()), 4 * found["parameters"] + found["cache_bytes_per_text"]


def trained(words: list[str]) -> int:
    shutil.rmtree("run", ignore_errors=True)
    return peak_bytes(gptforge("train", "data=text.txt", "hydra.run.dir=run", *SHORT, *words))


def rows_of(name: str, words: list[str], rounds: int, empty: int) -> list[Row]:
    """Training and writing at one shape."""
    say(f"{name}: running")
    training, writing = estimates(words)
    held = [trained(words) for _ in range(rounds)]
    sample = gptforge("sample", "ckpt=run", "sample.max_new_tokens=256")
    wrote = [peak_bytes(sample) for _ in range(rounds)]
    rows = []
    for what, values, estimate in (("training", held, training), ("writing", wrote, writing)):
        held_mib, empty_mib, estimate_mib = (n / MIB for n in (max(values), empty, estimate))
        detail = f"{held_mib:,.0f} MiB, {empty_mib:,.0f} of it before the model; estimate {estimate_mib:,.0f} MiB"
        rows.append(
            row(f"{what}, {name}: held / estimate", "x", [(v - empty) / estimate for v in values], None, detail)
        )
    return rows


def main() -> None:
    found = options("memory", __doc__ or "")
    rounds = min(found.rounds, 3)  # memory hardly varies
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTFORGE_CACHE"] = str(Path(folder, "cache"))
        write_text(Path("text.txt"), 100_000)
        seconds(gptforge("train", "data=text.txt", "dry_run=true", "ui=quiet"))  # stores the tokens
        empty = [peak_bytes(python("import gptforge.train.trainer, gptforge.sampling")) for _ in range(rounds)]
        rows.append(row("imports only", "MiB", [value / MIB for value in empty]))
        for name, words in (QUICK if found.quick else SHAPES).items():
            rows += rows_of(name, words, rounds, sorted(empty)[len(empty) // 2])
    finish("memory", "Memory at its peak", rows, [], found)


if __name__ == "__main__":
    main()
