"""Token files on disk: written once, checked at every use, never half there.

A stored data set is a folder with train.bin and val.bin (ids), train.starts and val.starts (of documents: begin, file),
tokenizer.json and the manifest dataset.json. Knows nothing of texts: ids go in, memory maps come out.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gptforge.durable import LITTER, sync_directory, write
from gptforge.jsonfile import DIGEST, digest_of
from gptforge.tokenizers.base import Tokenizer, id_dtype

MANIFEST = "dataset.json"
SPLITS = ("train", "val")
SCHEMA_VERSION = 3
KEY_VERSION = 1  # of the names of data sets, which runs keep: their data are known by them
REHASH_BYTES = 200_000_000  # up to this size the content is checked at every use, beyond it only the size
STALE_SECONDS = 24 * 3600


@dataclass(slots=True)
class Said:
    """What making a data set told: its files' names, what was decided, what to look at, what cleaning did (JSON).

    `parts` are the numbers of the files with which its texts begin.
    """

    files: list[str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cleaning: dict[str, Any] = field(default_factory=dict)
    parts: list[int] = field(default_factory=lambda: [0])


@dataclass(slots=True)
class Dataset:
    """A prepared text: `train` and `val` are read-only ids (n,), uint16 or uint32, mapped from disk.

    `train_starts` and `val_starts` (n_documents,) int64 say where documents begin in them: ascending, the first 0;
    `train_files` and `val_files` (n_documents,) int64 which of `files` each is of.
    `manifest` is dataset.json; `fingerprint` names content, tokenizer and split: equal ones have equal ids.
    `notes` say what was decided, `warnings` what the user should look at, `cleaning` what its filters did, `parts` with
    which of `files` each of several texts begins.
    """

    train: np.ndarray
    val: np.ndarray
    train_starts: np.ndarray
    val_starts: np.ndarray
    train_files: np.ndarray
    val_files: np.ndarray
    files: list[str]
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cleaning: dict[str, Any] = field(default_factory=dict)
    parts: list[int] = field(default_factory=lambda: [0])

    @property
    def fingerprint(self) -> str:
        return self.manifest["key"]

    def part_edges(self) -> list[int]:
        """Where the training tokens of each of several texts begin, and the end: (n_parts + 1,), ascending."""
        begins = np.searchsorted(self.train_files, self.parts)
        starts = np.append(self.train_starts, len(self.train))
        return [0, *starts[begins[1:]].tolist(), len(self.train)]


class SplitWriter:
    """Appends ids to one split's file and keeps its counts and hash; `n_tokens` are in it so far."""

    def __init__(self, folder: Path, split: str, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._dtype = id_dtype(vocab_size)
        self._starts, self._files = array("q"), array("q")
        self._starts_path = folder / f"{split}.starts"
        self._file = (folder / f"{split}.bin").open("wb")
        self._sha256 = hashlib.sha256()
        self.n_tokens = self._bytes = self._characters = 0

    def add(self, text: str, ids: np.ndarray) -> None:
        """Append the ids (n,) of a text. Raises ValueError for an id outside the vocabulary, before any cast."""
        if ids.size and (ids.min() < 0 or ids.max() >= self._vocab_size):
            raise ValueError(f"the tokenizer gave an id outside 0 to {self._vocab_size - 1}")
        content = ids.astype(self._dtype).tobytes()
        self._file.write(content)
        self._sha256.update(content)
        self.n_tokens += len(ids)
        self._characters += len(text)
        self._bytes += len(text.encode())

    def mark(self, file: int) -> None:
        """A document of file number `file` begins with the next token."""
        self.end()
        self._starts.append(self.n_tokens)
        self._files.append(file)

    def end(self) -> None:
        """The document that was begun last has all its tokens; without any it is none."""
        if self._starts and self._starts[-1] == self.n_tokens:
            self._starts.pop()
            self._files.pop()

    def close(self) -> dict[str, Any]:
        """Flush to disk; the split's entry in the manifest: tokens, documents, characters, UTF-8 bytes, hashes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.end()
        starts = np.stack([np.array(self._starts), np.array(self._files)]).astype("<i8").tobytes()
        write(self._starts_path, starts)
        return {
            "documents": len(self._starts),
            "starts_sha256": hashlib.sha256(starts).hexdigest(),
            "tokens": self.n_tokens,
            "characters": self._characters,
            "bytes": self._bytes,
            "sha256": self._sha256.hexdigest(),
        }

    def abort(self) -> None:
        """Close the file without the promise that it is on disk."""
        self._file.close()


def key_of(parts: Mapping[str, Any]) -> str:
    """The name of the data set that these parts decide: SHA-256 in hex."""
    canonical = json.dumps({"schema_version": KEY_VERSION, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, to fill and `commit`, removed at the end; and those of dead processes removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(folder.parent.glob(LITTER))
    temporary = folder.parent / f".tmp-{folder.name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        temporary.mkdir()  # in here, for a signal may come before it returns
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_stale(litter: Iterable[Path]) -> None:
    """Removes those of these files and folders that nobody has written to for so long that who made them is dead."""
    for path in litter:
        if _age(path) > STALE_SECONDS:
            with contextlib.suppress(OSError):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file and sync it."""
    write(path, (json.dumps(content, indent=1) + "\n").encode())


def commit(temporary: Path, folder: Path) -> None:
    """Rename a finished folder to its name. What another process put there meanwhile stays, if it is whole."""
    sync_directory(temporary)
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
    sync_directory(folder.parent)


def check(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The manifest of a whole data set; or None and what is wrong with it, nothing when there is none to be used."""
    if not folder.is_dir():
        return None, ""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["schema_version"] in range(1, SCHEMA_VERSION):
            return None, ""  # of an earlier gptforge: made anew, and nothing to warn of
        if manifest["schema_version"] != SCHEMA_VERSION or manifest["key"] != folder.name:
            return None, f"{MANIFEST} belongs to another data set"
        if manifest[DIGEST] != digest_of(manifest):
            return None, f"the content of {MANIFEST} is not what was written"
        if manifest["dtype"] not in ("<u2", "<u4"):
            return None, f"{MANIFEST} has numbers of the kind {manifest['dtype']!r:.20}"
        itemsize = np.dtype(manifest["dtype"]).itemsize
        sizes = {split: int(manifest["splits"][split]["tokens"]) * itemsize for split in SPLITS}
        for split, size in sizes.items():
            entry = manifest["splits"][split]
            held = [(f"{split}.bin", size, entry["sha256"])]
            held += [(f"{split}.starts", 16 * int(entry["documents"]), entry["starts_sha256"])]
            for name, size, sha256 in held:
                path = folder / name
                if path.stat().st_size != size:
                    return None, f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
                if sum(sizes.values()) <= REHASH_BYTES and _sha256(path) != sha256:
                    return None, f"the content of {name} is not what was written"
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as e:
        return None, f"{type(e).__name__}: {e}"[:200]
    return manifest, ""


def load(folder: Path, manifest: dict[str, Any], tokenizer: Tokenizer, said: Said) -> Dataset:
    """The data set of a checked folder."""
    train, val = (_mapped(folder / f"{split}.bin", np.dtype(manifest["dtype"])) for split in SPLITS)
    of_train, of_val = (_mapped(folder / f"{split}.starts", np.dtype("<i8")).reshape(2, -1) for split in SPLITS)
    ids = (train, val, of_train[0], of_val[0], of_train[1], of_val[1])
    return Dataset(*ids, said.files, tokenizer, manifest, said.notes, said.warnings, said.cleaning, said.parts)


def _mapped(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _age(path: Path) -> float:
    """Seconds since a file, or anything in a folder, was written; 0 when it vanishes meanwhile."""
    try:
        inside = path.iterdir() if path.is_dir() else ()
        return time.time() - max(one.stat().st_mtime for one in (path, *inside))
    except OSError:
        return 0.0
