"""The alphabet of byte-level BPE, and how its texts are cut into words before anything is merged.

GPT-2 (Radford et al. 2019) spells each of the 256 bytes with a visible character of its own, so that vocabularies are
plain text: a space is "Ġ". Knows no vocabulary and imports no library.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Printable bytes stand for themselves; the others follow from U+0100 on, in their order.
_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))
_OTHERS = tuple(b for b in range(256) if b not in _PRINTABLE)
BYTES = {chr(b): b for b in _PRINTABLE} | {chr(256 + n): b for n, b in enumerate(_OTHERS)}
ALPHABET = tuple(BYTES)  # in the order of GPT-2's ids 0 to 255

# GPT-2's words: letters, digits or other signs, each with the space before them, and white space by itself.
GPT2_WORDS: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"  # the same words

_BEHAVIORS = ("Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
# Where white space follows anything else, one of GPT-2's words ends, whatever comes before and after.
_WORD_END = re.compile(r"(?<=\S)\s")


def spelled_bytes(token: str) -> bytes:
    """The bytes of a token that is spelled with the alphabet. Raises KeyError for any other character."""
    return bytes([BYTES[c] for c in token])


def pieces(text: str, size: int) -> Iterator[str]:
    """The text in pieces of about `size` characters, cut where GPT-2's words end: their ids are those of the whole."""
    begin = 0
    while len(text) - begin > size:
        end = _WORD_END.search(text, begin + size)
        if end is None:
            break
        yield text[begin : end.start()]
        begin = end.start()
    yield text[begin:]


def checked_words(stored: Any) -> dict[str, Any]:
    """A pre-tokenizer of a tokenizer.json, what it has to have and no more.

    Raises ValueError unless it ends in the byte alphabet and leaves every byte of a text where it is.
    """
    steps = stored.get("pretokenizers") if _kind(stored) == "Sequence" else [stored]
    if not isinstance(steps, list) or not steps or [_kind(step) == "ByteLevel" for step in steps].count(True) != 1:
        raise ValueError("it is no byte-level BPE: its pre_tokenizer has no ByteLevel")
    checked = [_checked_step(step) for step in steps]
    if checked[-1]["type"] != "ByteLevel":
        raise ValueError("its pre_tokenizer has steps after ByteLevel")
    return checked[0] if len(checked) == 1 else {"type": "Sequence", "pretokenizers": checked}


def _checked_step(step: Mapping[str, Any]) -> dict[str, Any]:
    match _kind(step):
        case "ByteLevel":
            if step.get("add_prefix_space") is not False:
                raise ValueError("it puts a space before each text: add_prefix_space is not false")
            use_regex = step.get("use_regex", True)
            if not isinstance(use_regex, bool):
                raise ValueError("use_regex of its pre_tokenizer is neither true nor false")
            return {**GPT2_WORDS, "use_regex": use_regex}
        case "Digits":
            return {"type": "Digits", "individual_digits": step.get("individual_digits") is True}
        case "Punctuation":
            return {"type": "Punctuation", "behavior": _behavior(step)}
        case "Split":
            return _checked_split(step)
        case other:
            raise ValueError(f"its pre_tokenizer has a step {other!r:.40}, which may lose bytes of a text")


def _checked_split(step: Mapping[str, Any]) -> dict[str, Any]:
    pattern = step.get("pattern")
    name, text = next(iter(pattern.items())) if isinstance(pattern, dict) and len(pattern) == 1 else ("", None)
    if name not in ("Regex", "String") or not isinstance(text, str):
        raise ValueError("a Split of its pre_tokenizer has no pattern")
    invert = step.get("invert") is True
    if step.get("behavior") == "Removed" and invert:
        # What the pattern leaves out would be lost. Such patterns leave nothing out; should this one, it is kept.
        return {"type": "Split", "pattern": {name: text}, "behavior": "Isolated", "invert": False}
    return {"type": "Split", "pattern": {name: text}, "behavior": _behavior(step), "invert": invert}


def _behavior(step: Mapping[str, Any]) -> str:
    behavior = step.get("behavior")
    if behavior not in _BEHAVIORS:
        raise ValueError(f"a {step['type']} of its pre_tokenizer has the behavior {behavior!r:.40}, which loses text")
    return behavior


def _kind(step: Any) -> Any:
    return step.get("type") if isinstance(step, dict) else None
