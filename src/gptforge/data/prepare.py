"""From a config to token files: read the text twice, once to know it and once to encode it.

Constant memory whatever the text's size. Knows nothing of blocks, batches or models, but for `check_length`.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gptforge import assets
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data import read, store
from gptforge.data.read import Source, chunks, open_source
from gptforge.data.store import Dataset
from gptforge.errors import DataError
from gptforge.tokenizers import build_tokenizer
from gptforge.tokenizers.base import Tokenizer

Progress = Callable[[str, float], None]  # what is done ("reading", "encoding") and its share, 0 to 1

_CODE_POINTS = 0x110000


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first pass knows of a text: SHA-256 of its UTF-8, its length and its characters, sorted."""

    sha256: str
    n_characters: int
    n_bytes: int
    characters: str


def prepare(
    cfg: DataConfig,
    tokenizer_cfg: TokenizerConfig,
    tokenizer: Tokenizer | None = None,
    on_progress: Progress | None = None,
    chunk_bytes: int = read.CHUNK_BYTES,
) -> Dataset:
    """The tokens of a text, from the cache or stored there now.

    The text is split at character int(n * (1 - val_fraction)), whatever the tokenizer. With `tokenizer` (that of a
    checkpoint) none is built. Raises DataError for a text that cannot be used, ResourceError for a cache that
    cannot be written; nothing is left behind then.
    """
    report = on_progress or (lambda doing, share: None)
    source = open_source(cfg)
    survey = _survey(source, chunk_bytes, report)
    boundary = int(survey.n_characters * (1 - cfg.val_fraction))
    if tokenizer is None:
        learnt_from = partial(_training_part, source, boundary, chunk_bytes, report)
        n_bytes = int(survey.n_bytes * (1 - cfg.val_fraction))
        tokenizer = build_tokenizer(tokenizer_cfg, survey.characters, learnt_from, n_bytes)
    parts = {
        "content_sha256": survey.sha256,
        "tokenizer": tokenizer.fingerprint,
        "val_fraction": cfg.val_fraction,
        "unknown": _unknown_mode(tokenizer, survey.characters, source.label),
    }
    key = store.key_of(parts)
    folder = assets.cache_dir() / "tokens" / key
    stored, damage = store.check(folder)
    if stored is None:
        manifest = {"schema_version": store.SCHEMA_VERSION, "key": key, **parts, "label": source.label}
        manifest |= {"tokenizer_kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        manifest |= {"dtype": store.id_dtype(tokenizer.vocab_size).str, "n_characters": survey.n_characters}
        try:
            _build(folder, manifest, source, boundary, tokenizer, chunk_bytes, report)
            stored, still = store.check(folder)
        except OSError as e:
            raise assets.cache_error(e, f"storing the tokens of {source.label}") from e
        if stored is None:
            raise DataError(f"stored tokens of {source.label} were damaged at once: {still}", where=str(folder))
    dataset = store.load(folder, {**stored, "label": source.label}, tokenizer)
    dataset.notes += [*source.notes, *tokenizer.notes]
    if damage:
        dataset.warnings.append(f"the stored tokens were damaged ({damage}) and have been built again")
    if only_val := stored["characters_only_in_val"]:
        dataset.warnings.append(f"{only_val} characters occur only in the validation part, so they cannot be learnt")
    return dataset


def check_length(dataset: Dataset, block_size: int) -> None:
    """Raise DataError unless both parts are long enough for one window of `block_size` tokens and its labels."""
    train, val = len(dataset.train), len(dataset.val)
    if train < block_size + 1:
        shorter = f"model.block_size={train - 1} or less" if train > 2 else ""
        raise DataError(
            f"the training part has {train:,} tokens, at least block_size+1 = {block_size + 1:,} are needed",
            where=f"{dataset.manifest['label']}, {dataset.manifest['n_characters']:,} characters",
            fix=[shorter, "a longer text: data=PATH"],
        )
    if val < 2:
        raise DataError(
            f"the validation part has {val:,} tokens, at least 2 are needed",
            where=f"{dataset.manifest['label']}, {dataset.manifest['n_characters']:,} characters",
            fix=["a larger share of the text: data.val_fraction=0.3", "a longer text: data=PATH"],
        )


class _CharacterSet:
    """Which characters were seen, as one flag for each code point: fast, and 1 MB for any text."""

    def __init__(self) -> None:
        self.flags = np.zeros(_CODE_POINTS, dtype=bool)

    def add(self, text: str) -> None:
        self.flags[np.frombuffer(text.encode("utf-32-le"), dtype="<u4")] = True

    def __str__(self) -> str:
        return np.flatnonzero(self.flags).astype("<u4").tobytes().decode("utf-32-le")


def _survey(source: Source, chunk_bytes: int, report: Progress) -> Survey:
    """The first pass."""
    size = max(1, sum(path.stat().st_size for path in source.files))
    digest, seen, n_characters, n_bytes = hashlib.sha256(), _CharacterSet(), 0, 0
    for text in chunks(source, chunk_bytes):
        content = text.encode()
        digest.update(content)
        seen.add(text)
        n_characters += len(text)
        n_bytes += len(content)
        report("reading", min(1.0, n_bytes / size))
    return Survey(digest.hexdigest(), n_characters, n_bytes, str(seen))


def _unknown_mode(tokenizer: Tokenizer, characters: str, label: str) -> str:
    """How unknown characters change the tokens: "none" when the text has none, else the tokenizer's mode.

    Raises DataError that lists them when the mode is "error".
    """
    unknown = tokenizer.missing(characters)
    if not unknown:
        return "none"
    if tokenizer.unknown == "error":
        shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataError(
            f"the text has {len(unknown)} characters that the vocabulary lacks: {shown}",
            where=f"{label}, with the given tokenizer of {tokenizer.vocab_size} tokens",
            fix=["tokenizer.unknown=skip (leave them out)", "tokenizer.unknown=replace (put a stand-in)"],
        )
    return tokenizer.unknown


def _build(
    folder: Path,
    manifest: dict[str, Any],
    source: Source,
    boundary: int,
    tokenizer: Tokenizer,
    chunk_bytes: int,
    report: Progress,
) -> None:
    """The second pass: encode into a temporary folder, then commit it. Nothing stays behind when it fails.

    `manifest` is complete but for what this pass counts; validation begins at character `boundary`.
    """
    temporary = store.temporary_folder(folder)
    writers: list[store.SplitWriter] = []
    try:
        writers += [store.SplitWriter(temporary / f"{split}.bin", tokenizer.vocab_size) for split in store.SPLITS]
        seen = [_CharacterSet() for _ in writers]
        digest, done = hashlib.sha256(), 0
        for text in _at_line_ends(chunks(source, chunk_bytes)):
            digest.update(text.encode())
            for split, part in _split(text, boundary - done):
                writers[split].add(part, tokenizer.encode(part))
                seen[split].add(part)
            done += len(text)
            report("encoding", min(1.0, done / manifest["n_characters"]))
        if digest.hexdigest() != manifest["content_sha256"]:
            raise DataError(f"{source.label} changed while it was read", fix="run it again once the text is finished")
        manifest["characters_only_in_val"] = int((seen[1].flags & ~seen[0].flags).sum())
        manifest["splits"] = {split: writer.close() for split, writer in zip(store.SPLITS, writers, strict=True)}
        store.write_manifest(temporary, manifest)
        store.commit(temporary, folder)
    finally:
        for writer in writers:
            writer.abort()
        shutil.rmtree(temporary, ignore_errors=True)


def _training_part(source: Source, boundary: int, chunk_bytes: int, report: Progress) -> Iterator[str]:
    """The text before character `boundary`, in pieces."""
    done = 0
    for text in _at_line_ends(chunks(source, chunk_bytes)):
        if done >= boundary:
            return
        yield text[: boundary - done]
        done += len(text)
        report("learning tokens from", min(1.0, done / boundary))


def _at_line_ends(texts: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that end with a line where there is one, so that no token is cut within a line."""
    rest = ""
    for text in texts:
        end = text.rfind("\n") + 1 or len(text)
        yield rest + text[:end]
        rest = text[end:]
    if rest:
        yield rest


def _split(text: str, boundary: int) -> Iterator[tuple[int, str]]:
    """The parts of a chunk with the split each belongs to; the boundary counts from the chunk's begin."""
    cut = min(max(boundary, 0), len(text))
    if cut > 0:
        yield 0, text[:cut]
    if cut < len(text):
        yield 1, text[cut:]
