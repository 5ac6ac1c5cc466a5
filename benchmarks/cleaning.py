"""How well duplicates and boilerplate are found that were planted into real texts, how fast, and in how much memory.

    python benchmarks/cleaning.py [--quick] [--rounds N] [--out FILE] [--size MB]

Texts are speeches of Shakespeare, the same written in Han characters without blanks, pages of Python's manual and
modules of its library. What is truly alike is found by comparing all pairs (planted.py). Speed is that of one process
on the sources of the standard library and of torch; memory is that of a process that looks for equal and nearly equal
documents, repeated paragraphs and boilerplate at once, in a made-up collection of --size MB.
"""

import argparse
import contextlib
import importlib.util
import re
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import planted
from gptforge.config.clean import CleanConfig
from gptforge.data.clean.boilerplate import Boilerplate
from gptforge.data.clean.cleaner import Cleaner
from gptforge.data.clean.duplicates import NearDuplicates, RepeatedParagraphs, equal_groups
from gptforge.data.clean.hashes import hashes_of
from gptforge.data.clean.kinds import Kind, kind_of
from measure import Options, Row, finish, options, row, say
from processes import peak_bytes

THRESHOLD = CleanConfig().near_threshold
LEAST = 10  # documents that a line of boilerplate stands in
PRECISION, RECALL, SPEED, MEMORY = 0.99, 0.95, 5.0, 1e9
NOT_PLANTED = "not planted"
BREAK = re.compile(r"\n\s*\n")


def searched(texts: Sequence[str]) -> list[int]:
    """The groups of nearly equal texts."""
    with tempfile.TemporaryDirectory() as folder:
        search = NearDuplicates(Path(folder), THRESHOLD, texts.__getitem__)
        with contextlib.closing(search):
            for text in texts:
                search.add(text)
            return search.groups().tolist()


def equal(texts: Sequence[str]) -> list[int]:
    """The groups of equal texts."""
    return equal_groups(hashes_of(texts)).tolist()


def share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


Counts = dict[str, list[int]]  # of each class, in pairs: found and right, found, found of those to find, to find, all


def near_counts(name: str, texts: Sequence[str], each: int) -> Counts:
    """What the search finds of each planted class, and of what was not planted, in texts of one kind.

    A pair is to be found when it is alike by the threshold, and right when links of such pairs lead from one to the
    other.
    """
    say(f"{name}: {len(texts):,} texts, comparing all pairs")
    made = planted.plant(texts, each, seed=len(texts))
    links = planted.similar_pairs(made.texts, THRESHOLD)
    truth = planted.components(len(made.texts), links)
    groups = searched(made.texts)
    together = planted.same_group_pairs(groups)
    classes = {edit: {(min(p), max(p)) for p in pairs} for edit, pairs in made.pairs.items()}
    classes[NOT_PLANTED] = (links.keys() | together) - set().union(*classes.values())
    counts: Counts = {}
    for edit, pairs in classes.items():
        found = pairs & together
        right = sum(truth[a] == truth[b] for a, b in found)
        to_find = pairs & links.keys()
        counts[edit] = [right, len(found), len(to_find & found), len(to_find), len(pairs)]
    return counts


def near_rows(kinds: Mapping[str, Sequence[str]], each: int) -> list[Row]:
    """Nearly equal documents: all together, by class of what was planted, by kind of text."""
    by_kind = {
        name: near_counts(name, texts, each if len(texts) > 500 else max(1, each // 4)) for name, texts in kinds.items()
    }
    by_class = {
        edit: [sum(column) for column in zip(*(counts[edit] for counts in by_kind.values()), strict=True)]
        for edit in (*planted.EDITS, NOT_PLANTED)
    }
    whole = [sum(column) for column in zip(*by_class.values(), strict=True)]
    rows = quality_rows("near duplicates", whole, True)
    for edit, counts in by_class.items():
        rows += quality_rows(f"near duplicates, {edit}", counts, False)
    for name, found in by_kind.items():
        rows += quality_rows(f"near duplicates, {name}", [sum(c) for c in zip(*found.values(), strict=True)], False)
    return rows


def quality_rows(label: str, counts: Sequence[int], promised: bool) -> list[Row]:
    right, found, hit, to_find, planted_pairs = counts
    precision = f"{right:,} of {found:,} pairs in one group belong together"
    recall = f"{hit:,} of {to_find:,} pairs that are alike; {found:,} of all {planted_pairs:,} are together"
    return [
        row(f"{label}: precision", "%", [share(right, found)], PRECISION if promised else None, precision),
        row(f"{label}: recall", "%", [share(hit, to_find)], RECALL if promised else None, recall),
    ]


def equal_rows(name: str, texts: Sequence[str], each: int) -> list[Row]:
    """Equal documents; the truth is the equality of Python's strings."""
    made = planted.plant(texts, each, seed=1).texts
    first: dict[str, int] = {}
    truth = planted.same_group_pairs([first.setdefault(text, i) for i, text in enumerate(made)])
    found = planted.same_group_pairs(equal(made))
    detail = f"{len(truth & found):,} pairs in {len(made):,} texts"
    return [
        row(f"equal documents, {name}: precision", "%", [share(len(truth & found), len(found))], PRECISION, detail),
        row(f"equal documents, {name}: recall", "%", [share(len(truth & found), len(truth))], RECALL, detail),
    ]


def boilerplate_rows(name: str, texts: Sequence[str], n_lines: int) -> list[Row]:
    """Lines put into LEAST texts or more, and those that stand in as many anyway."""
    made, lines = planted.with_boilerplate(texts, n_lines, LEAST, seed=2)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Boilerplate(Path(folder))) as search:
        for text in made:
            search.add(text)
        repeated = search.lines(LEAST)
    frequent = planted.frequent_lines(made, LEAST, least_bytes=20)
    removed = kept = wrong = 0
    for text in made:
        left = repeated.without(text, 0).text.split("\n")
        removed += len(text.split("\n")) - len(left)
        kept += sum(line.strip() in frequent for line in left)
        wrong += sum(line.strip() not in frequent for line in text.split("\n")) - sum(
            line.strip() not in frequent for line in left
        )
    right = removed - wrong
    detail = f"{removed:,} lines left out, {n_lines * LEAST:,} of them planted: {n_lines} in {LEAST} texts each"
    assert set(lines) <= frequent
    return [
        row(f"boilerplate, {name}: precision", "%", [share(right, removed)], PRECISION, detail),
        row(f"boilerplate, {name}: recall", "%", [share(right, right + kept)], RECALL, detail),
    ]


def paragraph_rows(name: str, texts: Sequence[str], copies: int) -> list[Row]:
    """Paragraphs put into other texts, and those that stand twice anyway; the truth is a set of strings.

    Texts that look like source code are left alone by design, and left out here.
    """
    made = [text for text in planted.with_repeats(texts, copies, seed=3) if kind_of(text) is not Kind.CODE]
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(RepeatedParagraphs(Path(folder))) as search:
        for text in made:
            search.add(text)
        first = search.first()
    seen: set[str] = set()
    to_drop = right = dropped = 0
    for i, text in enumerate(made):
        parts = [part.strip() for part in BREAK.split(text)]
        wanted = Counter(part for part in parts if len(part.encode()) >= 100)
        repeats = Counter({part: n - (part not in seen) for part, n in wanted.items()})
        seen |= wanted.keys()
        left = [part.strip() for part in BREAK.split(first.without_repeated(i, text, 0).text)]
        gone = Counter(parts) - Counter(left)
        to_drop += repeats.total()
        dropped += gone.total()
        right += (gone & repeats).total()
    detail = f"{right:,} left out rightly, {copies:,} planted; {to_drop:,} stood before"
    return [
        row(f"repeated paragraphs, {name}: precision", "%", [share(right, dropped)], PRECISION, detail),
        row(f"repeated paragraphs, {name}: recall", "%", [share(right, to_drop)], RECALL, detail),
    ]


def speed_rows(found: Options) -> list[Row]:
    """MB of UTF-8 a second in one process, on sources of Python."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None and torch.submodule_search_locations
    texts = planted.modules(*torch.submodule_search_locations)[:: 100 if found.quick else 1]
    size = sum(len(text.encode()) for text in texts) / 1e6
    say(f"speed on {len(texts):,} modules, {size:.0f} MB")

    def clean(cfg: CleanConfig) -> Callable[[], object]:
        cleaner = Cleaner(cfg)
        return lambda: [cleaner.apply(text) for text in texts]

    strict = CleanConfig(
        unicode="fix", line_ends=True, control_characters=True, invisible=True, whitespace=True, gopher=True
    )
    tasks: dict[str, tuple[Callable[[], object], float | None]] = {
        "near-duplicate search": (lambda: searched(texts), SPEED),
        "equal documents": (lambda: equal(texts), None),
        "rules of clean=mild": (clean(CleanConfig(line_ends=True, control_characters=True)), None),
        "rules of clean=strict, personal data aside": (clean(strict), None),
    }
    speeds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(found.rounds):
        for name, (task, _target) in tasks.items():
            began = time.perf_counter()
            task()
            speeds[name].append(size / (time.perf_counter() - began))
    detail = f"{size:.0f} MB, {len(texts):,} modules, one process"
    return [row(name, "MB/s", speeds[name], target, detail) for name, (_, target) in tasks.items()]


def search_made_up(size: float) -> None:
    """What the process does whose memory is measured."""
    texts = planted.MadeUp(size)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        near = stack.enter_context(contextlib.closing(NearDuplicates(folder, THRESHOLD, texts.__getitem__)))
        hashes = array("Q")  # of whole documents, as a corpus keeps them
        lines = stack.enter_context(contextlib.closing(Boilerplate(folder)))
        paragraphs = stack.enter_context(contextlib.closing(RepeatedParagraphs(folder)))
        for text in texts:
            hashes.append(int(hashes_of([text])[0]))
            for search in (near, lines, paragraphs):
                search.add(text)
        groups = near.groups()
        kept = groups == range(len(texts))
        equal_groups(np.array(hashes))
        lines.lines(LEAST, kept)
        paragraphs.first(kept)
        disk = sum(path.stat().st_size for path in folder.iterdir())
    say(
        f"  {len(texts):,} documents, {len(texts) - kept.sum():,} nearly equal to another, {disk / 1e6:,.0f} MB on disk"
    )


def memory_rows(found: Options) -> list[Row]:
    """The most memory held, at two sizes, so that its growth shows."""
    whole = 2e6 if found.quick else found.extra.size * 1e6
    rows = []
    for size in (whole / 10, whole):
        say(f"memory on {size / 1e6:,.0f} MB")
        began = time.perf_counter()
        peak = peak_bytes([sys.executable, __file__, "--made-up", str(size)])
        took = time.perf_counter() - began
        detail = f"{took:,.0f} s with making the text: {size / 1e6 / took:.1f} MB/s; all four searches at once"
        rows.append(
            row(f"memory, {size / 1e6:,.0f} MB made up", "MB", [peak / 1e6], MEMORY / 1e6, detail, at_most=True)
        )
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=float, default=300, help="MB of the made-up collection (default 300)")
    parser.add_argument("--made-up", type=float, help=argparse.SUPPRESS)


def main() -> None:
    found = options("cleaning", __doc__ or "", add_options)
    if found.extra.made_up:
        return search_made_up(found.extra.made_up)
    few, each = (60, 4) if found.quick else (4000, 200)
    speeches, topics = planted.speeches(full=not found.quick)[:few], planted.topics()[:few]
    kinds = {
        "speeches": speeches,
        "speeches in Han characters": planted.han(speeches),
        "manual": topics,
        "modules": planted.modules(most=60_000)[: few // 4],
    }
    rows = near_rows(kinds, each)
    for name in ("speeches", "modules"):
        rows += equal_rows(name, kinds[name], each)
    rows += paragraph_rows("manual", topics, each)
    rows += boilerplate_rows("speeches", speeches, max(1, each // 4))
    rows += speed_rows(found)
    rows += memory_rows(found)
    finish("cleaning", "Cleaning: duplicates, boilerplate, speed and memory", rows, [], found)


if __name__ == "__main__":
    main()
