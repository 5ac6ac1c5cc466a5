"""What experts are worth: a model with a mixture of them against the one without, at equal work for each token.

    python benchmarks/experts.py [--quick] [--rounds SEEDS] [--tokens N] [--also KEY=VALUE ...] [--out FILE]

`model=moe_small` (8 experts of which each token goes through 2, and a shared one) and its twin, which has one MLP of
their joint width in their place: the same weights are active for each token, but for the routers. Both learn the same
tokens of the Shakespeare plays that gptforge fetches, in the same order, from the same seeds. A ratio is of two runs of
one seed. The spread of the losses is that of seeds.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Options, Row, finish, options, ratios, row, say
from processes import gptforge, seconds

SEEDS, TOKENS = 3, 1_000_000
MODELS = {
    "experts": ["model=moe_small"],
    "one MLP": ["model=moe_small", "model.moe.n_expert=null", "model.mlp.width=384"],
}
EXPERTS, DENSE = MODELS


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--also", nargs="*", default=[], metavar="KEY=VALUE", help="more words for every training")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"what each model learns (default {TOKENS:,})")


def train(name: str, seed: int, words: Sequence[str]) -> dict[str, Any]:
    """The summary of a run, with the largest load of an expert in its second half."""
    run = Path(f"{name.replace(' ', '-')}-{seed}")
    command = gptforge("train", *words, f"seed={seed}", f"hydra.run.dir={run}", "ui=quiet")
    wall = seconds(command)
    found = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    loads = [record["moe_load_max"] for record in records if "moe_load_max" in record]
    say(f"  {name}, seed {seed}: val_loss {found['val_loss']:.4f} after {wall:.1f} s")
    return found | {"load": max(loads[len(loads) // 2 :], default=0.0)}


def summed_up(values: Sequence[float]) -> str:
    spread = f", standard deviation {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"mean {statistics.mean(values):.4f}{spread}"


def rows_of(found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Losses, their difference, the loads, and the speeds."""
    losses = {name: [run["val_loss"] for run in runs] for name, runs in found.items()}
    gains = [a - b for a, b in zip(losses[DENSE], losses[EXPERTS], strict=True)]
    shares = ratios(losses[EXPERTS], losses[DENSE])
    speeds = {name: [run["tokens_per_second"] for run in runs] for name, runs in found.items()}
    told = {name: f"{runs[0]['parameters']:,} parameters" for name, runs in found.items()}
    loss_rows = [row(f"{name}: loss", "nats", v, None, f"{summed_up(v)}; {told[name]}") for name, v in losses.items()]
    tokens = f"{found[EXPERTS][0]['tokens']:,} tokens learnt"
    return [
        *loss_rows,
        row("loss, experts / one MLP", "%", shares, None, f"better by {summed_up(gains)} nats; {tokens}"),
        row("fullest expert / mean load", "x", [run["load"] for run in found[EXPERTS]], None, "in the second half"),
        row("tokens per second, experts / one MLP", "x", ratios(speeds[EXPERTS], speeds[DENSE])),
    ]


def main() -> None:
    name = "experts"
    found: Options = options(name, __doc__ or "", arguments)
    rounds = found.extra.rounds or (1 if found.quick else SEEDS)
    more = [f"train.tokens={found.extra.tokens}", "data=shakespeare"]
    if found.quick:
        more = ["data=pydoc", "train.steps=3", "train.batch_size=2", "model.n_layer=1", "sample.max_new_tokens=1"]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in range(1, rounds + 1):
            for model in list(MODELS)[:: -1 if seed % 2 else 1]:
                runs[model].append(train(model, seed, [*MODELS[model], *more, *found.extra.also]))
        rows = rows_of(runs)
    finish(name, "What experts are worth at equal work for each token", rows, [], found)


if __name__ == "__main__":
    main()
