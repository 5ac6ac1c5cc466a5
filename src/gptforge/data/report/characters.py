"""Which characters a text has: by class and script, the most frequent, the strangest. Knows counts only."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN = 24
SCRIPTS = 12
_NAMES = {"\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\t": "TAB"}
_OF_CATEGORY = {
    "Ll": "small letters",
    "Lu": "capital letters",
    "Lt": "capital letters",
    "L": "other letters",
    "M": "marks on letters",
    "N": "digits and numbers",
    "P": "punctuation",
    "S": "symbols",
    "Z": "blanks",
    "Cc": "control characters",
    "Cf": "invisible characters",
    "C": "private or unassigned",
}
_NO_SCRIPT = {"MODIFIER", "FULLWIDTH", "HALFWIDTH", "MATHEMATICAL", "FEMININE", "MASCULINE", "MICRO", "SCRIPT"}
_NO_SCRIPT |= {"DOUBLE-STRUCK", "BLACK-LETTER", "OHM", "KELVIN", "ANGSTROM", "SQUARED", "CIRCLED"}

Counted = Sequence[tuple[str, int]]  # characters and how often each occurs, most frequent first


def character_facts(counted: Counted) -> dict[str, Any]:
    """Classes and scripts with their shares of a text's characters and of its letters; JSON values."""
    classes: Counter[str] = Counter()
    scripts: Counter[str] = Counter()
    for character, n in counted:
        classes[_class(character)] += n
        if script := _script(character):
            scripts[script] += n
    return {
        "different_characters": len(counted),
        "character_classes": _shares(classes.most_common()),
        "scripts": _shares(scripts.most_common())[:SCRIPTS],
        "frequent_characters": _named(counted[:SHOWN]),
        "rare_characters": _named(_strange(counted)),
    }


def _class(character: str) -> str:
    if character in "\n\r\u2028\u2029":
        return "line ends"
    if character == "\t":
        return _OF_CATEGORY["Z"]
    if character == "\ufffd":
        return "replaced, were not readable"
    category = unicodedata.category(character)
    return _OF_CATEGORY.get(category) or _OF_CATEGORY[category[0]]


def _script(character: str) -> str:
    """The script of a letter: the first word of its Unicode name, as Python knows no property of that name."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    word = unicodedata.name(character, "other").partition(" ")[0]
    return "other" if word in _NO_SCRIPT or not word[0].isalpha() else word.capitalize() if word != "CJK" else word


def _shares(counted: Iterable[tuple[str, int]]) -> list[list[Any]]:
    counts = list(counted)
    total = max(1, sum(n for _, n in counts))
    return [[name, n, round(n / total, 6)] for name, n in counts]


def _strange(counted: Counted) -> Counted:
    """The rarest characters, those first that a text seldom means to have: controls, private use, U+FFFD."""

    def order(entry: tuple[str, int]) -> tuple[bool, int]:
        odd = unicodedata.category(entry[0]) in ("Cc", "Cf", "Co", "Cn") and entry[0] not in "\n\t\r"
        return (not (odd or entry[0] == "\ufffd"), entry[1])

    return sorted(counted, key=order)[:SHOWN]


def _named(counted: Counted) -> list[list[Any]]:
    return [[c, n, _NAMES.get(c) or unicodedata.name(c, f"U+{ord(c):04X}")] for c, n in counted]
