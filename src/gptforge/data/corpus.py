"""The text of a source on disk, between reading and encoding: its pieces one after another, and an index of them.

Read once, however often it is needed after that: to split it, to train a tokenizer, to encode it. Constant memory but
for 21 bytes a document. Knows text; nothing of where it came from, nor of tokens.
"""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptforge.data.read import Piece

_CODE_POINTS = 0x110000
_READ_BYTES = 8 << 20
_COUNTED_AT_ONCE = 1 << 20


class CharacterCounts:
    """How often each character was seen; 9 MB for any text."""

    def __init__(self) -> None:
        self._counts = np.zeros(_CODE_POINTS, dtype=np.int64)
        self._waiting: list[str] = []
        self._n_waiting = 0

    def add(self, text: str) -> None:
        self._waiting.append(text)
        self._n_waiting += len(text)
        if self._n_waiting >= _COUNTED_AT_ONCE:  # a count of short texts one by one would cost more than the texts
            self._count()

    def most_common(self) -> list[tuple[str, int]]:
        """The characters that were seen with their counts, most frequent first."""
        self._count()
        seen = np.flatnonzero(self._counts)
        order = seen[np.argsort(-self._counts[seen], kind="stable")]
        return [(chr(c), n) for c, n in zip(order.tolist(), self._counts[order].tolist(), strict=True)]

    def _count(self) -> None:
        if not self._waiting:
            return
        seen = np.bincount(np.frombuffer("".join(self._waiting).encode("utf-32-le"), dtype="<u4"))
        self._counts[: len(seen)] += seen
        self._waiting, self._n_waiting = [], 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pieces of text in the file `path`, in UTF-8.

    Of each piece: `sizes` in bytes, `lengths` in characters, `begins` whether it begins a document, `files` the number
    of its file; all (n_pieces,). `leads` says before which pieces the joined text has a line feed, because another
    document ended within a line. `hashes` (n_documents,) uint64 are equal for equal documents. `sha256` is of the
    joined text, `n_characters` its length.
    """

    path: Path
    sizes: np.ndarray
    lengths: np.ndarray
    begins: np.ndarray
    files: np.ndarray
    leads: np.ndarray
    hashes: np.ndarray
    sha256: str
    n_characters: int
    character_counts: list[tuple[str, int]]

    @property
    def n_documents(self) -> int:
        return len(self.hashes)

    @property
    def characters(self) -> str:
        """The different characters of the joined text, sorted."""
        return "".join(sorted(c for c, _ in self.character_counts))

    @property
    def n_equal(self) -> int:
        """How many documents are equal to an earlier one."""
        return len(self.hashes) - len(np.unique(self.hashes))

    @property
    def documents(self) -> np.ndarray:
        """Which document each piece is of: int64 (n_pieces,)."""
        return np.cumsum(self.begins) - 1

    @property
    def document_lengths(self) -> np.ndarray:
        """The characters of each document: int64 (n_documents,)."""
        return np.add.reduceat(self.lengths.astype(np.int64), np.flatnonzero(self.begins))

    @property
    def documents_sha256(self) -> str:
        """Of where documents begin in the text."""
        starts = np.cumsum(self.lengths.astype(np.int64))[np.flatnonzero(self.begins)[1:] - 1]
        return hashlib.sha256(starts.astype("<i8").tobytes()).hexdigest()

    def texts(self) -> Iterator[str]:
        """Each piece, in order."""
        with self.path.open("rb", buffering=_READ_BYTES) as file:
            for size in self.sizes.tolist():
                yield file.read(size).decode()


class CorpusWriter:
    """Writes pieces into a file and keeps the index of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb", buffering=_READ_BYTES)
        self._sizes, self._lengths, self._files = array("I"), array("I"), array("I")
        self._begins, self._leads = array("b"), array("b")
        self._hashes = array("Q")
        self._joined = hashlib.sha256()
        self._document = hashlib.blake2b(digest_size=8)
        self._characters = CharacterCounts()
        self._in_line = False

    def add(self, piece: Piece) -> None:
        content = piece.text.encode()
        lead = piece.begins and self._in_line
        if piece.begins:
            self._end_document()
            self._document = hashlib.blake2b(digest_size=8)
        self._document.update(content)
        self._joined.update(b"\n" + content if lead else content)
        self._in_line = not content.endswith(b"\n")
        self._characters.add("\n" + piece.text if lead else piece.text)
        self._file.write(content)
        self._sizes.append(len(content))
        self._lengths.append(len(piece.text))
        self._begins.append(piece.begins)
        self._leads.append(lead)
        self._files.append(piece.file)

    def close(self) -> Corpus:
        """The finished corpus; at least one piece must have been added."""
        self._end_document()
        self._file.close()
        leads, lengths = np.array(self._leads, dtype=bool), np.array(self._lengths)
        return Corpus(
            path=self._path,
            sizes=np.array(self._sizes),
            lengths=lengths,
            begins=np.array(self._begins, dtype=bool),
            files=np.array(self._files),
            leads=leads,
            hashes=np.array(self._hashes),
            sha256=self._joined.hexdigest(),
            n_characters=int(lengths.sum(dtype=np.int64) + leads.sum()),
            character_counts=self._characters.most_common(),
        )

    def abort(self) -> None:
        """Close the file, whatever is in it."""
        self._file.close()

    def _end_document(self) -> None:
        if self._sizes:
            self._hashes.append(int.from_bytes(self._document.digest(), "little"))
