"""Files and folders that are there whole or not at all, also after a power cut. Knows nothing of what is in them."""

import os
import threading
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a small file as a whole: readers see the old text or the new one, also after a power cut."""
    temporary = path.with_name(f".tmp-{path.name}-{unique()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """A part of a file name that no other process or thread uses."""
    return f"{os.getpid()}-{threading.get_ident()}"
