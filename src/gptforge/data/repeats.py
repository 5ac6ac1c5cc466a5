"""What a collection repeats: equal and nearly equal documents, paragraphs, lines; found, counted, left out.

Knows a corpus and the account of its cleaning; nothing of files, splits or tokens.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from gptforge.config.clean import CleanConfig
from gptforge.data.clean.boilerplate import Boilerplate
from gptforge.data.clean.duplicates import NearDuplicates, RepeatedParagraphs, equal_groups
from gptforge.data.clean.events import CHANGED, DROPPED, FOUND, SKIPPED, Change, Event, Sample, shortened
from gptforge.data.cleaning import LONGEST, Account, emptied, in_pieces
from gptforge.data.corpus import Corpus, CorpusWriter
from gptforge.data.read import Piece

Progress = Callable[[str, float], None]  # what is done ("reading", "comparing") and its share, 0 to 1
Shortening = Callable[[int, str], Change]  # a document without what it repeats


def looked_for(cfg: CleanConfig) -> bool:
    """Whether a config compares documents with each other."""
    return cfg.exact_duplicates != "off" or cfg.near_duplicates != "off" or cfg.boilerplate is not None


def without_repeats(
    corpus: Corpus, cfg: CleanConfig, account: Account, folder: Path, on_progress: Progress
) -> tuple[Corpus, np.ndarray | None]:
    """The corpus without what it repeats, and the groups of nearly equal documents in it, None if not looked for.

    Groups are numbers (n_documents,) int64, equal in a group. `folder` is for files; that of `corpus` is removed when
    another takes its place, and the new one may be empty.
    """
    with contextlib.ExitStack() as stack:
        search = _Search(corpus, cfg, account, folder)
        stack.callback(search.close)
        search.read(on_progress)
        kept, groups = search.decide()
        shortenings = search.shortenings(kept)
        if kept.all() and not shortenings:
            return corpus, groups
        corpus, kept = search.rewrite(kept, shortenings, folder / "unrepeated", on_progress)
        return corpus, groups[kept] if groups is not None else None


def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The groups that follow from two groupings: what either holds together. All are smallest numbers, (n,) int64."""
    labels = a
    while True:
        smallest = labels.copy()
        np.minimum.at(smallest, b, labels)  # over each group of b, at the place of its first
        wider = smallest[b]
        np.minimum.at(smallest, a, wider)
        if np.array_equal(wider := smallest[a], labels):
            return labels
        labels = wider


class _Search:
    """Looks at a corpus once for all that is repeated, then at what is to be left out."""

    def __init__(self, corpus: Corpus, cfg: CleanConfig, account: Account, folder: Path) -> None:
        self._corpus, self._cfg, self._account = corpus, cfg, account
        self._documents = _Documents(corpus)
        paragraphs, near = cfg.exact_duplicates == "paragraphs", cfg.near_duplicates != "off"
        self._paragraphs = RepeatedParagraphs(folder) if paragraphs else None
        self._lines = Boilerplate(folder) if cfg.boilerplate else None
        self._near = NearDuplicates(folder, cfg.near_threshold, self._documents.begin) if near else None

    def close(self) -> None:
        self._documents.close()
        for part in (self._paragraphs, self._lines, self._near):
            if part:
                part.close()

    def read(self, on_progress: Progress) -> None:
        """The first pass. Of a document longer than LONGEST only its begin is compared, and with other documents."""
        parts = [part for part in (self._paragraphs, self._lines) if part]
        if not parts and not self._near:
            return
        for number in range(self._corpus.n_documents):
            text = self._documents.begin(number)
            if self._near:
                self._near.add(text)
            for part in parts:
                part.add(text if self._is_whole(number) else "")
            on_progress("comparing", (number + 1) / self._corpus.n_documents)

    def decide(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Which documents are kept, bool (n_documents,), and the groups of nearly equal ones."""
        cfg, n = self._cfg, self._corpus.n_documents
        kept = np.ones(n, dtype=bool)
        equal = equal_groups(self._corpus.hashes)
        if cfg.exact_duplicates != "off":
            drops = cfg.exact_duplicates != "report"
            self._tell("exact_duplicates", equal, np.flatnonzero(equal != np.arange(n)), drops)
            if drops:
                kept &= equal == np.arange(n)
        if not self._near:
            return kept, None
        groups = joined(self._near.groups(), equal)
        drops = cfg.near_duplicates == "drop"
        self._tell("near_duplicates", groups, np.flatnonzero((groups != np.arange(n)) & kept), drops)
        if drops:
            kept &= groups == np.arange(n)
        return kept, groups

    def _tell(self, name: str, groups: np.ndarray, repeats: np.ndarray, drops: bool) -> None:
        """Count the documents that repeat the first of their group."""
        lengths = self._corpus.document_lengths
        for count, number in enumerate(repeats.tolist()):
            samples: tuple[Sample, ...] = ()
            reason = ""
            if count < self._account.examples:
                samples = (Sample(0, shortened(self._documents.begin(number))),)
                reason = f"like {self._account.name_of_corpus(int(groups[number]))}"
            event = Event(name, DROPPED if drops else FOUND, int(lengths[number]), samples, reason)
            self._account.add_of_corpus(number, [event])

    def shortenings(self, kept: np.ndarray) -> dict[str, Shortening]:
        """What is to be left out of the documents that are kept, by the filter's name."""
        found: dict[str, Shortening] = {}
        examples = self._account.examples
        if self._paragraphs:
            found["paragraphs"] = partial(self._paragraphs.first(kept).without_repeated, examples=examples)
        if self._lines and self._cfg.boilerplate:
            lines = self._lines.lines(self._cfg.boilerplate, kept)
            found["boilerplate"] = lambda number, text: lines.without(text, examples)
        return found

    def rewrite(
        self, kept: np.ndarray, shortenings: dict[str, Shortening], path: Path, on_progress: Progress
    ) -> tuple[Corpus, np.ndarray]:
        """The second pass: a new corpus in place of the old one, and which documents are in it."""
        writer = CorpusWriter(path)
        left = kept.copy()
        try:
            for number in np.flatnonzero(kept).tolist():
                file = self._documents.file(number)
                if self._is_whole(number):
                    text = self._shortened(number, shortenings)
                    left[number] = bool(text)
                    for piece in in_pieces(text, True, file):
                        writer.add(piece)
                else:
                    for piece in self._documents.pieces(number):
                        writer.add(piece)
                    events = [Event(n, SKIPPED, LONGEST, reason="a document too long to compare") for n in shortenings]
                    self._account.add_of_corpus(number, events)
                on_progress("leaving out repeats", (number + 1) / len(kept))
            corpus = writer.close()
        finally:
            writer.abort()
        self._corpus.path.unlink()
        return corpus, left

    def _shortened(self, number: int, shortenings: dict[str, Shortening]) -> str:
        before = text = self._documents.begin(number)
        for name, shorten in shortenings.items():
            change = shorten(number, text)
            text = change.text
            if change.amount:
                self._account.add_of_corpus(number, [Event(name, CHANGED, change.amount, change.samples)])
        if text != before and not text.strip():
            self._account.add_of_corpus(number, [emptied(before)])
            return ""
        return text

    def _is_whole(self, number: int) -> bool:
        return self._documents.length(number) <= LONGEST


class _Documents:
    """The documents of a corpus by their numbers."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._file = corpus.path.open("rb")
        self._pieces = np.append(np.flatnonzero(corpus.begins), len(corpus.begins))
        self._offsets = np.concatenate([[0], np.cumsum(corpus.sizes, dtype=np.int64)])
        self._lengths = corpus.document_lengths

    def close(self) -> None:
        self._file.close()

    def length(self, number: int) -> int:
        """In characters."""
        return int(self._lengths[number])

    def file(self, number: int) -> int:
        """The number of its file."""
        return int(self._corpus.files[self._pieces[number]])

    def pieces(self, number: int) -> Iterator[Piece]:
        """The document as the corpus holds it."""
        first, end = self._pieces[number : number + 2].tolist()
        for i in range(first, end):
            yield Piece(self._read(i, i + 1), i == first, self.file(number))

    def begin(self, number: int) -> str:
        """The document; of one that is longer than LONGEST the pieces until there."""
        first, end = self._pieces[number : number + 2].tolist()
        lengths = np.cumsum(self._corpus.lengths[first:end], dtype=np.int64)
        return self._read(first, first + max(1, int(np.searchsorted(lengths, LONGEST, side="right"))))

    def _read(self, first: int, end: int) -> str:
        begin, stop = int(self._offsets[first]), int(self._offsets[end])
        self._file.seek(begin)
        return self._file.read(stop - begin).decode()
