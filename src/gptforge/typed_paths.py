"""Paths where the name of a text could stand: whether a word is one, and the error for one that leads nowhere."""

import difflib
import os
from pathlib import Path

from gptforge.config.schema import shown
from gptforge.errors import DataError, UserError

TEXT_SUFFIXES = (".txt", ".md", ".text", ".jsonl", ".csv", ".tsv", ".parquet", ".html", ".gz", ".zst")


def is_path(value: str) -> bool:
    return os.path.lexists(value) or looks_like_path(value)


def looks_like_path(value: str) -> bool:
    return any(sign in value for sign in ("/", "\\", "*")) or Path(value).suffix.lower() in TEXT_SUFFIXES


def missing_path(value: str) -> UserError:
    """The error for a text that is not there, with the nearest name beside it."""
    path = Path(value)
    try:
        beside = os.listdir(path.parent if str(path.parent) else ".")
    except (OSError, ValueError):
        beside = []
    near = difflib.get_close_matches(path.name, beside, 1, 0.6)
    fix = f"data={path.parent / near[0]}" if near else "data=PATH of a text file or a folder, or data=shakespeare"
    return DataError(f"there is no file or folder {shown(value)!r}", where="data=… on the command line", fix=fix)
