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


class Work:
    """Something to do again and again; `processor` are the seconds that all cores together took each time."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.processor: list[float] = []

    def seconds(self) -> float:
        began, processor = time.perf_counter(), time.process_time()
        self.work()
        self.processor.append(time.process_time() - processor)
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
    work = {"learn": Work(lambda: train(lambda: iter(texts), size, vocabulary)), "load": Work(bpe.gpt2)}
    work |= {f"GPT-2's vocabulary, {way}": Work(encode) for way, encode in encoders(gpt2, texts).items()}
    work |= {f"the vocabulary learnt, {way}": Work(encode) for way, encode in encoders(learnt, texts).items()}
    measured = alternate({name: task.seconds for name, task in work.items()}, found.rounds)
    label = f"learning {learnt.vocab_size:,} tokens from {size / 1e6:.0f} MB"
    detail = f"{median(work['learn'].processor):.2f} s of processor time"
    rows = [row(label, "s", measured["learn"], 5.0, detail, at_most=True)]
    rows.append(row("GPT-2's tokenizer, from its file until it can encode", "s", measured["load"]))
    for name in list(work)[2:]:
        detail = f"{size / 1e6 / median(work[name].processor):.1f} MB in a second of processor time"
        rows.append(row(name, "MB/s", [size / 1e6 / s for s in measured[name]], None, detail))
    for name in ("GPT-2's vocabulary", "the vocabulary learnt"):
        faster = ratios(measured[f"{name}, tokenizers"], measured[f"{name}, tiktoken"])
        rows.append(row(f"{name}: tiktoken / tokenizers", "x", faster))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    finish("bpe", "Learning and using a BPE vocabulary", rows, [f"on {cores} cores; 1 MB is a million bytes"], found)


if __name__ == "__main__":
    main()
