"""Token files on disk: written once, checked at every use, never half there.

A stored data set is a folder with train.bin, val.bin and the manifest dataset.json. Knows nothing
of texts: ids go in, memory maps come out.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gptforge.tokenizers.base import Tokenizer, id_dtype

MANIFEST = "dataset.json"
SPLITS = ("train", "val")
SCHEMA_VERSION = 1
REHASH_BYTES = 200_000_000  # up to this size the content is checked at every use, beyond it only the size
STALE_SECONDS = 24 * 3600


@dataclass(slots=True)
class Dataset:
    """A prepared text: `train` and `val` are read-only ids (n,), uint16 or uint32, mapped from disk.

    `manifest` is dataset.json; `fingerprint` names content, tokenizer and split: equal ones have equal ids.
    `notes` say what was decided, `warnings` what the user should look at.
    """

    train: np.ndarray
    val: np.ndarray
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return self.manifest["key"]


class SplitWriter:
    """Appends ids to one split's file and keeps its counts and hash."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._dtype = id_dtype(vocab_size)
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._tokens = self._bytes = self._characters = 0

    def add(self, text: str, ids: np.ndarray) -> None:
        """Append the ids (n,) of a text. Raises ValueError for an id outside the vocabulary, before any cast."""
        if ids.size and (ids.min() < 0 or ids.max() >= self._vocab_size):
            raise ValueError(f"the tokenizer gave an id outside 0 to {self._vocab_size - 1}")
        content = ids.astype(self._dtype).tobytes()
        self._file.write(content)
        self._sha256.update(content)
        self._tokens += len(ids)
        self._characters += len(text)
        self._bytes += len(text.encode())

    def close(self) -> dict[str, Any]:
        """Flush to disk; the split's entry in the manifest: tokens, characters and UTF-8 bytes of text, sha256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {
            "tokens": self._tokens,
            "characters": self._characters,
            "bytes": self._bytes,
            "sha256": self._sha256.hexdigest(),
        }

    def abort(self) -> None:
        """Close the file without the promise that it is on disk."""
        self._file.close()


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of the data set that these parts decide: SHA-256 in hex."""
    canonical = json.dumps({"schema_version": SCHEMA_VERSION, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def temporary_folder(folder: Path) -> Path:
    """A new folder beside `folder`, of this process alone, to fill and `commit`; removes those of dead processes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(".tmp-*"):
        if _age(old) > STALE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    temporary = folder.parent / f".tmp-{folder.name}-{os.getpid()}-{os.urandom(4).hex()}"
    temporary.mkdir()
    return temporary


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write dataset.json, the last file of a folder, and sync both."""
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="\n") as file:
        json.dump(manifest, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def commit(temporary: Path, folder: Path) -> None:
    """Rename a finished folder to its name. What another process put there meanwhile stays, if it is whole."""
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        found, _ = check(folder)
        if found is None:
            trash = folder.parent / f".tmp-damaged-{os.getpid()}-{os.urandom(4).hex()}"
            folder.rename(trash)
            temporary.rename(folder)
            shutil.rmtree(trash, ignore_errors=True)
    _sync_folder(folder.parent)


def check(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The manifest of a whole data set; or None and what is wrong with it, nothing when there is none."""
    if not folder.is_dir():
        return None, ""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["schema_version"] != SCHEMA_VERSION or manifest["key"] != folder.name:
            return None, f"{MANIFEST} belongs to another data set"
        itemsize = np.dtype(manifest["dtype"]).itemsize
        sizes = {split: int(manifest["splits"][split]["tokens"]) * itemsize for split in SPLITS}
        for split, size in sizes.items():
            path = folder / f"{split}.bin"
            if path.stat().st_size != size:
                return None, f"{path.name} has {path.stat().st_size:,} bytes instead of {size:,}"
            if sum(sizes.values()) <= REHASH_BYTES and _sha256(path) != manifest["splits"][split]["sha256"]:
                return None, f"the content of {path.name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as e:
        return None, f"{type(e).__name__}: {e}"
    return manifest, ""


def load(folder: Path, manifest: dict[str, Any], tokenizer: Tokenizer) -> Dataset:
    """The data set of a checked folder."""
    train, val = (_mapped(folder / f"{split}.bin", np.dtype(manifest["dtype"])) for split in SPLITS)
    return Dataset(train, val, tokenizer, manifest)


def _mapped(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _age(folder: Path) -> float:
    """Seconds since anything in the folder was written; 0 when it vanishes meanwhile."""
    try:
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return 0.0


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and a rename is durable by itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
