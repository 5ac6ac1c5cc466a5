"""From files to a clean corpus on disk: read, cleaned and compared, in constant memory, and what was found meanwhile.

Knows nothing of splits or tokens.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptforge import assets
from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig
from gptforge.config.units import shown_bytes
from gptforge.data import files, store
from gptforge.data.clean.decontaminate import Withheld
from gptforge.data.clean.workers import worthwhile
from gptforge.data.cleaning import Account, cleaned
from gptforge.data.corpus import Corpus, CorpusWriter
from gptforge.data.encoding import CHUNK_BYTES
from gptforge.data.files import Source
from gptforge.data.read import Piece, Reader
from gptforge.data.repeats import Progress, looked_for, without_repeats
from gptforge.errors import DataError, ResourceError

BYTES_A_BYTE = 3  # of disk for one of text: the text itself, and tokens of two bytes if each is a token; or it twice


@dataclass(frozen=True, slots=True)
class Collected:
    """A corpus, and the groups of nearly equal documents in it, (n_documents,) int64, None if not looked for.

    `cleaning` says as JSON values what each filter did, `notes` and `warnings` what a person should know of it.
    """

    corpus: Corpus
    groups: np.ndarray | None
    cleaning: dict[str, Any]
    notes: list[str]
    warnings: list[str]


def collect(
    source: Source,
    cfg: DataConfig,
    clean: CleanConfig,
    folder: Path,
    on_progress: Progress,
    chunk_bytes: int = CHUNK_BYTES,
) -> Collected:
    """All text of the source, read once, in files that are made in `folder`.

    Raises DataError when a file cannot be used or changes meanwhile, or nothing is left; ResourceError when the disk is
    too small.
    """
    _check_disk(source)
    folder.mkdir()
    reader, account = Reader(source, cfg, chunk_bytes), Account(source.names, clean.examples)
    withheld = Withheld(_withheld(cfg, clean)) if clean.decontaminate else None
    workers = worthwhile(clean, sum(file.path.stat().st_size for file in source.files))
    pieces = cleaned(_read(source, reader, on_progress), clean, account, withheld, source.val_from, workers)
    corpus = _written(pieces, folder / "text")
    groups = None
    if looked_for(clean) and corpus.n_documents:
        corpus, groups = without_repeats(corpus, clean, account, folder, on_progress)
    facts = account.facts()
    if not corpus.n_documents:
        raise _nothing_left(source, facts)
    notes = [*source.notes, *reader.account.notes(len(source.files)), *cleaning_notes(facts)]
    return Collected(corpus, groups, facts, notes, list(reader.account.warnings()))


def examine(cfg: DataConfig, clean: CleanConfig, on_progress: Progress | None = None) -> dict[str, Any]:
    """What cleaning would do to a text, as JSON values; nothing is kept. Raises as `collect` does."""
    source = files.find(cfg)
    with store.temporary_folder(assets.cache_dir() / "tokens" / "examined") as folder:
        found = collect(source, cfg, clean, folder / "text", on_progress or (lambda doing, share: None))
        left = {"documents": found.corpus.n_documents, "characters": found.corpus.n_characters}
        return {"text": source.label, "left": left, "cleaning": found.cleaning, "notes": found.notes} | {
            "warnings": found.warnings
        }


def cleaning_notes(facts: dict[str, Any]) -> Iterator[str]:
    """What cleaning changed and left out, in a line each; nothing vanishes silently."""
    changed, dropped = [], []
    for name, actions in facts["filters"].items():
        if count := actions.get("changed"):
            changed.append(f"{name} {count['amount']:,} in {_documents(count['documents'])}")
        if count := actions.get("dropped"):
            dropped.append(f"{name} {_documents(count['documents'])}")
    if changed:
        yield f"cleaning changed: {', '.join(changed)} (clean=none leaves all as it is)"
    if dropped:
        yield f"cleaning left out: {', '.join(dropped)} (gptforge prepare --dry shows examples)"


def _documents(n: int) -> str:
    return f"{n:,} document{'s' * (n != 1)}"


def _read(source: Source, reader: Reader, on_progress: Progress) -> Iterator[Piece]:
    """The pieces of all documents. Raises DataError when a file changes meanwhile."""
    before = [_state(file.path) for file in source.files]
    size = max(1, sum(state[0] for state in before))
    for piece in reader.pieces():
        yield piece
        on_progress("reading", min(1.0, reader.account.bytes / size))
    on_progress("reading", 1.0)
    for file, state in zip(source.files, before, strict=True):
        if _state(file.path) != state:
            raise DataError(f"{file.path} changed while it was read", fix="run it again once the text is finished")


def _withheld(cfg: DataConfig, clean: CleanConfig) -> Iterator[str]:
    """The texts that nothing may be learnt of. Raises DataError when one cannot be read."""
    for source in files.withheld(cfg, clean):
        for piece in Reader(source, cfg).pieces():
            yield piece.text


def _written(pieces: Iterator[Piece], path: Path) -> Corpus:
    writer = CorpusWriter(path)
    try:
        for piece in pieces:
            writer.add(piece)
        return writer.close()
    finally:
        writer.abort()


def _state(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    return -1, -1


def _check_disk(source: Source) -> None:
    size = sum(file.path.stat().st_size * (4 if file.packed else 1) for file in source.files)
    folder = next(p for p in (assets.cache_dir(), *assets.cache_dir().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if BYTES_A_BYTE * size > free:
        raise ResourceError(
            f"preparing {source.label} ({shown_bytes(size)}) may need {shown_bytes(BYTES_A_BYTE * size)} of disk,"
            f" {shown_bytes(free)} are free",
            where=str(assets.cache_dir()),
            fix="free some space, or put the cache elsewhere: GPTFORGE_CACHE=OTHER/DISK/cache",
        )


def _nothing_left(source: Source, facts: dict[str, Any]) -> DataError:
    took = {name: a["dropped"]["documents"] for name, a in facts["filters"].items() if "dropped" in a}
    most = sorted(took.items(), key=lambda item: -item[1])[:3]
    return DataError(
        f"cleaning left nothing of {source.label}, {_documents(facts['documents'])}",
        where="left out by " + ", ".join(f"{name}: {n:,}" for name, n in most),
        fix=["clean=none", "gptforge prepare --dry, with the same text and clean=…, shows examples"],
    )
