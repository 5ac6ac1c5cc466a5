"""Files and folders that are there whole or not at all, also after a power cut. Knows nothing of what is in them."""

import contextlib
import os
from pathlib import Path

LITTER = ".tmp-*"  # files and folders that were not finished when their writer was killed


def write(path: Path, content: bytes) -> None:
    """Writes a file as a whole, whoever else writes it: readers see the old one or this, also after a power cut."""
    temporary = path.with_name(f".tmp-{path.name}-{unique()}")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # mostly because it has its name by now
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text likewise, as UTF-8."""
    write(path, text.encode())


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a power cut; Windows has no such call."""
    if os.name == "nt":
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # one that may be written but not read cannot be synced
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directories(path: Path) -> None:
    """Makes a directory and those above it, so that they survive a power cut."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def unique() -> str:
    """A part of a file name that nobody else uses: no other thread, and no other machine on the same disk."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"
