"""From the bytes of a file to its characters: which encoding it is in, found or given, and where bytes do not fit.

Knows bytes and codecs; nothing of folders, formats or documents. A guess is made only on evidence, and said.
"""

import codecs
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gptforge.errors import DataError, missing_extra

CHUNK_BYTES = 4 << 20
HEAD_BYTES = 4096  # show what a file begins as
GUESS_BYTES = 1 << 18  # of a text, from its first byte beyond ASCII on, are enough to know its encoding by
LEAST_EVIDENCE = 12  # bytes beyond ASCII; fewer fit too many encodings

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WRONG, _RIGHT = re.compile("[\udc80-\udcff]"), re.compile("[^\0-\x7f\udc80-\udcff]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_OF_PAIRS = ("gb18030", "big5", "cp932", "euc_jp", "cp949")  # few bytes that are no text fit these
_GUESSED = (  # what texts are found in, apart from UTF-8 and UTF-16
    *_OF_PAIRS,
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255"),
    *("cp1256", "cp1257", "koi8_r", "iso8859_2", "iso8859_5", "iso8859_7"),
)
_SHOWN = {"gb18030": "GBK / GB18030", "cp1252": "Windows-1252 (Latin-1)", "utf-8": "UTF-8"}


@dataclass(slots=True)
class Found:
    """The encoding of a file: the codec, whether a byte order mark said it, and whether it is a guess."""

    codec: str = "utf-8"
    marked: bool = False
    guessed: bool = False

    def __str__(self) -> str:
        return shown(self.codec)


def shown(codec: str) -> str:
    """A codec as people call it."""
    return _SHOWN.get(codec, codec.upper().replace("_", "-"))


def decoded(
    file: BinaryIO,
    path: Path,
    encoding: str | None,
    on_read: Callable[[int], None] = lambda n: None,
    chunk_bytes: int = CHUNK_BYTES,
    found: Found | None = None,
) -> Iterator[str]:
    """The characters of a file, in non-empty pieces of at most about `chunk_bytes` bytes, byte order mark left out.

    A byte order mark says the encoding; else it is `encoding`; else UTF-8 if the bytes are that; else it is guessed.
    `found`, if given, is filled in; `on_read` is told the bytes as they are read. Raises DataError, with the place,
    for bytes that do not fit, and for a file that is binary.
    """
    found = found if found is not None else Found()
    head = file.read(HEAD_BYTES)
    found.codec, skipped = _begin(head, encoding)
    found.marked = skipped > 0
    decided = found.marked or encoding is not None or "16" in found.codec
    decoder = codecs.getincrementaldecoder(found.codec)()
    offset, line = skipped, 1  # where the bytes of `block` begin, and in which line
    on_read(skipped)
    head = head[skipped:]
    while True:
        block, head = (head[:chunk_bytes], head[chunk_bytes:]) if head else (file.read(chunk_bytes), b"")
        pending = decoder.getstate()[0]
        if not decided and not block.isascii():
            # Nothing pends after ASCII; what has been read but not decoded yet is evidence too
            found.codec, decided = _by_content(block + head, file, path, offset, line), True
            found.guessed = found.codec != "utf-8"
            decoder = codecs.getincrementaldecoder(found.codec)()
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as e:
            raise _misfit(file, path, found, e, offset - len(pending), line, encoding) from None
        if (nul := text.find("\0")) >= 0:
            at = offset - len(pending) + len(text[:nul].encode(found.codec))
            raise _binary(path, at, line + text.count("\n", 0, nul))
        if text:
            yield text
        if not block:
            return
        on_read(len(block))
        offset += len(block)
        line += text.count("\n")


def _begin(head: bytes, encoding: str | None) -> tuple[str, int]:
    """The codec that a file's first bytes show, and how long its byte order mark is."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    if encoding:
        return codecs.lookup(encoding).name, 0
    pairs = len(head) // 2
    if pairs >= LEAST_EVIDENCE:  # UTF-16 without a mark: every second byte of Latin text is NUL
        even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
        if max(even, odd) > pairs // 3 and min(even, odd) < pairs // 50:
            return ("utf-16-le" if odd > even else "utf-16-be"), 0
    return "utf-8", 0


def _by_content(block: bytes, file: BinaryIO, path: Path, offset: int, line: int) -> str:
    """The codec of a text whose first bytes beyond ASCII are in the block: UTF-8, or guessed on enough evidence.

    Raises DataError where neither is sure; what comes after the block is looked at, not consumed.
    """
    first = _BEYOND_ASCII.search(block).start()  # type: ignore[union-attr] - the caller has seen one
    sample = block[first : first + GUESS_BYTES]
    if len(block) - first < GUESS_BYTES and file.seekable():
        place = file.tell()
        sample += file.read(GUESS_BYTES - len(sample))
        file.seek(place)
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # which may end within a character
        return "utf-8"
    seen = block[:first] + sample
    if (nul := seen.find(0)) >= 0:
        raise _binary(path, offset + nul, line + seen.count(b"\n", 0, nul))
    line += block.count(b"\n", 0, first)
    lenient = sample.decode("utf-8", "surrogateescape")
    if len(_RIGHT.findall(lenient)) >= len(_WRONG.findall(lenient)):
        return "utf-8"  # with some damage: decoding says where
    return _guessed(sample, path, offset + first, line)


def _guessed(sample: bytes, path: Path, offset: int, line: int) -> str:
    if (evidence := len(_BEYOND_ASCII.findall(sample))) < LEAST_EVIDENCE:
        raise _not_utf8(path, sample, offset, line, f"{evidence} bytes beyond ASCII are too few to tell its encoding")
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise missing_extra("files", "telling the encoding of a text that is not UTF-8", DataError) from None
    if len(sample) == GUESS_BYTES:  # cut off, perhaps within a character
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    matches = list(from_bytes(sample, cp_isolation=list(_GUESSED)))
    if not matches:
        raise _not_utf8(path, sample, offset, line, "does not look like text in another encoding")
    best = max(matches, key=lambda match: match.coherence - match.chaos)
    if not best.coherence and best.encoding not in _OF_PAIRS:  # of no known language: any bytes are allowed there
        raise _not_utf8(path, sample, offset, line, "does not look like text in another encoding")
    # Where Western text reads the same in both, the commoner one is meant; what follows may not read the same.
    western = sample.decode("cp1252", "replace") == str(best) or any(
        match.encoding == "cp1252" and match.coherence - match.chaos == best.coherence - best.chaos for match in matches
    )
    return "cp1252" if western else best.encoding


def _not_utf8(path: Path, sample: bytes, offset: int, line: int, why: str) -> DataError:
    readings = [f"data.encoding={codec}, if this is right: {reading}" for codec, reading in _readings(sample)]
    return DataError(
        f"{path} is not UTF-8: {why}",
        where=f"byte {offset:,} (counted from 0), line {line:,}: {sample[:4].hex(' ')}",
        fix=[*readings, "data.on_error=skip (leave such files out)"],
    )


def _readings(sample: bytes) -> Iterator[tuple[str, str]]:
    """The sample's first characters in the encodings that it may be in."""
    for codec in ("cp1252", "gb18030", "big5"):
        try:
            text = sample[:64].decode(codec, "ignore" if codec != "cp1252" else "strict")
        except UnicodeDecodeError:
            continue
        if text.isprintable() or text.strip():
            yield codec, repr(text[:12])


def _misfit(
    file: BinaryIO, path: Path, found: Found, e: UnicodeDecodeError, start: int, line: int, given: str | None
) -> DataError:
    """The error for bytes that are not of the encoding; `start` is where the bytes of the exception begin."""
    before = e.object[: e.start].decode(found.codec, "ignore")
    bad = e.object[e.start :]
    if file.seekable():  # the block may end right here
        file.seek(start + e.start)
        bad = file.read(4)
    how = "as asked for" if given else "as it begins"
    what = "is not UTF-8" if found.codec == "utf-8" else f"is not {found}, {how}"
    return DataError(
        f"{path} {what}",
        where=f"byte {start + e.start:,} (counted from 0), line {line + before.count(chr(10)):,}: {bad[:4].hex(' ')}",
        fix=[
            "data.encoding=… if it is text in another encoding, such as gb18030, big5, cp1252",
            "data.on_error=skip (leave such files out)",
        ],
    )


def _binary(path: Path, offset: int, line: int) -> DataError:
    return DataError(
        f"{path} is a binary file: it has a NUL byte",
        where=f"byte {offset:,} (counted from 0), line {line:,}",
        fix="a text file: data=PATH",
    )
