"""The documents of a source, one after another in constant memory, and an account of what was read and left out.

Knows sources, files and their formats; nothing of tokens or splits.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gptforge.config.data import DataConfig
from gptforge.data.encoding import CHUNK_BYTES
from gptforge.data.files import File, Source, unreadable
from gptforge.data.formats import Part, Reading
from gptforge.errors import DataError, UserError

MOST_SHOWN = 20  # faults that are kept with their message; all are counted


class Piece(NamedTuple):
    """A document or, where it is long, a part of one: the first `begins` it. `file` is the file's number."""

    text: str
    begins: bool
    file: int


@dataclass(slots=True)
class Account:
    """What reading found: bytes, files by encoding, and the faults that `data.on_error=skip` left out."""

    bytes: int = 0
    documents: int = 0
    encodings: Counter[str] = field(default_factory=Counter)
    marked: int = 0
    guessed: list[tuple[str, str]] = field(default_factory=list)
    empty: int = 0
    skipped: int = 0
    faults: list[str] = field(default_factory=list)

    def skip(self, error: UserError) -> None:
        self.skipped += 1
        if len(self.faults) < MOST_SHOWN:
            self.faults.append(f"{error.what} ({error.where})" if error.where else error.what)

    def notes(self, n_files: int) -> Iterator[str]:
        """What a person should know of it, in one line each."""
        if self.marked:
            yield f"{self.marked} of {n_files} files began with a byte order mark, which is left out"
        if others := {name: n for name, n in self.encodings.items() if name != "UTF-8"}:
            yield "not in UTF-8: " + ", ".join(f"{n} in {name}" for name, n in others.items())
        for path, name in self.guessed[:3]:
            yield f"{path} is read as {name}, a guess; data.encoding=… sets it"
        if self.empty:
            yield f"{self.empty:,} of {n_files:,} files are empty"

    def warnings(self) -> Iterator[str]:
        if self.skipped:
            yield f"{self.skipped:,} files or rows were left out (data.on_error=skip), such as: {self.faults[0]}"


class Reader:
    """Reads the documents of a source; `account` fills up meanwhile.

    Nothing is changed in a text but its encoding: line ends stay as they are. With data.on_error=stop the first file
    or row that cannot be used raises DataError; with skip it is left out and counted.
    """

    def __init__(self, source: Source, cfg: DataConfig, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._source = source
        self._cfg = cfg
        self._chunk_bytes = chunk_bytes
        self.account = Account()

    def pieces(self) -> Iterator[Piece]:
        """Every document of every file, in order. Raises DataError when there is no text at all."""
        self.account = Account()
        for number, file in enumerate(self._source.files):
            try:
                yield from self._of_file(number, file)
            except UserError as e:
                self._fault(e)
        if not self.account.documents:
            one = len(self._source.files) == 1
            what = str(self._source.files[0].path) if one else self._source.label
            raise DataError(
                f"{what} is empty" if not self.account.skipped else f"nothing of {what} can be read",
                where=self.account.faults[0] if self.account.faults else "",
                fix="data=PATH (a text of some thousand characters at least)",
            )

    def _of_file(self, number: int, file: File) -> Iterator[Piece]:
        account = self.account
        before = account.documents

        def read(n: int) -> None:
            account.bytes += n

        reading = Reading(file, self._cfg, read, self._fault, self._chunk_bytes)
        parts = self._parts(reading)
        if self._cfg.on_error == "skip":  # a file is left out as a whole: look at its end before its begin is used
            if self._is_small(file):
                parts = iter(list(parts))
            else:
                for _ in self._parts(Reading(file, self._cfg, on_fault=lambda e: None)):
                    pass
        for part in parts:
            account.documents += part.begins
            yield Piece(part.text, part.begins, number)
        found = reading.encoding
        account.empty += account.documents == before
        if file.kind != "parquet":
            account.encodings[str(found)] += 1
            account.marked += found.marked
            if found.guessed:
                account.guessed.append((str(file.path), str(found)))

    def _is_small(self, file: File) -> bool:
        """Whether a file can be held as a whole. Only text: in other formats rows are faulty by themselves, and those
        of a file that is left out do not count."""
        try:
            return file.kind == "text" and not file.packed and file.path.stat().st_size <= self._chunk_bytes
        except OSError:
            return False  # reading says what is wrong

    def _parts(self, reading: Reading) -> Iterator[Part]:
        file = reading.file
        try:
            yield from reading.parts()
        except (OSError, EOFError, zlib.error, *_zstd_errors(file)) as e:
            raise _damaged(e, file) from None

    def _fault(self, error: UserError) -> None:
        if self._cfg.on_error == "stop":
            raise error
        self.account.skip(error)


def _zstd_errors(file: File) -> tuple[type[Exception], ...]:
    if file.packed != ".zst":
        return ()
    try:
        from zstandard import ZstdError
    except ImportError:
        return ()
    return (ZstdError,)


def _damaged(error: Exception, file: File) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(error, file.path)
    return DataError(
        f"{file.path} cannot be unpacked: {error or type(error).__name__}",
        fix=["data.on_error=skip (leave such files out)", f"see what is wrong with it: file {Path(file.path).name}"],
    )
