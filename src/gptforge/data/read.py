"""The text of a data set, in pieces: which files it is, and their characters, in constant memory.

Knows encodings, files and folders; nothing of tokens or splits.
"""

import codecs
import difflib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptforge import assets
from gptforge.config.data import DataConfig
from gptforge.errors import DataError

CHUNK_BYTES = 4 << 20
TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".tex")

_BUILT_IN = {
    "shakespeare": lambda: assets.shakespeare(full=False),
    "shakespeare_full": lambda: assets.shakespeare(full=True),
    "pydoc": assets.pydoc,
}
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Source:
    """Files that together are one text, in order; `label` is what a person calls it, `notes` what was decided."""

    files: tuple[Path, ...]
    label: str
    notes: tuple[str, ...] = ()


def open_source(cfg: DataConfig) -> Source:
    """The files that a config means. Built-in texts are fetched when they are not in the cache yet.

    Raises DataError for a path that is missing, unreadable, neither file nor folder, or a folder without text files.
    """
    if cfg.source != "files":
        return Source((_BUILT_IN[cfg.source](),), cfg.source)
    path = Path(cfg.path or "").expanduser()
    try:
        if path.is_dir():
            files, notes = _files_of(path)
        elif path.is_file():
            files, notes = (path,), ()
        elif path.exists():
            raise DataError(
                f"{path} is neither a file nor a folder", fix="data=PATH (a text file, or a folder of them)"
            )
        else:
            raise _missing(path)
        marked = sum(_starts_with_bom(file) for file in files)
    except OSError as e:
        raise _unreadable(e, path) from None
    if marked:
        notes += (f"{marked} of {len(files)} files began with a byte order mark, which is left out",)
    return Source(files, path.absolute().name or str(path), notes)


def chunks(source: Source, chunk_bytes: int = CHUNK_BYTES) -> Iterator[str]:
    """The text, in non-empty pieces of at most about `chunk_bytes` bytes that never cut a character.

    A byte order mark at a file's begin is left out, and a file that ends within a line gets a line
    feed before the next one. Nothing else is changed: line ends stay as they are. Raises DataError for bytes
    that are no text (with their place), for a file that cannot be read and when there is no text at all.
    """
    last = ""
    for path in source.files:
        joined = not last or last == "\n"
        for text in _decoded(path, chunk_bytes):
            yield text if joined else "\n" + text
            joined, last = True, text[-1]
    if not last:
        what = str(source.files[0]) if len(source.files) == 1 else source.label
        raise DataError(f"{what} is empty", fix="data=PATH (a text of some thousand characters at least)")


def _decoded(path: Path, chunk_bytes: int) -> Iterator[str]:
    """The characters of one file after its byte order mark, in non-empty pieces."""
    line = 1
    try:
        with path.open("rb") as file:
            start = file.read(3)
            # `rest` are the bytes read but not decoded yet, `offset` is where they begin.
            rest, offset = (b"", 3) if start == codecs.BOM_UTF8 else (start, 0)
            at_end = False
            while not at_end:
                read = file.read(chunk_bytes)
                at_end = not read
                block = rest + read
                if (nul := block.find(0)) >= 0:
                    raise _not_text(path, block, nul, offset, line)
                try:
                    text, used = codecs.utf_8_decode(block, "strict", at_end)
                except UnicodeDecodeError as e:
                    raise _not_text(path, block, e.start, offset, line) from None
                if text:
                    yield text
                rest = block[used:]
                offset += used
                line += block.count(b"\n", 0, used)
    except OSError as e:
        raise _unreadable(e, path) from None


def _files_of(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The text files below a folder, sorted by their path in it, and a note on what was counted and skipped."""
    found: list[Path] = []
    others: list[Path] = []
    for parent, names, file_names in os.walk(folder, onerror=_raise):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in file_names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                (found if path.suffix.lower() in TEXT_SUFFIXES else others).append(path)
    if not found:
        example = min(others).relative_to(folder) if others else None
        raise DataError(
            f"{folder} has no text files ({' '.join(TEXT_SUFFIXES)}), only {len(others)} others"
            if others
            else f"{folder} has no files",
            fix=f"one file, whatever its name: data={folder / example}" if example else "data=PATH",
        )
    kinds = Counter(path.suffix.lower() for path in found).most_common()
    note = f"{len(found)} text files ({', '.join(f'{n} {suffix}' for suffix, n in kinds)})"
    if others:
        note += f"; {len(others)} other files are not read"
    return tuple(sorted(found, key=lambda path: path.relative_to(folder).parts)), (note,)


def _raise(error: OSError) -> None:
    raise error


def _starts_with_bom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == codecs.BOM_UTF8


def _missing(path: Path) -> DataError:
    parent = next(p for p in path.absolute().parents if p.is_dir())
    wanted = path.absolute().relative_to(parent).parts[0]
    near = difflib.get_close_matches(wanted, sorted(os.listdir(parent)), 1, 0.5)
    shown = parent if path.is_absolute() else Path(os.path.relpath(parent))
    return DataError(
        f"there is no file or folder {path}",
        where=f"the folder {parent} exists, {wanted} in it does not",
        fix=f"data={shown / near[0]}" if near else "data=PATH (a text file, or a folder of them)",
    )


def _unreadable(error: OSError, path: Path) -> DataError:
    return DataError(
        f"{error.filename or path} cannot be read: {error.strerror}",
        fix="a file or folder that you may read: data=PATH",
    )


def _not_text(path: Path, block: bytes, at: int, offset: int, line: int) -> DataError:
    """The error for the byte at `block[at]`, where the block begins at byte `offset` of the file, in line `line`."""
    with path.open("rb") as file:  # the block may end right here
        file.seek(offset + at)
        shown = file.read(4).hex(" ")
    line += block.count(b"\n", 0, at)
    where = f"byte {offset + at:,} (counted from 0), line {line:,}: {shown}"
    utf16 = offset == 0 and block.startswith(_UTF16_BOMS)
    if block[at] == 0 and not utf16:
        return DataError(f"{path} is a binary file: it has a NUL byte", where=where, fix="a text file: data=PATH")
    what, encoding = ("is UTF-16, not UTF-8", "UTF-16") if utf16 else ("is not UTF-8", "LATIN1")
    fix = f"if it is text in another encoding: iconv -f {encoding} -t UTF-8 {path} > NEW.txt, then data=NEW.txt"
    return DataError(f"{path} {what}", where=where, fix=fix)
