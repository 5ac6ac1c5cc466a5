"""How long a BPE vocabulary takes to learn, and how fast texts become tokens.

    python benchmarks/bpe.py [--quick] [--rounds N] [--out FILE]

The text is Python's own library without its tests, about 12 MB in some 660 files. Encoding is that of `prepare`: all
files at once, on all cores, with tiktoken and with the package tokenizers alone; the ids of both are compared first.
"""

import os
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gptforge.tokenizers import bpe
from gptforge.tokenizers.bpe import BPETokenizer
from gptforge.tokenizers.train_bpe import train
from measure import alternate, finish, median, options, ratios, row, say

VOCABULARY = 8192
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"}


def library() -> Iterator[str]:
    """The sources of Python's library, file by file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not LEFT_OUT & set(path.relative_to(root).parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def encoders(tokenizer: BPETokenizer, texts: list[str]) -> dict[str, Callable[[], object]]:
    """Both ways of encoding; raises RuntimeError if they differ."""
    alone = BPETokenizer(tokenizer.kind, tokenizer.vocabulary)
    alone.__dict__["_ranks"] = None  # as where tiktoken is not installed
    for one, two in zip(tokenizer.encode_many(texts[:100]), alone.encode_many(texts[:100]), strict=True):
        if not np.array_equal(one, two):
            raise RuntimeError("tiktoken and tokenizers give other ids")
    return {"tiktoken": lambda: tokenizer.encode_many(texts), "tokenizers": lambda: alone.encode_many(texts)}


def main() -> None:
    found = options("bpe", __doc__ or "")
    texts = list(library())[: 20 if found.quick else None]
    size = sum(len(text.encode()) for text in texts)
    say(f"{len(texts)} files, {size / 1e6:.1f} MB")
    vocabulary = 512 if found.quick else VOCABULARY
    learnt = train(lambda: iter(texts), size, vocabulary)
    gpt2 = bpe.gpt2()
    tasks = {"train": lambda: train(lambda: iter(texts), size, vocabulary), "load GPT-2": bpe.gpt2}
    tasks |= {f"GPT-2, {name}": work for name, work in encoders(gpt2, texts).items()}
    tasks |= {f"own, {name}": work for name, work in encoders(learnt, texts).items()}
    measured = alternate({name: lambda work=work: seconds(work) for name, work in tasks.items()}, found.rounds)
    rate = {name: [size / 1e6 / s for s in measured[name]] for name in tasks if "," in name}
    rows = [
        row(f"learning {learnt.vocab_size:,} tokens from {size / 1e6:.0f} MB", "s", measured["train"], 5.0, "", True)
    ]
    rows.append(row("GPT-2's tokenizer, from its file until it can encode", "s", measured["load GPT-2"]))
    for name, title in (("GPT-2", "GPT-2's vocabulary"), ("own", "the vocabulary learnt")):
        rows += [row(f"{title}, {way}", "MB/s", rate[f"{name}, {way}"]) for way in ("tiktoken", "tokenizers")]
        one, two = rate[f"{name}, tiktoken"], rate[f"{name}, tokenizers"]
        detail = f"{median(one):.1f} against {median(two):.1f} MB/s"
        rows.append(row(f"{title}: tiktoken / tokenizers", "x", ratios(one, two), None, detail))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    finish("bpe", "Learning and using a BPE vocabulary", rows, [f"on {cores} cores; 1 MB is a million bytes"], found)


if __name__ == "__main__":
    main()
