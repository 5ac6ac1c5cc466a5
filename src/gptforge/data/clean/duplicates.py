"""Equal documents, repeated paragraphs and nearly equal documents of a collection that does not fit into memory.

Each is told all documents in their order by `add` and asked afterwards. Documents are numbered from 0; a group is
named by the smallest number in it, so that `groups[i] == i` says that document i is the first of its kind. Temporary
files go into a folder that the caller owns. Knows nothing of where documents are kept.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptforge.data.clean import minhash
from gptforge.data.clean.events import Change, Sample, shortened
from gptforge.data.clean.hashes import HashFile, begins_of_runs, hashes_of
from gptforge.data.clean.kinds import Kind, is_comment, kind_of

PARAGRAPH_BYTES = 100  # of UTF-8: shorter paragraphs may repeat
BATCH_BYTES = 1 << 20
BATCH_DOCUMENTS = 2048
CACHED_BYTES = 64 << 20  # of pieces of documents that have been compared
FLATTENED_AT_ONCE = 1 << 20
LEADERS = 8  # documents of a bucket that the others are compared with

_BREAK = re.compile(r"(\n\s*\n)")


def equal_groups(hashes: np.ndarray) -> np.ndarray:
    """The smallest number of the documents that have the same hash, (n_documents,) int64."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return first[inverse]


@dataclass(frozen=True, slots=True)
class FirstParagraphs:
    """Paragraphs that stand in a collection more than once, and where first. Can be sent to other processes.

    `hashes` (n,) uint64, ascending; `documents` (n,) int64 are the first documents that have them.
    """

    hashes: np.ndarray
    documents: np.ndarray

    def without_repeated(self, document: int, text: str, examples: int) -> Change:
        """The document of this number without the paragraphs that stood before, there or in earlier documents."""
        if not len(self.hashes):
            return Change(text)
        parts = _BREAK.split(text)  # paragraph, break, paragraph, ...
        looked_at = _long_paragraphs(parts, text)
        found = hashes_of(parts[i].strip() for i in looked_at)
        index = np.minimum(np.searchsorted(self.hashes, found), len(self.hashes) - 1)
        seen: set[int] = set()
        samples: list[Sample] = []
        dropped: set[int] = set()
        for i, n, value in zip(looked_at, index.tolist(), found.tolist(), strict=True):
            if self.hashes[n] != value:
                continue
            if value in seen or self.documents[n] != document:
                dropped |= {i, i + 1}  # with the break after it
                if len(samples) < examples:
                    position = sum(map(len, parts[:i]))
                    samples.append(Sample(position, shortened(parts[i])))
            seen.add(value)
        if not dropped:
            return Change(text)
        kept = [i for i in range(len(parts)) if i not in dropped]
        if len(parts) - 1 in dropped and kept:  # the last paragraph: the break before it ends the text now
            parts[kept[-1]] = "\n" if text.endswith("\n") else ""
        return Change("".join(parts[i] for i in kept), len(dropped) // 2, tuple(samples))


class RepeatedParagraphs:
    """Finds paragraphs that are the same, of PARAGRAPH_BYTES at least: 8 bytes on disk for each.

    Source code would be broken without its repeated functions: of its paragraphs only comments are looked at.
    """

    def __init__(self, folder: Path) -> None:
        self._hashes = HashFile(folder / "paragraphs.bin")

    def add(self, text: str) -> None:
        """The next document."""
        parts = _BREAK.split(text)
        self._hashes.add(hashes_of(parts[i].strip() for i in _long_paragraphs(parts, text)))

    def first(self, kept: np.ndarray | None = None) -> FirstParagraphs:
        """What is needed to leave out repeats; of those documents only that are `kept`, flags (n_documents,).

        Without the others: a paragraph must not be left out because it stands in a document that is dropped.
        """
        repeated, _ = self._hashes.repeated(kept=kept)
        documents = np.full(len(repeated), len(self._hashes))
        for index, where in self._hashes.occurrences(repeated, kept):
            np.minimum.at(documents, index, where)
        return FirstParagraphs(repeated, documents)

    def close(self) -> None:
        self._hashes.close()


def _long_paragraphs(parts: list[str], text: str) -> list[int]:
    """Which parts of a text, split at breaks, are paragraphs that must not repeat: of source code, only comments."""
    code = kind_of(text) is Kind.CODE
    return [
        i
        for i in range(0, len(parts), 2)
        if len(parts[i].strip().encode("utf-8", "surrogatepass")) >= PARAGRAPH_BYTES
        and not (code and not is_comment(parts[i].strip("\n")))
    ]


class NearDuplicates:
    """Groups documents that have most pieces in common, blanks and case aside: MinHash, then a look at the texts.

    Two documents of one bucket (with one band of their signatures in common) are in one group when the Jaccard
    similarity of all their pieces is at least the threshold; groups grow along such links. See `minhash` for the
    method and its sources. On disk: 8 bytes for each band of a document, at 0.7 there are 42; in memory: 8 bytes
    for each document, 16 more for each with duplicates, some 300 MB besides. The result depends on the texts and
    their order alone.
    """

    def __init__(self, folder: Path, threshold: float, text_of: Callable[[int], str]) -> None:
        """`text_of(i)` gives document i again, to compare it with another: where it is kept is the caller's affair."""
        self._threshold = threshold
        self._rows = minhash.rows_for(threshold)
        self._bands = [HashFile(folder / f"band-{n:03}.bin", column=True) for n in range(minhash.PLACES // self._rows)]
        self._text_of = text_of
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._compared: OrderedDict[int, np.ndarray] = OrderedDict()
        self._compared_bytes = 0

    def add(self, text: str) -> None:
        """The next document."""
        content = minhash.normalized(text)
        self._waiting.append(content)
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= BATCH_BYTES or len(self._waiting) >= BATCH_DOCUMENTS:
            self._store()

    def groups(self) -> np.ndarray:
        """The smallest number of the group that each document is in, (n_documents,) int64."""
        self._store()
        groups = np.arange(len(self._bands[0]))
        for band in self._bands:
            self._join_buckets(band, groups)
            _flatten(groups)
        return groups

    def close(self) -> None:
        for band in self._bands:
            band.close()

    def _store(self) -> None:
        if self._waiting:
            table = minhash.signatures(self._waiting)
            for file, hashes in zip(self._bands, minhash.bands(table, self._rows), strict=True):
                file.add(hashes)
            self._waiting, self._waiting_bytes = [], 0

    def _join_buckets(self, band: HashFile, groups: np.ndarray) -> None:
        """Join the groups of documents that one band has brought together; `groups` (n,) is a forest of parents."""
        repeated, _ = band.repeated()
        hits = list(band.occurrences(repeated))
        if not hits:
            return
        index = np.concatenate([i for i, _ in hits])
        documents = np.concatenate([d for _, d in hits])
        order = np.argsort(index, kind="stable")
        index, documents = index[order], documents[order]
        begins = begins_of_runs(index)
        roots = groups[documents]
        same = np.maximum.reduceat(roots, begins) == np.minimum.reduceat(roots, begins)
        ends = np.append(begins[1:], len(documents))
        for begin, end in zip(begins[~same].tolist(), ends[~same].tolist(), strict=True):
            self._join(documents[begin:end].tolist(), groups)

    def _join(self, bucket: list[int], groups: np.ndarray) -> None:
        """Compare each document of a bucket with the first of each group found in it, of LEADERS groups at most."""
        leaders: list[int] = []
        for document in bucket:
            root = _root(groups, document)
            if any(_root(groups, leader) == root for leader in leaders):
                continue
            for leader in leaders:
                if self._similar(leader, document):
                    other = _root(groups, leader)
                    groups[max(root, other)] = min(root, other)
                    break
            else:
                if len(leaders) < LEADERS:
                    leaders.append(document)

    def _similar(self, a: int, b: int) -> bool:
        return minhash.jaccard(self._pieces(a), self._pieces(b)) >= self._threshold

    def _pieces(self, document: int) -> np.ndarray:
        """The distinct pieces of a document, from those compared last or made anew."""
        found = self._compared.get(document)
        if found is None:
            found = minhash.distinct(minhash.shingles(minhash.normalized(self._text_of(document))))
            self._compared[document] = found
            self._compared_bytes += found.nbytes
            while self._compared_bytes > CACHED_BYTES and len(self._compared) > 1:
                _, oldest = self._compared.popitem(last=False)
                self._compared_bytes -= oldest.nbytes
        self._compared.move_to_end(document)
        return found


def _root(parents: np.ndarray, i: int) -> int:
    while (parent := int(parents[i])) != i:
        parents[i] = parents[parent]
        i = parent
    return i


def _flatten(parents: np.ndarray) -> None:
    """Let every node point at its root; parents are smaller than their children."""
    for start in range(0, len(parents), FLATTENED_AT_ONCE):
        part = parents[start : start + FLATTENED_AT_ONCE]
        while not np.array_equal(above := parents[part], part):
            part[:] = above
