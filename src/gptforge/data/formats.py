"""The documents in a file of each kind: a text file is one, a row of JSONL, CSV or parquet is one, a page is one.

Knows formats; nothing of folders, splits or tokens. A document that is too long to be held comes in parts.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gptforge.config.data import DataConfig
from gptforge.data.encoding import CHUNK_BYTES, Found, decoded
from gptforge.data.files import File
from gptforge.errors import DataError, UserError, missing_extra

TEXT_KEYS = ("text", "content", "body", "document", "article", "story", "poem", "page_content", "code")
LONGEST_ROW = 1 << 26  # characters; a longer line of JSONL is a mistake in the file, and would fill the memory
LONGEST_PAGE = 1 << 24  # characters of HTML; what takes the text out of it needs twenty times as much memory


class Part(NamedTuple):
    """A document, or a part of one: only its first part `begins` it. `where` is its row or line, 0 for a file."""

    text: str
    begins: bool = True
    where: int = 0


class Reading:
    """One file being read: what it is, and what is found on the way.

    `on_read` is told the bytes read; `on_fault` gets the error of a row that cannot be used, and returns to leave
    it out, or raises.
    """

    def __init__(
        self,
        file: File,
        cfg: DataConfig,
        on_read: Callable[[int], None] = lambda n: None,
        on_fault: Callable[[UserError], None] | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.file, self.cfg, self.on_read, self.chunk_bytes = file, cfg, on_read, chunk_bytes
        self.on_fault = on_fault or _raise
        self.encoding = Found()

    def parts(self) -> Iterator[Part]:
        """The documents in parts of at most about `chunk_bytes` bytes, cut at line ends; none is empty."""
        return _READERS[self.file.kind](self)

    def texts(self) -> Iterator[str]:
        """The characters of the file, whatever its format."""
        with opened(self.file) as raw:
            yield from decoded(raw, self.file.path, self.cfg.encoding, self.on_read, self.chunk_bytes, self.encoding)

    def lines(self) -> Iterator[str]:
        """The lines of the file with their ends; only \\n ends a line."""
        rest: list[str] = []
        for text in self.texts():
            first, newline, _ = text.partition("\n")
            rest.append(first + newline)
            if not newline:
                if sum(map(len, rest)) > LONGEST_ROW:
                    raise DataError(f"{self.file.path} has a line of more than {LONGEST_ROW:,} characters")
                continue
            yield "".join(rest)
            *whole, last = text[len(first) + 1 :].split("\n")
            yield from (line + "\n" for line in whole)
            rest = [last]
        if last := "".join(rest):
            yield last


def opened(file: File) -> AbstractContextManager[BinaryIO]:
    """The bytes of a file, unpacked. Raises OSError, or DataError when an extra is missing."""
    if file.packed == ".gz":
        return gzip.open(file.path, "rb")  # type: ignore[return-value] - a binary file in all that counts
    if file.packed == ".zst":
        try:
            import zstandard
        except ImportError:
            raise missing_extra("files", f"unpacking {file.path.name}", DataError) from None
        return io.BufferedReader(zstandard.open(file.path, "rb"))
    return file.path.open("rb")


def _raise(error: UserError) -> None:
    raise error


def _plain(reading: Reading) -> Iterator[Part]:
    """A text file: one document. What follows a chunk's last line end waits for the rest of its line."""
    begins, rest = True, ""
    for text in reading.texts():
        rest += text
        cut = rest.rfind("\n") + 1 or (len(rest) if len(rest) >= reading.chunk_bytes else 0)
        if cut and len(rest) >= reading.chunk_bytes:
            yield Part(rest[:cut], begins)
            begins, rest = False, rest[cut:]
    if rest:
        yield Part(rest, begins)


def _jsonl(reading: Reading) -> Iterator[Part]:
    key = reading.cfg.text_key
    for number, line in enumerate(reading.lines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip("\n"))
        except (ValueError, RecursionError) as e:
            reading.on_fault(_broken_json(reading.file.path, number, line, e))
            continue
        if isinstance(row, str):
            row = {"": row}  # a line that is nothing but its text
        if not isinstance(row, dict):
            reading.on_fault(_fault(reading, number, f"is {type(row).__name__}, not an object with a text"))
            continue
        at = "" if list(row) == [""] else (key := key or _found_key(row, reading, number))
        text = row.get(at)
        if not isinstance(text, str):
            reading.on_fault(_no_text(reading, number, at, row))
        elif text:
            yield Part(text, where=number)


def _found_key(row: dict[str, Any], reading: Reading, number: int) -> str:
    """The key of a row's text: a usual name, or the only key with a text. Raises DataError where it is not clear."""
    names = {name.lower(): name for name in row}
    usual = [names[k] for k in TEXT_KEYS if k in names and isinstance(row[names[k]], str)]
    texts = [name for name, value in row.items() if isinstance(value, str)]
    if usual or len(texts) == 1:
        return (usual or texts)[0]
    raise DataError(
        f"{reading.file.path} has no key that is clearly the text",
        where=f"line {number:,}; its keys are {_listed(row)}",
        fix=f"data.text_key={(texts or list(row) or ['KEY'])[0]}",
    )


def _table(reading: Reading, delimiter: str) -> Iterator[Part]:
    """A CSV file with a header: each row's text column is a document."""
    csv.field_size_limit(min(sys.maxsize, LONGEST_ROW))
    rows = csv.reader(reading.lines(), delimiter=delimiter, strict=True)
    column, header = -1, []
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as e:
            raise DataError(f"{reading.file.path} is no sound table: {e}", where=f"line {rows.line_num:,}") from None
        if column < 0:
            header = row
            column = _column(header, reading)
        elif column >= len(row):
            if row:
                reading.on_fault(
                    _fault(reading, rows.line_num, f"has {len(row)} columns, {header[column]!r} is missing")
                )
        elif row[column]:
            yield Part(row[column], where=rows.line_num)


def _column(header: list[str], reading: Reading) -> int:
    names = [name.strip().lower() for name in header]
    wanted = reading.cfg.text_key
    if wanted is not None and wanted.lower() in names:
        return names.index(wanted.lower())
    found = [names.index(k) for k in TEXT_KEYS if k in names] or ([0] if len(names) == 1 else [])
    if wanted is not None or not found:
        missing = f"has no column {wanted!r}" if wanted is not None else "has no column that is clearly the text"
        raise DataError(
            f"{reading.file.path} {missing}",
            where=f"line 1; its columns are {_listed(header)}",
            fix=f"data.text_key={header[0] if header else 'COLUMN'}",
        )
    return found[0]


def _parquet(reading: Reading) -> Iterator[Part]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise missing_extra("files", f"reading {reading.file.path.name}", DataError) from None
    try:
        with parquet.ParquetFile(reading.file.path) as table:
            header = table.schema_arrow.names
            column = header[_column(header, reading)]
            number = 0
            for batch in table.iter_batches(256, columns=[column]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    if not isinstance(text, str):
                        reading.on_fault(_no_text(reading, number, column, {column: text}))
                    elif text:
                        yield Part(text, where=number)
            reading.on_read(reading.file.path.stat().st_size)
    except pyarrow.ArrowInvalid as e:
        raise DataError(f"{reading.file.path} is no parquet file: {str(e).splitlines()[0]:.120}") from None


def _page(reading: Reading) -> Iterator[Part]:
    try:
        import trafilatura
    except ImportError:
        raise missing_extra("files", f"taking the text out of {reading.file.path.name}", DataError) from None
    page, size = [], 0
    for text in reading.texts():  # the size of the file says little: it may be packed
        page.append(text)
        size += len(text)
        if size > LONGEST_PAGE:
            raise DataError(
                f"{reading.file.path} has more than the {LONGEST_PAGE:,} characters of a page that are read"
            )
    text = trafilatura.extract("".join(page), include_comments=False, favor_recall=True)
    if text:
        yield Part(text + "\n")
    else:
        reading.on_fault(DataError(f"{reading.file.path} is a page without a text", fix="data.on_error=skip"))


_READERS: dict[str, Callable[[Reading], Iterator[Part]]] = {
    "text": _plain,
    "jsonl": _jsonl,
    "csv": lambda reading: _table(reading, ","),
    "tsv": lambda reading: _table(reading, "\t"),
    "parquet": _parquet,
    "html": _page,
}


def _listed(names: Iterable[str]) -> str:
    shown = [str(name)[:30] for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "none"


def _fault(reading: Reading, number: int, what: str) -> DataError:
    return DataError(f"{reading.file.path} line {number:,} {what}", fix="data.on_error=skip (leave such rows out)")


def _no_text(reading: Reading, number: int, key: str, row: dict[str, Any]) -> DataError:
    what = f"has no text at {key!r}" + (f", but {type(row[key]).__name__}" if key in row else "")
    keys = [k for k, v in row.items() if isinstance(v, str)]
    return DataError(
        f"{reading.file.path} line {number:,} {what}",
        where=f"its keys are {_listed(row)}",
        fix=[f"data.text_key={keys[0]}" if keys and key not in row else "", "data.on_error=skip (leave such rows out)"],
    )


def _broken_json(path: Path, number: int, line: str, e: Exception) -> DataError:
    what = (
        f"{e.msg.removesuffix(' at')} at character {e.pos + 1:,}"
        if isinstance(e, json.JSONDecodeError)
        else "nested too deep"
    )
    return DataError(
        f"{path} line {number:,} is no JSON: {what}",
        where=repr(line.rstrip("\n"))[:80],
        fix="data.on_error=skip (leave such rows out)",
    )
