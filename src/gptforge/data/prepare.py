"""From a config to token files: read the text once, then split and encode it.

Constant memory whatever the text's size. Knows nothing of blocks, batches or models, but for `check_length`.
"""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gptforge import assets
from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data import files, store
from gptforge.data.collect import collect
from gptforge.data.corpus import CharacterCounts, Corpus
from gptforge.data.encoding import CHUNK_BYTES
from gptforge.data.files import Source
from gptforge.data.repeats import Progress
from gptforge.data.split import TRAIN, Allotted, Split, divide
from gptforge.data.store import Dataset
from gptforge.durable import LITTER, make_directories, write
from gptforge.errors import CheckpointError, DataError
from gptforge.jsonfile import DIGEST, digest_of, sealed
from gptforge.locks import waited_for
from gptforge.tokenizers import build_tokenizer, load_tokenizer
from gptforge.tokenizers.base import Tokenizer

RECIPE_VERSION = 1  # of how files become tokens; another one makes everything anew
HASHED_BYTES = 200_000_000  # of files up to this size in all, the content says whether they changed; else size and time
OF_NO_TEXT = ("byte", "gpt2", "hf")  # tokenizers that are what they are, whatever the text
ENCODED_AT_ONCE = 1 << 22  # characters: enough for all cores


def prepare(
    cfg: DataConfig,
    tokenizer_cfg: TokenizerConfig,
    tokenizer: Tokenizer | None = None,
    on_progress: Progress | None = None,
    clean: CleanConfig | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Dataset:
    """The tokens of a text, from the cache or stored there now; cleaned as `clean` says, None: as it is.

    With `tokenizer` (that of a checkpoint) none is built. Several processes that want the same tokens wait for the
    first. Raises DataError for a text that cannot be used, ResourceError for a cache that cannot be written; nothing
    is left behind then.
    """
    report = on_progress or (lambda doing, share: None)
    source = files.find(cfg)
    if tokenizer is None and tokenizer_cfg.kind in OF_NO_TEXT:
        tokenizer = build_tokenizer(tokenizer_cfg)
    clean = clean or CleanConfig()
    recipe = _recipe(source, cfg, clean, tokenizer_cfg, tokenizer)
    known, damage = _known(recipe, tokenizer_cfg, tokenizer)
    if known is None:
        try:
            with waited_for(assets.cache_dir() / "locks" / f"{recipe[:32]}.lock"):
                known, _ = _known(recipe, tokenizer_cfg, tokenizer)  # another process may have made it meanwhile
                if known is None:
                    known = _make(source, recipe, cfg, clean, tokenizer_cfg, tokenizer, report, chunk_bytes)
        except OSError as e:
            raise assets.cache_error(e, f"storing the tokens of {source.label}") from e
    known.manifest["label"] = source.label
    if damage:
        known.warnings.append(f"the stored tokens were damaged ({damage}) and have been built again")
    return known


def stored_in(dataset: Dataset) -> Path:
    """The folder in the cache that holds a prepared text."""
    return assets.cache_dir() / "tokens" / dataset.fingerprint


def check_length(dataset: Dataset, block_size: int) -> None:
    """Raise DataError unless both parts are long enough for one window of `block_size` tokens and its labels."""
    train, val = len(dataset.train), len(dataset.val)
    where = f"{dataset.manifest['label']}, {dataset.manifest['n_characters']:,} characters"
    if train < block_size + 1:
        shorter = f"model.block_size={train - 1} or less" if train > 2 else ""
        raise DataError(
            f"the training part has {train:,} tokens, at least block_size+1 = {block_size + 1:,} are needed",
            where=where,
            fix=[shorter, "a longer text: data=PATH"],
        )
    if val < 2:
        raise DataError(
            f"the validation part has {val:,} tokens, at least 2 are needed",
            where=where,
            fix=["a larger share of the text: data.val_fraction=0.3", "a longer text: data=PATH"],
        )


def check_part(name: str, n_tokens: int, block_size: int) -> None:
    """Raise DataError unless one of several texts has a window of `block_size` tokens and its labels."""
    if n_tokens < block_size + 1:
        raise DataError(
            f"the training part of {name} has {n_tokens:,} tokens, at least block_size+1 = {block_size + 1:,} are"
            " needed",
            where="data.sources",
            fix=["leave it out", f"model.block_size={n_tokens - 1} or less" if n_tokens > 2 else ""],
        )


def _recipe(
    source: Source,
    cfg: DataConfig,
    clean: CleanConfig,
    tokenizer_cfg: TokenizerConfig,
    tokenizer: Tokenizer | None,
) -> str:
    """SHA-256 of all that decides the tokens and what is said of them: files, reading, cleaning, split, tokenizer."""
    settings = asdict(cfg)
    for free in ("path", "source", "sources", "val_path", "include", "exclude", "pack", "shuffle"):
        del settings[free]  # the files themselves are what they choose
    how = tokenizer.fingerprint if tokenizer else asdict(tokenizer_cfg)
    unknown = tokenizer.unknown if tokenizer else tokenizer_cfg.unknown
    try:
        content, withheld = _content(source), [_content(text) for text in files.withheld(cfg, clean)]
    except OSError as e:
        raise files.unreadable(e, source.files[0].path) from None
    parts = [
        RECIPE_VERSION,
        store.SCHEMA_VERSION,
        content,
        source.parts,
        source.val_from,
        settings,
        asdict(clean) | {"decontaminate": withheld},
        how,
        unknown,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _content(source: Source) -> list[list[Any]]:
    """What the files are: kind, and content or, where that is much, place, size and time of change."""
    status = [file.path.stat() for file in source.files]
    if sum(s.st_size for s in status) > HASHED_BYTES:
        return [
            [file.kind, file.packed, str(file.path.absolute()), s.st_size, s.st_mtime_ns]
            for file, s in zip(source.files, status, strict=True)
        ]
    found = []
    for file in source.files:
        with file.path.open("rb") as content:
            found.append([file.kind, file.packed, hashlib.file_digest(content, "sha256").hexdigest()])
    return found


def _note_path(recipe: str) -> Path:
    return assets.cache_dir() / "recipes" / f"{recipe}.json"


def _known(recipe: str, tokenizer_cfg: TokenizerConfig, tokenizer: Tokenizer | None) -> tuple[Dataset | None, str]:
    """The data set that a recipe made before, if it is whole; else what is damaged, nothing if it is not there."""
    try:
        note = json.loads(_note_path(recipe).read_bytes())
        if note[DIGEST] != digest_of(note) or not re.fullmatch("[0-9a-f]{64}", note["key"]):
            return None, ""
        folder = assets.cache_dir() / "tokens" / note["key"]
        said = store.Said(**{f.name: note[f.name] for f in fields(store.Said)})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None, ""
    manifest, damage = store.check(folder)
    if manifest is None:
        return None, damage
    try:
        tokenizer = tokenizer or load_tokenizer(folder, tokenizer_cfg.unknown)
    except CheckpointError as e:
        return None, e.what
    if tokenizer.fingerprint != manifest["tokenizer"]:
        return None, "tokenizer.json is of another tokenizer"
    return store.load(folder, manifest, tokenizer, said), ""


def _make(
    source: Source,
    recipe: str,
    cfg: DataConfig,
    clean: CleanConfig,
    tokenizer_cfg: TokenizerConfig,
    tokenizer: Tokenizer | None,
    report: Progress,
    chunk_bytes: int,
) -> Dataset:
    """Read, split and encode; then commit the data set, and the note that says which recipe it is of."""
    tokens = assets.cache_dir() / "tokens"
    _remove_litter(assets.cache_dir())
    with store.temporary_folder(tokens / recipe) as temporary:
        collected = collect(source, cfg, clean, temporary / "text", report, chunk_bytes)
        corpus = collected.corpus
        split = divide(corpus, cfg, source, collected.groups)
        if tokenizer is None:
            n_bytes = int(corpus.sizes.sum(dtype=np.int64) * (1 - cfg.val_fraction))
            learnt = partial(_learnt, split, report)
            tokenizer = build_tokenizer(tokenizer_cfg, corpus.characters, learnt, n_bytes)
        parts = _parts(corpus, split, cfg, tokenizer, source.label)
        key = store.key_of(parts)
        manifest = {"schema_version": store.SCHEMA_VERSION, "key": key, **parts, "label": source.label}
        manifest |= {"tokenizer_kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        manifest |= {"dtype": store.id_dtype(tokenizer.vocab_size).str, "n_characters": corpus.n_characters}
        manifest |= {"n_documents": corpus.n_documents, "n_equal": corpus.n_equal, "split": split.reason}
        manifest["cuts_document"] = split.cuts
        manifest |= {"characters": corpus.character_counts}
        _encode(split, tokenizer, temporary, manifest, report)
        shutil.rmtree(temporary / "text")
        store.write_json(temporary / "tokenizer.json", tokenizer.stored())
        store.write_json(temporary / store.MANIFEST, sealed(manifest))
        store.commit(temporary, tokens / key)
    stored, damage = store.check(tokens / key)
    if stored is None:
        raise DataError(f"stored tokens of {source.label} were damaged at once: {damage}", where=str(tokens / key))
    notes, warnings = [*collected.notes, *tokenizer.notes], collected.warnings
    if only_val := stored["characters_only_in_val"]:
        warnings.append(f"{only_val} characters occur only in the validation part, so they cannot be learnt")
    said = store.Said(source.names, notes, warnings, collected.cleaning, list(source.parts))
    make_directories(_note_path(recipe).parent)
    write(_note_path(recipe), json.dumps(sealed({"key": key, **asdict(said)})).encode())
    return store.load(tokens / key, stored, tokenizer, said)


def _remove_litter(cache: Path) -> None:
    """What processes have left that were killed while they wrote a single file; folders are the store's business."""
    # Not in unfinished folders, which would be younger for it, and stay
    for folder in (cache / "recipes", cache / "texts", cache / "downloads", *cache.glob("tokens/[!.]*")):
        with contextlib.suppress(OSError):  # a folder of another process may be gone by now
            store.remove_stale(list(folder.glob(LITTER)))


def _learnt(split: Split, report: Progress) -> Iterator[str]:
    """The training part, from which a vocabulary may be learnt."""
    done = 0
    for piece in split.pieces():
        done += len(piece.text)
        if piece.split == TRAIN:
            yield piece.text
            report("learning tokens from", min(1.0, done / split.corpus.n_characters))
    report("learning tokens from", 1.0)


def _parts(corpus: Corpus, split: Split, cfg: DataConfig, tokenizer: Tokenizer, label: str) -> dict[str, Any]:
    """What decides the ids: their hash names the data set. One text that is split by position needs no more than
    its content, so that such names stay what they always were."""
    parts: dict[str, Any] = {
        "content_sha256": corpus.sha256,
        "tokenizer": tokenizer.fingerprint,
        "val_fraction": cfg.val_fraction,
        "unknown": _unknown_mode(tokenizer, corpus.characters, label),
    }
    if corpus.n_documents > 1 and (tokenizer.eos is not None or split.val is not None):
        parts["documents_sha256"] = corpus.documents_sha256
    if split.val is not None:
        parts["val_documents_sha256"] = hashlib.sha256(np.packbits(split.val).tobytes()).hexdigest()
    return parts


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


def _encode(split: Split, tokenizer: Tokenizer, folder: Path, manifest: dict[str, Any], report: Progress) -> None:
    """Write the tokens of both splits, and into the manifest what is counted on the way."""
    writers: list[store.SplitWriter] = []
    try:
        writers += [store.SplitWriter(folder, name, tokenizer.vocab_size) for name in store.SPLITS]
        seen = [CharacterCounts() for _ in writers]
        done = 0
        for pieces in _batched(split.pieces()):
            own = [piece.text[piece.begins_at or 0 :] for piece in pieces]  # without the line feed that joins two
            for piece, text, ids in zip(pieces, own, tokenizer.encode_many(own), strict=True):
                _write(piece, text, ids, writers[piece.split], tokenizer)
                seen[piece.split].add(piece.text)
                done += len(piece.text)
            report("encoding", min(1.0, done / manifest["n_characters"]))
        report("encoding", 1.0)
        counts = [dict(counts.most_common()) for counts in seen]
        unknown = tokenizer.missing("".join(counts[0] | counts[1])) if manifest["unknown"] != "none" else ""
        manifest["characters_only_in_val"] = len(counts[1].keys() - counts[0].keys())
        manifest["splits"] = {
            name: {**writer.close(), "unknown": sum(seen.get(c, 0) for c in unknown)}
            for name, writer, seen in zip(store.SPLITS, writers, counts, strict=True)
        }
    finally:
        for writer in writers:
            writer.abort()


def _batched(pieces: Iterator[Allotted]) -> Iterator[list[Allotted]]:
    batch: list[Allotted] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= ENCODED_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(piece: Allotted, text: str, ids: np.ndarray, writer: store.SplitWriter, tokenizer: Tokenizer) -> None:
    """A piece's tokens. Where a document begins, the one before ends: with the token for that, or a line feed."""
    if piece.begins_at is not None:
        writer.end()
        if tokenizer.eos is not None:
            if writer.n_tokens:
                writer.add("", np.array([tokenizer.eos]))
        elif lead := piece.text[: piece.begins_at]:
            writer.add(lead, tokenizer.encode(lead))
        writer.mark(piece.file)
    if text:
        writer.add(text, ids)
