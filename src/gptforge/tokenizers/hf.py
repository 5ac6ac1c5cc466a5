"""A tokenizer.json of the package `tokenizers`, as most published models have one, as a tokenizer of ours.

Only byte-level BPE is taken (GPT-2, Llama 3, Qwen, and most since): it alone can write every text and says of each
token which bytes it stands for. What would change a text is refused, and so is what could lose some of it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptforge.errors import DataError
from gptforge.tokenizers.base import FILE_NAME, read_json
from gptforge.tokenizers.bpe import BPETokenizer
from gptforge.tokenizers.byte_level import checked_words
from gptforge.tokenizers.vocabulary import END_NAMES, MAX_UNUSED, Vocabulary

_FIXES = (
    "a byte-level BPE, such as GPT-2's, Llama 3's or Qwen's: tokenizer.path=PATH",
    "tokenizer=bpe (trained on your text)",
)


def read_hf(path: Path, unknown: str = "error") -> BPETokenizer:
    """The tokenizer in a file, or in the tokenizer.json of a folder. Raises DataError for any that cannot be used."""
    path = path.expanduser()
    file = path / FILE_NAME if path.is_dir() else path
    try:
        return of_stored(read_json(file), unknown)
    except FileNotFoundError:
        raise DataError(f"there is no file {file}", fix="tokenizer.path=PATH of a tokenizer.json") from None
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}", fix="tokenizer.path=PATH of a tokenizer.json") from None
    except ValueError as e:
        raise DataError(f"{file} cannot be used: {e}", fix=_FIXES) from None


def of_stored(stored: Mapping[str, Any], unknown: str = "error") -> BPETokenizer:
    """That of the content of such a file. Raises ValueError for any that cannot be used."""
    return BPETokenizer("hf", Vocabulary.checked(_ours(stored)), unknown, list(_notes(stored)))


def _ours(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Its content in the form of Vocabulary.to_dict(), not yet checked but for what that form cannot say."""
    model = stored.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(kind, str):
        raise ValueError("it holds no model of a tokenizer")
    if kind == "WordPiece":
        raise ValueError("it holds a WordPiece model, as BERT's is, which loses a text's blanks, and mostly its case")
    if kind != "BPE":
        raise ValueError(f"it holds a {kind:.40} model, no byte-level BPE")
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise ValueError(f"its BPE has a {key}, so the tokens' bytes are not those of the text")
    words = checked_words(stored.get("pre_tokenizer"))
    _check_normalizers(stored.get("normalizer"))
    special, added = _added_tokens(stored.get("added_tokens"))
    return {
        "tokens": _tokens(model.get("vocab"), special | added),
        "merges": [merge if isinstance(merge, str) else _joined(merge) for merge in _list(model.get("merges"))],
        "special": special,
        "added": added,
        "words": words,
        "ignore_merges": model.get("ignore_merges") is True,
    }


def _check_normalizers(stored: Any) -> None:
    """NFC may stand there: it is left out (see _notes). Anything else would make another text."""
    for step in _normalizers(stored):
        kind = step.get("type") if isinstance(step, dict) else step
        if kind != "NFC":
            raise ValueError(f"its normalizer {kind!r:.40} changes the text")


def _normalizers(stored: Any) -> list[Any]:
    if isinstance(stored, dict) and stored.get("type") == "Sequence":
        return _list(stored.get("normalizers"))
    return [] if stored is None else [stored]


def _notes(stored: Mapping[str, Any]) -> Iterator[str]:
    if _normalizers(stored.get("normalizer")):
        yield "the tokenizer's normalisation (NFC) is left out: a text comes back as it was"


def _added_tokens(stored: Any) -> tuple[dict[str, int], dict[str, int]]:
    """The special tokens, and those that are found in a text like any other part of it."""
    special: dict[str, int] = {}
    added: dict[str, int] = {}
    for entry in _list(stored or []):
        content, token_id = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(content, str) or type(token_id) is not int:
            raise ValueError("one of its added_tokens has no content or no id")
        if entry.get("special") is True or content in END_NAMES:
            special[content] = token_id
        elif any(entry.get(flag) for flag in ("single_word", "lstrip", "rstrip")):
            raise ValueError(f"its added token {content!r:.60} takes the blanks around it")
        else:
            added[content] = token_id
    return special, added


def _tokens(vocab: Any, named: Mapping[str, int]) -> list[str | None]:
    """The tokens by id; None where the id is that of a named one, which the model may list or not, or of none."""
    if not isinstance(vocab, dict) or not all(type(i) is int for i in vocab.values()):
        raise ValueError("its vocab is no table of tokens and ids")
    ids = {i: token for token, i in vocab.items()}
    if len(ids) != len(vocab):
        raise ValueError("two of its tokens have one id")
    for content, i in named.items():
        if ids.setdefault(i, content) != content:
            raise ValueError(f"its added token {content!r:.60} has the id of another token")
    if beyond := [i for i in ids if not 0 <= i < len(ids) + MAX_UNUSED]:
        raise ValueError(f"the id {beyond[0]} is beyond its vocabulary of {len(ids):,} tokens")
    of_named = set(named.values())
    return [None if i in of_named else ids.get(i) for i in range(max(ids, default=-1) + 1)]


def _joined(merge: Any) -> str:
    if not isinstance(merge, list) or len(merge) != 2 or not all(isinstance(part, str) for part in merge):
        raise ValueError("one of its merges is no pair of tokens")
    return " ".join(merge)


def _list(stored: Any) -> list[Any]:
    if not isinstance(stored, list):
        raise ValueError("its merges, added tokens or normalizers are no list")
    return stored
