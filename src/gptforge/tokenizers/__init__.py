"""The kinds of tokenizer by name: built for a text, or loaded from a folder that may come from anyone."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gptforge.config.data import TokenizerConfig
from gptforge.errors import CheckpointError, DataError
from gptforge.tokenizers.base import FILE_NAME, SCHEMA_VERSION, StreamDecoder, Tokenizer, read_json
from gptforge.tokenizers.bpe import BPETokenizer, gpt2
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer
from gptforge.tokenizers.hf import read_hf
from gptforge.tokenizers.mask import MaskedTokenizer
from gptforge.tokenizers.train_bpe import Texts, train

__all__ = ["FILE_NAME", "StreamDecoder", "Tokenizer", "build_tokenizer", "load_tokenizer"]

_KINDS = {"char": CharTokenizer, "byte": ByteTokenizer, **dict.fromkeys(("bpe", "gpt2", "hf"), BPETokenizer)}


def no_texts() -> Iterator[str]:
    """For kinds that are not made out of the text itself."""
    return iter(())


def build_tokenizer(
    cfg: TokenizerConfig, characters: Iterable[str] = "", texts: Texts = no_texts, n_bytes: int = 0
) -> Tokenizer:
    """The tokenizer that a config asks for, for texts of these characters.

    `texts` gives what may be learnt from, `n_bytes` in UTF-8, at each call anew: the training part, never the
    validation part. Raises DataError when characters, file or network do not give a vocabulary, UserError without
    the package that it needs.
    """
    kinds = {
        "char": lambda: CharTokenizer(characters, cfg.unknown),
        "byte": lambda: ByteTokenizer(cfg.unknown),
        "bpe": lambda: train(texts, n_bytes, cfg.vocab_size, cfg.unknown),
        "gpt2": lambda: gpt2(cfg.unknown),
        "hf": lambda: read_hf(Path(cfg.path or ""), cfg.unknown),
    }
    return kinds[cfg.kind]()


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
    masked = stored.get("kind") == MaskedTokenizer.kind
    stored = stored.get("of") if masked else stored
    kind = stored.get("kind") if isinstance(stored, dict) else None
    if not isinstance(stored, dict) or not isinstance(kind, str) or kind not in _KINDS:
        raise _error(f"holds a tokenizer of the kind {kind!r:.40}; known are {', '.join(_KINDS)}", path)
    try:
        found = _KINDS[kind].from_dict(stored, unknown)
    except (ValueError, DataError) as e:
        raise _error(f"is damaged: {e}", path) from None
    return MaskedTokenizer(found) if masked else found


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise _error("is missing", path) from None
    except OSError as e:
        raise _error(f"cannot be read: {e.strerror}", path) from None
    except ValueError as e:
        raise _error(str(e), path) from None


def _error(what: str, path: Path) -> CheckpointError:
    return CheckpointError(f"{FILE_NAME} {what}", where=str(path), fix="another checkpoint: ckpt=PATH")
