"""A byte-level vocabulary: what decides the ids of every text, as JSON values, and whether it is whole.

It may come from anyone: nothing in it is believed. Knows no file and imports no library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from gptforge.tokenizers.byte_level import ALPHABET, BYTES, GPT2_WORDS, checked_words, spelled_bytes

END_OF_TEXT = "<|endoftext|>"
# Bytes that SmolLM2's vocabulary does without: of control characters, of planes of Unicode that are empty, of no UTF-8
MAY_LACK = frozenset({*range(0x20), 0x7F, 0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)} - set(b"\t\n\r"))
MAX_UNUSED = 1000  # ids that stand for nothing; some published vocabularies keep a few for later
END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>")  # of published vocabularies
CHAT_MARKERS = ("<|im_start|>", "<|im_end|>")  # around each turn of a conversation (ChatML)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, spelled with the byte alphabet, and the merges that make them, the first ones first.

    `tokens` has None where the id is that of a `special` token, which no text is encoded as, of an `added` one,
    which is found in a text before anything is merged, or of none. `words` is the pre-tokenizer that cuts a text into
    what is merged; with `ignore_merges` a word that is a token is taken whole.
    """

    tokens: list[str | None]
    merges: list[str]
    special: dict[str, int]
    added: dict[str, int]
    words: dict[str, Any]
    ignore_merges: bool

    @classmethod
    def of(cls, merges: Iterable[str], special: Iterable[str]) -> Self:
        """GPT-2's arrangement: the 256 bytes, then what each merge makes, then the special tokens."""
        merges = list(merges)
        tokens: list[str | None] = [*ALPHABET, *(merge.replace(" ", "", 1) for merge in merges)]
        ids = {content: len(tokens) + n for n, content in enumerate(special)}
        return cls([*tokens, *([None] * len(ids))], merges, ids, {}, GPT2_WORDS, False)

    @classmethod
    def checked(cls, stored: Mapping[str, Any]) -> Self:
        """That of a to_dict(). Raises ValueError that says what is wrong with it."""
        tokens: Any = stored.get("tokens")
        merges: Any = stored.get("merges")
        special, added = (_checked_named(stored.get(name), name) for name in ("special", "added"))
        if not isinstance(tokens, list) or not all(token is None or isinstance(token, str) for token in tokens):
            raise ValueError("its tokens are no list of texts")
        _check_ids(tokens, special, added)
        _check_tokens([token for token in tokens if token is not None])
        _check_merges(merges, {token for token in tokens if token is not None})
        if not isinstance(ignore_merges := stored.get("ignore_merges"), bool):
            raise ValueError("its ignore_merges is neither true nor false")
        return cls(tokens, merges, special, added, checked_words(stored.get("words")), ignore_merges)

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def lacking(self) -> str:
        """The characters that it cannot write, as the inside of a class of a regular expression."""
        lacking = {BYTES[letter] for letter in BYTES.keys() - set(filter(None, self.tokens))}
        ranges = [f"\\x{byte:02x}" for byte in sorted(lacking) if byte < 0x80]
        planes = {0xF1: r"\U00040000-\U0007ffff", 0xF2: r"\U00080000-\U000bffff"}
        ranges += [characters for byte, characters in planes.items() if byte in lacking]
        return "".join(ranges)

    @property
    def has_gpt2_words(self) -> bool:
        """Whether a text is cut as GPT-2 cuts it, so that `byte_level.pieces` are encoded as the whole."""
        return self.words == GPT2_WORDS and not self.added

    def bytes_of_tokens(self) -> list[bytes]:
        """What each id stands for; a special token for nothing."""
        found = [spelled_bytes(token or "") for token in self.tokens]
        for content, token_id in self.added.items():
            found[token_id] = content.encode()
        return found


def _checked_named(stored: Any, name: str) -> dict[str, int]:
    """The special or added tokens."""
    if not isinstance(stored, dict) or any(not isinstance(i, int) or isinstance(i, bool) for i in stored.values()):
        raise ValueError(f"its {name} tokens are no table of texts and ids")
    try:
        "".join(stored).encode()
    except UnicodeEncodeError:
        raise ValueError(f"its {name} tokens have half a character") from None
    if "" in stored:
        raise ValueError(f"one of its {name} tokens is empty")
    return stored


def _check_ids(tokens: list[str | None], special: dict[str, int], added: dict[str, int]) -> None:
    named = [*special.values(), *added.values()]
    beyond = [i for i in named if not 0 <= i < len(tokens)]
    if beyond:
        raise ValueError(f"the id {beyond[0]} is beyond its vocabulary of {len(tokens):,} tokens")
    if both := added.keys() & set(tokens):
        raise ValueError(f"its added token {min(both)!r:.60} is an ordinary one too")
    if len(set(named)) != len(named) or any(tokens[i] is not None for i in named):
        raise ValueError("one of its ids stands for two tokens")
    if tokens.count(None) - len(named) > MAX_UNUSED:
        raise ValueError(f"more than {MAX_UNUSED:,} of its ids stand for nothing")


def _check_tokens(tokens: list[str]) -> None:
    strange = next((token for token in tokens if not token or not BYTES.keys() >= set(token)), None)
    if strange is not None:
        raise ValueError(f"its token {strange!r:.60} is not spelled in bytes")
    if len(set(tokens)) != len(tokens):
        raise ValueError("it has a token twice")
    if lacking := {BYTES[letter] for letter in BYTES.keys() - set(tokens)} - MAY_LACK:
        raise ValueError(f"it lacks {len(lacking)} of the 256 bytes, so there are texts that it cannot write")


def _check_merges(merges: Any, tokens: set[str]) -> None:
    if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
        raise ValueError("its merges are no list of texts")
    for n, merge in enumerate(merges, 1):
        left, _, right = merge.partition(" ")
        if left not in tokens or right not in tokens or left + right not in tokens:
            raise ValueError(f"its merge {n:,}, {merge!r:.60}, does not make one token of two")
    if len(set(merges)) != len(merges):
        raise ValueError("it has a merge twice")
