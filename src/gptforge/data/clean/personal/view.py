"""One text in the forms that the detectors of personal data search; knows nothing of what they look for.

A regular expression that begins with a class of characters looks at every character, about 15 ns each; one that
begins with a literal jumps to it, below 1 ns. So digits and letters are searched in a text in which all digits are 0.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Span = tuple[str, int, int]  # kind, start, end

GONE = "<"  # stands for characters that another finding holds: no pattern matches it or reaches over it
_SHAPE = bytes(b"0aA"[(c >= 97) + 2 * (65 <= c < 91)] if chr(c).isalnum() and c < 128 else c for c in range(256))

# Full-width forms, spaces of odd widths and dashes, each with the ASCII character that a person reads it as
_WIDE = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@+-.():/_#=[]"
_PLAIN = {chr(ord(c) + 0xFEE0): c for c in _WIDE}
_PLAIN |= dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " ")
_PLAIN |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d", "-")
_ODD = re.compile("[" + "".join(map(re.escape, _PLAIN)) + "]")
_DIGITS = re.compile(rb"0[0 ().+/-]{5,}")


@dataclass(frozen=True, slots=True)
class View:
    """A text and its forms, all of one length, so that an index means the same in each and in the original.

    `text` has ASCII for full-width forms, odd spaces and dashes. `shape` has 0 for a digit, A and a for a letter and
    ? for what is not ASCII; `lower` is in lower case.
    """

    text: str
    shape: bytes
    lower: bytes

    @classmethod
    def of(cls, text: str) -> "View":
        return cls._of_plain(text if text.isascii() else _ODD.sub(lambda match: _PLAIN[match[0]], text))

    @classmethod
    def _of_plain(cls, text: str) -> "View":
        raw = text.encode("ascii", "replace")
        return cls(text, raw.translate(_SHAPE), raw.lower())

    def without(self, spans: Iterable[tuple[int, int]]) -> "View":
        """The view in which these spans are gone; they are sorted and do not overlap."""
        pieces, done = [], 0
        for start, end in spans:
            pieces += [self.text[done:start], GONE * (end - start)]
            done = end
        return View._of_plain("".join([*pieces, self.text[done:]])) if pieces else self

    def before(self, start: int, length: int = 48) -> str:
        """At most `length` characters before an index, back to the nearest < or >."""
        window = self.text[max(0, start - length) : start]
        return window[max(window.rfind("<"), window.rfind(">")) + 1 :]

    def number_regions(self) -> Iterator[tuple[int, int]]:
        """Where at least six digits stand close together, with room around for the letters of an identity number."""
        start, end = -1, -1
        for match in _DIGITS.finditer(self.shape):
            if match[0].count(b"0") < 6:
                continue
            if match.start() - end > 16:
                if end >= 0:
                    yield start, end
                start = max(0, match.start() - 6)
            end = match.end() + 6
        if end >= 0:
            yield start, end


def occurrences(haystack: bytes, needle: bytes) -> Iterator[int]:
    """Where the needle begins, without those that overlap."""
    at = haystack.find(needle)
    while at >= 0:
        yield at
        at = haystack.find(needle, at + len(needle))


def apart(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans without those that overlap an earlier one, in linear time."""
    taken = bytearray()
    for kind, start, end in spans:
        taken.extend(bytes(max(0, end - len(taken))))
        if taken.find(1, start, end) < 0:
            taken[start:end] = b"\x01" * (end - start)
            yield kind, start, end
