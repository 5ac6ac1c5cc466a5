"""How well personal data is found: precision and recall on labelled texts, what is found in Python's sources, speed.

A labelled file has one JSON object a line: {"text": ..., "spans": [[start, end, kind], ...]}, and "lang" if it is
known. A finding is right when it shares at least half of their common extent with a label of its kind that no other
finding has taken.

    python benchmarks/personal_data.py [--labelled FILE] [--show N] [--list]

personal_data_held_out.jsonl.gz is measured when it is there: nobody who works on the patterns sees it before they are
final. personal_data.jsonl.gz holds what were such sets once; their mistakes have been used to mend the patterns, so
they are for development and flatter them.
"""

import argparse
import gzip
import json
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptforge import assets
from gptforge.data.clean.personal import KINDS, Finding, scan
from measure import Options, Row, alternate, finish, options, row, say

DEVELOPMENT = Path(__file__).resolve().with_suffix(".jsonl.gz")  # its mistakes have mended the patterns
HELD_OUT = DEVELOPMENT.with_name("personal_data_held_out.jsonl.gz")
GOOD = 0.95  # precision and recall of each kind
FAST = 20.0  # MB/s
TESTS = {"test", "tests", "idle_test", "site-packages", "dist-packages"}  # folders that are no source of the library

Label = tuple[int, int, str]  # start, end, kind


@dataclass(frozen=True, slots=True)
class Example:
    text: str
    labels: tuple[Label, ...]
    language: str


@dataclass(slots=True)
class Score:
    """Counts of one kind: labels, findings, and how many of them are the same."""

    labels: int = 0
    found: int = 0
    right: int = 0

    def __iadd__(self, other: "Score") -> "Score":
        self.labels += other.labels
        self.found += other.found
        self.right += other.right
        return self

    @property
    def shown(self) -> str:
        precision = f"{self.right / self.found:7.1%}" if self.found else "      -"
        recall = f"{self.right / self.labels:7.1%}" if self.labels else "      -"
        return f"precision {precision} ({self.right} of {self.found})  recall {recall} ({self.right} of {self.labels})"


@dataclass(slots=True)
class Scores:
    """Scores by kind and language, and the mistakes with what stands around them."""

    by: dict[tuple[str, str], Score] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def add(self, example: Example, findings: Sequence[Finding]) -> None:
        free = set(example.labels)
        for found in findings:
            score = self._of(found.kind, example.language)
            score.found += 1
            match = next((label for label in free if same(found, label)), None)
            if match is None:
                self.mistakes.append(f"wrong  {found.kind:12} {around(example.text, found.start, found.end)}")
            else:
                free.remove(match)
                score.right += 1
        for _, _, kind in example.labels:
            self._of(kind, example.language).labels += 1
        for start, end, kind in sorted(free):
            self.mistakes.append(f"missed {kind:12} {around(example.text, start, end)}")

    def _of(self, kind: str, language: str) -> Score:
        return self.by.setdefault((kind, language), Score())

    def sum(self, kind: str | None = None, language: str | None = None) -> Score:
        total = Score()
        for (k, spoken), score in self.by.items():
            if kind in (None, k) and language in (None, spoken):
                total += score
        return total


def same(found: Finding, label: Label) -> bool:
    """Whether a finding and a label are of one kind and share at least half of what they cover together."""
    start, end, kind = label
    shared = min(found.end, end) - max(found.start, start)
    return found.kind == kind and 2 * shared >= max(found.end, end) - min(found.start, start)


def around(text: str, start: int, end: int) -> str:
    return repr(f"{text[max(0, start - 30) : start]}[[{text[start:end]}]]{text[end : end + 15]}")


def read(path: Path) -> list[Example]:
    """The examples of a file. Exits with the line that is none."""
    examples = []
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            labels = tuple((int(start), int(end), str(kind)) for start, end, kind in value["spans"])
            examples.append(Example(str(value["text"]), labels, str(value.get("lang", ""))))
        except (ValueError, KeyError, TypeError) as e:
            raise SystemExit(
                f'{path}, line {n}: not {{"text": ..., "spans": [[start, end, kind], ...]}} ({e})'
            ) from None
        if wrong := [label for label in labels if not 0 <= label[0] < label[1] <= len(examples[-1].text)]:
            raise SystemExit(f"{path}, line {n}: the span {list(wrong[0])} lies outside the text")
    return examples


def graded(examples: Sequence[Example], show: int) -> list[Row]:
    """The rows of a labelled file; more than they hold is printed: languages and the first `show` mistakes."""
    scores = Scores()
    for example in examples:
        scores.add(example, scan(example.text))
    kinds = sorted({kind for kind, _ in scores.by}, key=lambda k: (KINDS.index(k) if k in KINDS else len(KINDS), k))
    languages = sorted({language for _, language in scores.by})
    for kind in (*kinds, None):
        name = (kind or "all") + ("" if kind is None or kind in KINDS else " (not one of gptforge's kinds)")
        say(f"{name:12} {scores.sum(kind).shown}")
        for language in languages if len(languages) > 1 else ():
            if (score := scores.sum(kind, language)).labels or score.found:
                say(f"  {language or '-':10} {score.shown}")
    for mistake in scores.mistakes[:show]:
        say(mistake)
    return [r for kind in (*kinds, None) for r in figures(kind or "all kinds", scores.sum(kind))]


def figures(name: str, score: Score) -> Iterator[Row]:
    for what, of in (("precision", score.found), ("recall", score.labels)):
        if of:
            share = score.right / of
            yield Row(f"{name}: {what}", "%", share, share, share, of, GOOD, detail=f"{score.right} of {of}")


def library() -> dict[str, str]:
    """The sources of Python's standard library without its tests, by their paths in it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if TESTS.isdisjoint(name.parts):
            texts[name.as_posix()] = path.read_bytes().decode("utf-8", "replace")
    return texts


def counted(texts: dict[str, str], listed: bool) -> list[Row]:
    """How many findings of each kind there are: authors' addresses are right, most others are not."""
    counts: Counter[str] = Counter()
    for name, text in texts.items():
        for found in scan(text):
            counts[found.kind] += 1
            if listed:
                say(f"{found.kind:12} {name}: {around(text, found.start, found.end)}")
    size = sum(map(len, texts.values()))
    detail = f"in {size / 1e6:.1f} million characters of {len(texts)} files"
    return [row(f"found in the standard library: {kind}", "", [n], detail=detail) for kind, n in counts.most_common()]


def speeds(texts: dict[str, list[str]], rounds: int) -> list[Row]:
    """MB/s of UTF-8, one process."""

    def megabytes_per_second(parts: list[str]) -> float:
        began = time.perf_counter()
        for part in parts:
            scan(part)
        return sum(len(part.encode()) for part in parts) / 1e6 / (time.perf_counter() - began)

    series = alternate({name: lambda parts=parts: megabytes_per_second(parts) for name, parts in texts.items()}, rounds)
    return [row(f"speed, {name}", "MB/s", values, FAST) for name, values in series.items()]


def add(parser: argparse.ArgumentParser) -> None:
    default = f"{HELD_OUT.name} here if it is there, else {DEVELOPMENT.name}"
    parser.add_argument("--labelled", type=Path, help=f"labelled texts (default {default})")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N mistakes on labelled texts")
    parser.add_argument("--list", action="store_true", help="print every finding in the standard library")


def labelled(chosen: Path | None) -> Path | None:
    """The file to measure on; None when there is none. Exits when the chosen one is not there."""
    if chosen is None:
        return next((path for path in (HELD_OUT, DEVELOPMENT) if path.is_file()), None)
    if not chosen.is_file():
        raise SystemExit(f"there is no file {chosen}")
    return chosen


def note(path: Path) -> str:
    """Which texts were measured, and whether the patterns were made without them."""
    if path.resolve() == DEVELOPMENT:
        return f"labelled texts: {path.name}, the development set: its mistakes have been used to mend the patterns"
    return f"labelled texts: {path.name}"


def measured(found: Options) -> tuple[list[Row], list[str]]:
    """All rows, and the notes on them."""
    path = labelled(found.extra.labelled)
    rows = graded(read(path), found.extra.show) if path else []
    notes = [note(path)] if path else ["no labelled texts: --labelled FILE"]
    sources = library()
    if found.quick:
        sources = dict(list(sources.items())[:60])
    rows += counted(sources, found.extra.list)
    english = assets.pydoc().read_text(encoding="utf-8")
    rows += speeds({"Python source": list(sources.values()), "English": [english]}, found.rounds)
    return rows, notes


def main() -> None:
    found = options("personal_data", __doc__ or "", add)
    rows, notes = measured(found)
    finish("personal_data", "Personal data found", rows, notes, found)


if __name__ == "__main__":
    main()
