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

# Tags between a word and its number: those of pages say nothing by their names, those of records do (<phone>)
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)((?:\s[^<>]*)?)/?>")
_OF_PAGES = re.compile(  # elements of HTML
    r"a|abbr|address|article|b|bdi|body|br|cell|center|code|col|dd|div|dl|dt|em|font|footer|h[1-6]|header|i|kbd|label|li|"
    r"main|mark|nav|nobr|ol|option|p|pre|q|s|section|small|span|strong|sub|sup|table|tbody|td|th|thead|tr|tt|ul?",
    re.IGNORECASE,
)
_NAMING = re.compile(r"(?:class|id|name|itemprop|data-\w+)=[\"']?([\w -]{2,40})")


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
        if not text.isascii():
            text = _ODD.sub(lambda match: _PLAIN[match[0]], text)
        raw = text.encode("ascii", "replace")
        return cls(text, raw.translate(_SHAPE), raw.lower())

    def without(self, spans: Iterable[tuple[int, int]]) -> "View":
        """The view in which these spans are gone; they are sorted and do not overlap."""
        text, shape, lower, done = [], [], [], 0
        for start, end in spans:
            gone = GONE * (end - start)
            text += [self.text[done:start], gone]
            shape += [self.shape[done:start], gone.encode()]
            lower += [self.lower[done:start], gone.encode()]
            done = end
        if not done:
            return self
        return View(
            "".join([*text, self.text[done:]]),
            b"".join([*shape, self.shape[done:]]),
            b"".join([*lower, self.lower[done:]]),
        )

    def before(self, start: int, length: int = 48) -> str:
        """What `length` characters before an index say: tags become the words in them, another < or > ends it."""
        window = self.text[max(0, start - length) : start]
        if ">" in window:
            window = self.text[max(0, start - 2 * length) : start]
            window = _TAG.sub(lambda tag: self._said_by(tag, start), window)
        return window[max(window.rfind("<"), window.rfind(">")) + 1 :]

    def _said_by(self, tag: re.Match[str], start: int) -> str:
        """The words of a tag before an index. One in capitals is a stand-in such as <PHONE> unless it is closed."""
        closing, name, attributes = tag.groups()
        stands_in = name.isupper() and len(name) > 1 and not closing and not attributes
        if stands_in and f"</{name}>" not in self.text[start : start + 64]:
            return tag[0]
        if closing or _OF_PAGES.fullmatch(name):
            naming = _NAMING.search(attributes)
            return f" {naming[1]} " if naming else " "
        return f" {name} "

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
