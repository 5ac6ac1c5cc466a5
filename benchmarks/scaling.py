"""What a token costs as width, depth, context and text grow.

    python benchmarks/scaling.py [--quick] [--rounds N] [--out FILE]

Steps of the same number of tokens at three widths, depths and contexts. The figure is the growth of the time of a
token over the growth of its arithmetic (model/cost.py): 1 means that a larger model uses the machine as well as a
smaller one, less than 1 that it uses it better. The loader reads random tokens from memory-mapped files, the
large one just written, so that the operating system may hold it in memory; waiting for data is measured within steps.
Whatever the size, a batch costs between one and four passes of the order's permutation, by how far the number of
windows lies below the next power of four; both files here lie about half way.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from measure import Options, Row, alternate, finish, median, options, ratios, row, say
from shapes import BABY, CHARACTERS, SAME_OPTIMIZER, Shape
from workers import Worker

BASE = Shape(4, 4, 256, 256, CHARACTERS, 16)
AXES = {
    "width": {128: Shape(4, 2, 128, 256, CHARACTERS, 16), 256: BASE, 512: Shape(4, 8, 512, 256, CHARACTERS, 16)},
    "depth": {2: Shape(2, 4, 256, 256, CHARACTERS, 16), 4: BASE, 8: Shape(8, 4, 256, 256, CHARACTERS, 16)},
    "context": {64: Shape(4, 4, 256, 64, CHARACTERS, 64), 256: BASE, 1024: Shape(4, 4, 256, 1024, CHARACTERS, 4)},
}
QUICK = {"width": {16: Shape(1, 1, 16, 32, CHARACTERS, 4), 32: Shape(1, 2, 32, 32, CHARACTERS, 4)}}
STEPS = 2  # in a round
BATCHES = 2000  # in a round of the loader
SMALL, LARGE = 2**20, 10**9  # bytes of tokens
SAME = 1.1  # the most that a batch out of the large file may cost, in batches out of the small one
WAIT = 0.01  # of the time of a step


def axis(name: str, shapes: dict[int, Shape], found: Options) -> list[Row]:
    """The time of a token at each size, and its growth from the smallest to the largest over that of the FLOPs."""
    say(f"{name}: starting")
    with contextlib.ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for size, shape in shapes.items():
            words = [*shape.words, *shape.batch_words, SAME_OPTIMIZER, "runtime.compile=false"]
            workers[size] = stack.enter_context(Worker("ours", "training", words=words, vocab_size=CHARACTERS))
            workers[size].seconds(2)
        tasks = {f"{name} {s}": lambda w=w: w.seconds(STEPS) / (STEPS * w.tokens) for s, w in workers.items()}
        measured = dict(zip(shapes, alternate(tasks, found.rounds).values(), strict=True))
        flops = {size: worker.facts["flops_per_token"] for size, worker in workers.items()}
    rows = []
    for size, values in measured.items():
        detail = f"{flops[size] / median(values) / 1e9:,.0f} GFLOP/s, {flops[size] / 1e6:,.1f} MFLOPs a token"
        rows.append(row(f"a token, {name} {size}", "µs", [1e6 * value for value in values], None, detail))
    first, last = min(shapes), max(shapes)
    grown = flops[last] / flops[first]
    growth = ratios(measured[last], measured[first])
    detail = f"time {median(growth):.1f} times, arithmetic {grown:.1f} times"
    label = f"growth of time / growth of arithmetic, {name} {first} to {last}"
    return [*rows, row(label, "x", [value / grown for value in growth], None, detail)]


def loader(found: Options) -> list[Row]:
    """The time of a batch out of a large file against one out of a small file."""
    large = 8 * SMALL if found.quick else LARGE
    batches = BATCHES // 10 if found.quick else BATCHES
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 * large:
            raise SystemExit(
                f"{folder} has {free:,} bytes free, {2 * large:,} are needed: set TMPDIR to another folder"
            )
        say(f"loader: writing {large:,} bytes")
        arguments = {"block_size": 256, "batch_size": 16}
        with (
            Worker("ours", "loading", path=write_tokens(Path(folder, "small"), SMALL), **arguments) as small,
            Worker("ours", "loading", path=write_tokens(Path(folder, "large"), large), **arguments) as big,
        ):
            for worker in (small, big):
                worker.seconds(batches)
            tasks = {name: lambda w=w: w.seconds(batches) / batches for name, w in (("small", small), ("large", big))}
            measured = alternate(tasks, found.rounds)
    detail = f"{1e6 * median(measured['large']):,.0f} against {1e6 * median(measured['small']):,.0f} µs"
    label = f"a batch of {large / 1e9:g} GB / of {SMALL / 1e6:.1f} MB of tokens"
    return [row(label, "x", ratios(measured["large"], measured["small"]), SAME, detail, at_most=True)]


def write_tokens(path: Path, size: int) -> str:
    """A file of `size` random bytes."""
    with path.open("wb") as file:
        for first in range(0, size, 2**24):
            file.write(os.urandom(min(2**24, size - first)))
    return str(path)


def waits(found: Options) -> list[Row]:
    """The share of a step's time in which it waits for its batch, in the default run and at the larger shape."""
    cases = {"the default run": [], "6 layers, width 384, batch 16": [*BABY.words, *BABY.batch_words]}
    if found.quick:
        cases = {"tiny": ["model=tiny"]}
    rows = []
    for name, words in cases.items():
        with Worker("ours", "waiting", words=words, vocab_size=CHARACTERS) as worker:
            worker.figure(2)
            steps = 20 if worker.facts["parameters"] < 5e6 else 2
            measured = alternate({name: lambda w=worker, n=steps: w.figure(n)}, found.rounds)
        rows.append(row(f"waiting for data, {name}", "%", measured[name], WAIT, "", at_most=True))
    return rows


def main() -> None:
    found = options("scaling", __doc__ or "")
    rows = loader(found) + waits(found)
    for name, shapes in (QUICK if found.quick else AXES).items():
        rows += axis(name, shapes, found)
    finish("scaling", "What a token costs as things grow", rows, [], found)


if __name__ == "__main__":
    main()
