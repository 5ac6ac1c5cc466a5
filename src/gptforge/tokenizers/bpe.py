"""Byte-level BPE (Sennrich et al. 2016, Radford et al. 2019): any text in few tokens, and back without loss.

Encoding is the work of two libraries of the extra `bpe`, imported when they are needed: `tokenizers`, and for long
texts tiktoken where it is installed and certain to give the same ids, three times as fast. Knows nothing of training.
"""

import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice
from types import ModuleType
from typing import Any, Self

import numpy as np

from gptforge import assets
from gptforge.errors import UserError
from gptforge.tokenizers.base import Tokenizer, checked_ids, halves, id_dtype, to_utf8, unknown_character
from gptforge.tokenizers.byte_level import ALPHABET, GPT2_PATTERN, pieces, spelled_bytes
from gptforge.tokenizers.vocabulary import CHAT_MARKERS, END_NAMES, END_OF_TEXT, MAX_UNUSED, Vocabulary

SPECIAL_TOKENS = (END_OF_TEXT, *CHAT_MARKERS)  # of a tokenizer trained here
PIECE = 1 << 15  # characters encoded at once where a text may be cut
GROUP = 1 << 20  # characters in one call of `tokenizers`, which holds about 80 bytes for each meanwhile
LONG = 1 << 14  # characters from which on preparing tiktoken is worth its tenth of a second

_REQUIRED = {"bpe": SPECIAL_TOKENS, "gpt2": (END_OF_TEXT,), "hf": ()}
_BLANKS = 10_000  # in a row; tiktoken gives up at about a million
_MANY_BLANKS = re.compile(rf"\s{{{_BLANKS}}}")
_LOOK = 100  # characters that are looked at in each _BLANKS, before all are
# Signs, scripts, white space of every kind: what a lossy step would change
_SIGNS = (
    "  a  b\r\n\n\t c12345 \u00a0\u2029\u3000 e\u0301 \u00e9 \ufb01 \u6f22\u5b57 \u0e44\u0e17\u0e22 \U0001f642\u200d"
)
_PROBE = "".join(map(chr, range(256))) + _SIGNS + "\u2581\u0120 \u0130 \u00df \ufeff" + END_OF_TEXT


class BPETokenizer(Tokenizer):
    """Encodes with a Vocabulary; the kinds differ only in where it comes from.

    A special token stands for no bytes, so it decodes to nothing: bits per byte then divide by the bytes of the
    text alone, the same for every tokenizer, while the loss of a predicted end of text still counts; and a text that
    is streamed never shows a marker that its reader could not tell from written text. For the same reason no text
    is encoded as a special token, whatever it contains: whoever wants one uses its id. `bos` is None because
    <|endoftext|> is learnt only between texts: an empty prompt better begins with a line break.
    """

    def __init__(self, kind: str, vocabulary: Vocabulary, unknown: str = "error", notes: Sequence[str] = ()) -> None:
        """Raises ValueError for a vocabulary that lacks what its kind has, or that does not give texts back."""
        self.kind, self.vocabulary, self.unknown, self.notes = kind, vocabulary, unknown, tuple(notes)
        self.special = vocabulary.special
        lacking = [name for name in _REQUIRED[kind] if name not in self.special]
        if lacking:
            raise ValueError(f"it lacks the special token {lacking[0]}")
        self.vocab_size = len(vocabulary.tokens)
        self.eos = next((self.special[name] for name in END_NAMES if name in self.special), None)
        self._bytes = vocabulary.bytes_of_tokens()
        self._merges = _Merges(vocabulary)
        self._lacking = re.compile(f"[{vocabulary.lacking}]") if vocabulary.lacking else None
        if self._lacking and kind != "hf":
            raise ValueError("it lacks some of the 256 bytes, so there are texts that it cannot write")
        probe = self._lacking.sub("", _PROBE) if self._lacking else _PROBE
        if self.decode(self.encode(probe)) != probe:
            raise ValueError("it does not give texts back as they were")

    @cached_property
    def _ranks(self) -> "_Ranks | None":
        return _Ranks.of(self.vocabulary, self._merges)

    def encode(self, text: str) -> np.ndarray:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        whole = [self._writable(to_utf8(text, self.unknown).decode()) for text in texts]
        may_cut = self.vocabulary.has_gpt2_words
        parts = [list(pieces(text, PIECE)) if may_cut else [text] for text in whole]
        is_long = sum(map(len, whole)) >= LONG
        encoder = (self._ranks if is_long else None) or self._merges
        encoded = encoder.encode([piece for cut in parts for piece in cut])
        return [np.concatenate(list(islice(encoded, len(cut)))).astype(id_dtype(self.vocab_size)) for cut in parts]

    def _writable(self, text: str) -> str:
        """The text without the characters that the vocabulary lacks. Raises DataError unless `unknown` leaves them out
        or replaces them."""
        if self._lacking is None or not (found := self._lacking.search(text)):
            return text
        if self.unknown == "error":
            raise unknown_character(found[0], f"character {found.start() + 1:,} of the text")
        return self._lacking.sub("" if self.unknown == "skip" else "?", text)

    def missing(self, characters: str) -> str:
        return halves(characters) + ("".join(self._lacking.findall(characters)) if self._lacking else "")

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        return b"".join([self._bytes[i] for i in checked_ids(ids, self.vocab_size).tolist()])

    def token_bytes(self) -> np.ndarray:
        return np.array([len(content) for content in self._bytes], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.vocabulary.to_dict()}

    def padded(self, vocab_size: int) -> Self:
        """The same with ids up to `vocab_size` that stand for nothing: many a model has some rows more than its
        tokenizer tokens, to make it fast. Raises ValueError for more than a vocabulary may have."""
        more = vocab_size - self.vocab_size
        if more > MAX_UNUSED:
            raise ValueError(f"{more:,} ids of the model would stand for nothing")
        wider = replace(self.vocabulary, tokens=[*self.vocabulary.tokens, *[None] * more])
        notes = [*self.notes, f"{more:,} ids of the model stand for no token"] if more else self.notes
        return type(self)(self.kind, Vocabulary.checked(wider.to_dict()), self.unknown, notes)

    @classmethod
    def from_dict(cls, stored: dict[str, Any], unknown: str) -> Self:
        """The tokenizer of a to_dict(). Raises ValueError for what is none."""
        return cls(stored["kind"], Vocabulary.checked(stored), unknown)


def gpt2(unknown: str = "error") -> BPETokenizer:
    """The tokenizer of GPT-2: 50,257 tokens. Raises DataError when its merges can be neither found nor fetched."""
    library_tokenizers()  # without it nothing need be fetched
    _, *merges = assets.gpt2_file("vocab.bpe").decode().splitlines()
    return BPETokenizer("gpt2", Vocabulary.of(merges, [END_OF_TEXT]), unknown)


class _Merges:
    """The package `tokenizers`, which merges the pairs of a word in the order of the vocabulary's merges."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = {token: i for i, token in enumerate(vocabulary.tokens) if token is not None} | vocabulary.added
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        merges = [merge.split(" ") for merge in vocabulary.merges]
        model = {"type": "BPE", "vocab": ids, "merges": merges, "ignore_merges": vocabulary.ignore_merges}
        content = {
            "version": "1.0",
            "added_tokens": [{"id": i, "content": content, **flags} for content, i in vocabulary.added.items()],
            "pre_tokenizer": vocabulary.words,
            "model": model,
        }
        library = library_tokenizers()
        try:
            self._tokenizer = library.Tokenizer.from_str(json.dumps(content))
        except Exception as e:  # it has no kind of its own
            raise ValueError(f"the package tokenizers refuses it: {e}") from None

    def encode(self, parts: Sequence[str]) -> Iterator[np.ndarray]:
        """The ids of each part, on all cores."""
        group, size = [], 0
        for n, part in enumerate(parts, 1):
            group.append(part)
            size += len(part)
            if size >= GROUP or n == len(parts):
                for encoding in self._tokenizer.encode_batch_fast(group, add_special_tokens=False):
                    yield np.array(encoding.ids, dtype=np.uint32)
                group, size = [], 0

    def makes(self, token: str) -> bool:
        """Whether the bytes of a token, as one word, become that token."""
        return len(self._tokenizer.model.tokenize(token)) == 1


class _Ranks:
    """The package tiktoken, which merges the two neighbours whose bytes together are the token that was made first."""

    def __init__(self, ranks: dict[bytes, int], ids: np.ndarray, merges: _Merges) -> None:
        """`ids` (len(ranks),) are the vocabulary's for each rank."""
        import tiktoken

        self._encoding = tiktoken.Encoding("", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
        self._ids, self._merges = ids, merges

    @classmethod
    def of(cls, vocabulary: Vocabulary, merges: _Merges) -> Self | None:
        """None where tiktoken is not installed or might give other ids.

        It knows tokens, not merges. Both do the same as long as every token is made by one merge only and comes
        out of its own bytes: before the first difference, two neighbours would be joined that make a token but are no
        merge; what happened between their ends is what happens to that token's bytes alone, and so, alone, the token
        would not come out.
        """
        made = [merge.replace(" ", "", 1) for merge in vocabulary.merges]
        if not vocabulary.has_gpt2_words or vocabulary.ignore_merges or len(set(made)) != len(made):
            return None
        if importlib.util.find_spec("tiktoken") is None or not all(map(merges.makes, made)):
            return None
        ids = {token: i for i, token in enumerate(vocabulary.tokens)}
        in_order = [*ALPHABET, *made]
        ranks = {spelled_bytes(token): rank for rank, token in enumerate(in_order)}
        return cls(ranks, np.array([ids[token] for token in in_order], dtype=np.uint32), merges)

    def encode(self, parts: Sequence[str]) -> Iterator[np.ndarray]:
        """The ids of each part, on all cores."""
        with ThreadPoolExecutor(_cores()) as pool:
            return iter(list(pool.map(self._encode, parts)))

    def _encode(self, part: str) -> np.ndarray:
        if _has_many_blanks(part):
            return next(self._merges.encode([part]))
        return self._ids[self._encoding.encode_to_numpy(part, disallowed_special=())]


def _has_many_blanks(text: str) -> bool:
    """Whether the text has _BLANKS blanks in a row. They cover one of the places looked at first, wherever they are:
    the search itself costs a tenth of encoding, and only one thread can search at a time."""
    places = range(0, len(text) - _LOOK + 1, _BLANKS - _LOOK)
    return any(text[at : at + _LOOK].isspace() for at in places) and _MANY_BLANKS.search(text) is not None


def library_tokenizers() -> ModuleType:
    """The package `tokenizers`. Raises UserError where it is not installed."""
    # Set, so that it does not warn of deadlocks in every process that is forked later; those do not encode
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        raise UserError(
            "this tokenizer needs the package tokenizers, which is not installed",
            fix=["pip install 'gptforge[bpe]'", "tokenizer=char or tokenizer=byte, which need no package"],
        ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
