"""What every tokenizer can do, how it is stored, and how a stream of tokens becomes text.

Knows of no particular kind of tokenizer, and nothing of data sets, models or checkpoints.
"""

import codecs
import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from gptforge.errors import DataError

FILE_NAME = "tokenizer.json"
SCHEMA_VERSION = 1
MAX_FILE_BYTES = 40_000_000  # the largest in use, 200,000 tokens of many scripts, has 28 MB
MAX_VALUES = (
    4_000_000  # texts, numbers, lists and tables in it; each takes up to 60 bytes of memory, the largest has 1M
)

# Only halves of surrogate pairs cannot be written as UTF-8; they come from mangled input, never from a valid file.
_HALVES = {"error": "strict", "skip": "ignore", "replace": "replace"}


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type that holds every id of a vocabulary: uint16, or uint32 beyond 65,536 tokens; little-endian."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class Tokenizer(Protocol):
    """Text to token ids and back.

    `vocab_size` counts the ids 0 .. vocab_size-1; `bos` and `eos` are the ids that stand for the begin and the
    end of a text, None where there are none; `unknown` (error, skip or replace) is how this object treats
    what it has no token for, and is no part of what is stored; `special` are the tokens that no text is encoded as, by
    name; `notes` say what was decided as it was made.
    """

    kind: str
    vocab_size: int
    bos: int | None = None
    eos: int | None = None
    unknown: str = "error"
    special: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, (n,) in `id_dtype(vocab_size)`. Raises DataError for what it has no token for."""

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text; a kind that can does it on all cores."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def missing(self, characters: str) -> str:
        """Those of the characters that it has no token for."""

    @abstractmethod
    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        """The UTF-8 bytes that ids (n,) stand for; they may begin or end within a character."""

    @abstractmethod
    def token_bytes(self) -> np.ndarray:
        """How many bytes of UTF-8 each token stands for, (vocab_size,) int64; summed over a text's ids, its bytes."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything that decides the ids, as JSON values: what `fingerprint` is over and what is stored."""

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids (n,); bytes that are no UTF-8 become U+FFFD. Raises ValueError for an id outside."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex: equal for tokenizers that give every text the same ids."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def stored(self) -> dict[str, Any]:
        """What tokenizer.json holds."""
        return {"schema_version": SCHEMA_VERSION, **self.to_dict()}


def to_utf8(text: str, unknown: str) -> bytes:
    """The UTF-8 of a text. Raises DataError for half a character, unless `unknown` skips or replaces it ('?')."""
    try:
        return text.encode("utf-8", _HALVES[unknown])
    except UnicodeEncodeError as e:
        raise DataError(
            f"half a character, {text[e.start]!a}, cannot be written as UTF-8",
            where=f"character {e.start + 1:,} of the text",
            fix=["tokenizer.unknown=skip (leave such characters out)", "tokenizer.unknown=replace (put a '?')"],
        ) from None


def unknown_character(character: str, where: str) -> DataError:
    """The error for a character that the vocabulary lacks."""
    return DataError(
        f"the vocabulary has no character {character!r} (U+{ord(character):04X})",
        where=where,
        fix=["tokenizer.unknown=skip (leave such characters out)", "tokenizer.unknown=replace (put a stand-in)"],
    )


def halves(characters: str) -> str:
    """Those of the characters that are halves of surrogate pairs."""
    return "".join(c for c in characters if "\ud800" <= c <= "\udfff")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that may come from anyone. Raises OSError, and ValueError that says what it is not."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than any tokenizer ({MAX_FILE_BYTES:,} bytes)")
    if sum(map(content.count, b"[{,")) > MAX_VALUES:
        raise ValueError(f"has more values than any tokenizer ({MAX_VALUES:,})")
    try:
        stored = json.loads(content.decode())
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets, thousands deep
        raise ValueError("is damaged: no JSON") from None
    if not isinstance(stored, dict):
        raise ValueError("is damaged: no JSON object")
    return stored


def checked_ids(ids: Iterable[int] | np.ndarray, vocab_size: int) -> np.ndarray:
    """Ids as an integer array (n,). Raises ValueError when one is not of the vocabulary."""
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= vocab_size:
        raise ValueError(f"token ids must be whole numbers from 0 to {vocab_size - 1}")
    return array


class StreamDecoder:
    """Ids in portions of any size to text that is safe to show: no character is ever cut in two."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text that is complete with these ids; a begun character is held back."""
        return self._utf8.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        """What is still held back, as U+FFFD; the decoder is then as new."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest
