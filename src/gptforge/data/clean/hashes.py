"""Hashes of many pieces of text on disk, and which of them come more than once, in bounded memory.

Knows nothing of what the pieces are: documents, paragraphs, lines, or the bands of a MinHash. A full disk is an
OSError, which the caller explains.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

SORTED_AT_ONCE = 1 << 24  # hashes that are in memory together, of 8 bytes
READ_AT_ONCE = 1 << 20


def hashes_of(pieces: Iterable[str]) -> np.ndarray:
    """64-bit hashes of texts (n,), the same on every machine: two of a billion pieces are mistaken with chance 3 %."""
    digests = [hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest() for piece in pieces]
    return np.frombuffer(b"".join(digests), dtype="<u8")


class HashFile:
    """Hashes in the order in which they were added, 8 bytes each, and which document each is of.

    Documents are numbered from 0. A file may hold a column, one hash of each document (which costs no memory), or any
    number of each (4 bytes in memory for each document).
    """

    def __init__(self, path: Path, column: bool = False) -> None:
        """Begins a new file; one of that name is replaced."""
        self._file = path.open("w+b", buffering=1 << 16)
        self._sizes = None if column else array("I")
        self._total = 0

    def add(self, hashes: np.ndarray) -> None:
        """The hashes (n,) of the next document; in a column, one of each of the next n documents."""
        self._file.write(hashes.astype("<u8").tobytes())
        self._total += len(hashes)
        if self._sizes is not None:
            self._sizes.append(len(hashes))

    def __len__(self) -> int:
        """The number of documents."""
        return self._total if self._sizes is None else len(self._sizes)

    def close(self) -> None:
        self._file.close()

    def repeated(self, least: int = 2, kept: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The hashes that were added at least `least` times, ascending, and how often: (n,) uint64, (n,) int64.

        With `kept`, flags (n_documents,), only those documents count.
        """
        parts = max(1, -(-self._total // SORTED_AT_ONCE))
        hashes, counts = [], []
        for part in range(parts):  # each part is a range of hashes, which are spread evenly
            low, high = part * 2**64 // parts, (part + 1) * 2**64 // parts - 1
            found = [h[(h >= low) & (h <= high)] if parts > 1 else h for h, _ in self.pieces(kept)]
            values = np.concatenate([*found, np.empty(0, np.uint64)])
            del found
            values.sort()
            begins = begins_of_runs(values)
            lengths = np.diff(np.append(begins, len(values)))
            hashes.append(values[begins[lengths >= least]])
            counts.append(lengths[lengths >= least])
        return np.concatenate(hashes), np.concatenate(counts)

    def occurrences(
        self, hashes: np.ndarray, kept: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where these hashes (n,), ascending, were added, in pieces: their indices in `hashes` and the documents."""
        if not len(hashes):
            return
        for piece, documents in self.pieces(kept):
            index = np.searchsorted(hashes, piece)
            hit = hashes[np.minimum(index, len(hashes) - 1)] == piece
            yield index[hit], documents[hit]

    def pieces(self, kept: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All hashes with the document of each, (n,) uint64 and (n,) int64, in pieces in the order of adding."""
        self._file.flush()
        ends = None if self._sizes is None else np.cumsum(np.array(self._sizes, dtype=np.int64))
        try:
            for start in range(0, self._total, READ_AT_ONCE):
                self._file.seek(8 * start)
                hashes = np.frombuffer(self._file.read(8 * READ_AT_ONCE), dtype="<u8")
                stop = start + len(hashes)
                documents = np.arange(start, stop) if ends is None else _documents(ends, start, stop)
                if kept is None:
                    yield hashes, documents
                else:
                    chosen = kept[documents]
                    yield hashes[chosen], documents[chosen]
        finally:
            self._file.seek(0, 2)  # where the next hashes go


def _documents(ends: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The documents of the hashes from `start` to `stop`, where the hashes of document i end before ends[i]."""
    first, last = np.searchsorted(ends, (start, stop - 1), side="right")
    here = np.minimum(ends[first : last + 1], stop)
    return np.repeat(np.arange(first, last + 1), np.diff(here, prepend=start))


def begins_of_runs(values: np.ndarray) -> np.ndarray:
    """Where equal neighbours begin in sorted values (n,): indices, (n_runs,)."""
    return np.flatnonzero(np.concatenate((np.ones(min(1, len(values)), bool), values[1:] != values[:-1])))
