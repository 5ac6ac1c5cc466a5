"""The kinds of tokenizer by name: built for a text, or loaded from a folder that may come from anyone."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptforge.errors import CheckpointError, DataError
from gptforge.tokenizers.base import FILE_NAME, SCHEMA_VERSION, StreamDecoder, Tokenizer
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer

__all__ = ["FILE_NAME", "StreamDecoder", "Tokenizer", "build_tokenizer", "load_tokenizer"]

MAX_FILE_BYTES = 16_000_000  # every character there is, written out, is less

_KINDS = {"char": CharTokenizer, "byte": ByteTokenizer}


def build_tokenizer(kind: str, characters: Iterable[str], unknown: str = "error") -> Tokenizer:
    """A tokenizer of a kind for texts of these characters. Raises DataError when they do not make a vocabulary."""
    return {
        "char": lambda: CharTokenizer(characters, unknown),
        "byte": lambda: ByteTokenizer(unknown),
    }[kind]()


def load_tokenizer(folder: Path, unknown: str = "error") -> Tokenizer:
    """The tokenizer whose tokenizer.json is in the folder.

    Raises CheckpointError for a file that is missing, unreadable, too large, of another version or
    not what `save` writes: the file is checked, not trusted.
    """
    path = folder / FILE_NAME
    stored = _read(path)
    version = stored.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise _error(f"is of version {version!r:.40}; this gptforge reads {SCHEMA_VERSION}", path)
    kind = stored.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _error(f"holds a tokenizer of the kind {kind!r:.40}; known are {', '.join(_KINDS)}", path)
    try:
        return _KINDS[kind].from_dict(stored, unknown)
    except (ValueError, DataError) as e:
        raise _error(f"is damaged: {e}", path) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _error("is missing", path) from None
    except OSError as e:
        raise _error(f"cannot be read: {e.strerror}", path) from None
    if len(content) > MAX_FILE_BYTES:
        raise _error(f"is larger than any tokenizer ({MAX_FILE_BYTES:,} bytes)", path)
    try:
        stored = json.loads(content.decode())
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets, thousands deep
        raise _error("is damaged: no JSON", path) from None
    if not isinstance(stored, dict):
        raise _error("is damaged: no JSON object", path)
    return stored


def _error(what: str, path: Path) -> CheckpointError:
    return CheckpointError(f"{FILE_NAME} {what}", where=str(path), fix="another checkpoint: ckpt=PATH")
