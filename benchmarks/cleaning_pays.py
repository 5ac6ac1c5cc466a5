"""Whether cleaning pays: models of the same token budget, with and without the search for repeats.

    python benchmarks/cleaning_pays.py [--quick] [--rounds SEEDS] [--tokens N] [--also KEY=VALUE ...] [--out FILE]

Two collections. *Planted*: speeches of Shakespeare; a few of them, copied as often as the most frequent pages of the
web are, make half of the text, every other copy with 2 % of its words changed, and made-up lines of boilerplate stand
in many. *Natural*: the C++ headers that torch installs, many of which a program wrote. Of each some documents are kept
that nothing else is nearly equal to, before anything is planted. Every model learns as many tokens, bytes of what is
left, with `clean=mild` alone or with the search for repeats besides, and is evaluated on the kept documents as they
are. A ratio is of two models of one seed.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import planted
from cleaning import searched
from measure import Options, Row, finish, options, ratios, row, say
from processes import gptforge, output, seconds

SEEDS, TOKENS, SIZE = 3, 1_000_000, 1_000_000
KEPT = 0.25  # of what is learnt, as many characters for evaluation
WORDS_CHANGED = planted.words_changed(0.02)
LEAST = 10  # documents that a line of boilerplate stands in
CLEANING = {
    "with repeats": ["clean=mild"],
    "without repeats": [
        *("clean=mild", "clean.exact_duplicates=documents", "clean.near_duplicates=drop"),
        f"clean.boilerplate={LEAST}",
    ],
}
AS_IT_IS, CLEANED = CLEANING


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents to learn from, and others to evaluate on; `told` says how much repeats."""

    name: str
    learnt: list[str]
    kept: list[str]
    told: str


def divided(texts: Sequence[str], size: float, seed: int) -> tuple[list[str], list[str]]:
    """Documents drawn by chance: about `size` characters to learn, and a share to keep."""
    members = Counter(groups := searched(texts))
    found: dict[bool, list[str]] = {True: [], False: []}
    missing = {True: KEPT * size, False: size}
    for n in random.Random(seed).sample(range(len(texts)), len(texts)):
        keep = members[groups[n]] == 1 and missing[True] > 0
        if missing[keep] > 0:
            found[keep].append(texts[n])
            missing[keep] -= len(texts[n])
    return found[False], found[True]


def with_copies(texts: Sequence[str], seed: int) -> list[str]:
    """As many bytes again in copies of a few: the document of rank r by chance has about 1/r of the copies."""
    rng = random.Random(seed)
    order = rng.sample(range(len(texts)), len(texts))
    copies: list[str] = []
    missing = sum(map(len, texts))
    while missing > 0:
        original = texts[order[int(len(order) ** rng.random()) - 1]]  # log-uniform ranks: Zipf's law
        copies.append(WORDS_CHANGED(original, rng, texts) if len(copies) % 2 else original)
        missing -= len(copies[-1])
    made = [*texts, *copies]
    rng.shuffle(made)
    return made


def collections(quick: bool) -> list[Collection]:
    size = 30_000 if quick else SIZE
    speeches, kept = divided(planted.speeches(full=not quick), size / 2, seed=1)
    texts = with_copies(speeches, seed=2)
    texts, _ = planted.with_boilerplate(texts, n_lines=10, copies=max(LEAST, len(texts) // 20), seed=3)
    found = [Collection("planted", texts, kept, repeats(texts))]
    learnt, kept = divided(headers()[:: 40 if quick else 1], size, seed=1)
    return [*found, Collection("natural", learnt, kept, repeats(learnt))]


def headers() -> list[str]:
    """The C++ headers of torch, of 300 to 40,000 bytes."""
    folder = Path(torch.__file__).parent / "include"
    texts = [path.read_bytes().decode("utf-8", "replace") for path in sorted(folder.rglob("*.h"))]
    return [text for text in texts if 300 <= len(text) <= 40_000]


def repeats(texts: Sequence[str]) -> str:
    """How much of the documents is nearly equal to an earlier one, in words."""
    groups = searched(texts)
    size = sum(map(len, texts))
    again = sum(len(text) for n, text in enumerate(texts) if groups[n] != n)
    largest = Counter(groups).most_common(1)[0][1]
    return f"{len(texts):,} documents, {again / size:.0%} of the text nearly equal to others, up to {largest:,} times"


def write(texts: Sequence[str], path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def bits(data: Path, kept: Path, words: Sequence[str], seed: int, name: str) -> dict[str, Any]:
    """Bits per byte on the kept documents after training, and what cleaning left of the text."""
    run = f"{name}-{seed}"
    common = [f"data={data}", "tokenizer=byte", f"seed={seed}", f"hydra.run.dir={run}", "ui=quiet"]
    seconds(gptforge("train", *common, *words))
    _, printed = output(gptforge("eval", run, f"data={kept}", "json=true", "baselines=false", "resamples=0"))
    found = json.loads(printed)["bits_per_byte"]
    summary = json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))
    say(f"  {name}, seed {seed}: {found:.4f} bits per byte")
    return {"bits": found, "tokens": summary["tokens"]}


def rows_of(collection: Collection, more: list[str], rounds: int) -> list[Row]:
    """Both ways of cleaning, with the same seeds, and the ratios."""
    say(f"{collection.name}: {collection.told}")
    data = write(collection.learnt, Path(f"{collection.name}.jsonl"))
    kept = write(collection.kept, Path(f"{collection.name}-kept.jsonl"))
    names = list(CLEANING)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(1, rounds + 1):
        for name in names[:: -1 if seed % 2 else 1]:
            words = [*CLEANING[name], *more]
            found[name].append(bits(data, kept, words, seed, f"{collection.name}-{names.index(name)}"))
    if len({run["tokens"] for runs in found.values() for run in runs}) != 1:
        raise RuntimeError("the models did not learn the same number of tokens")
    values = {name: [run["bits"] for run in runs] for name, runs in found.items()}
    gains = ratios(values[AS_IT_IS], values[CLEANED])
    told = f"{collection.told}; {found[CLEANED][0]['tokens']:,} tokens learnt"
    return [
        *(row(f"{collection.name}: {name}", "bits/byte", v, None, summed_up(v)) for name, v in values.items()),
        row(f"{collection.name}: with repeats / without", "x", gains, None, f"{summed_up(gains)}; {told}"),
    ]


def summed_up(values: Sequence[float]) -> str:
    spread = f", standard deviation {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"mean {statistics.mean(values):.4f}{spread}"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--also", nargs="*", default=[], metavar="KEY=VALUE", help="more words for every training")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"what each model learns (default {TOKENS:,})")


def main() -> None:
    name = "cleaning_pays"
    found: Options = options(name, __doc__ or "", arguments)
    rounds = found.extra.rounds or (1 if found.quick else SEEDS)
    more = ["model=tiny", "train.steps=3", "sample.max_new_tokens=1"] if found.quick else []
    more = [*(more or [f"train.tokens={found.extra.tokens}"]), *found.extra.also]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rows = [r for collection in collections(found.quick) for r in rows_of(collection, more, rounds)]
    finish(name, "Whether cleaning pays: bits per byte at equal tokens", rows, [], found)


if __name__ == "__main__":
    main()
