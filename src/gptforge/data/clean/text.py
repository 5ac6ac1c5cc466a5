"""Rules that mend the characters of one document: encoding, normal forms, line ends, control characters, blanks.

Each is a pure function of a text and the number of examples wanted, doing its work once (a second time changes
nothing), and leaves alone what is ordinary text in any script: joiners in Persian and Indic words and in emoji,
direction marks in Hebrew and Arabic, zero-width spaces in Thai and Khmer, ideographic spaces at the begin of a line.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Literal

from gptforge.data.clean.events import Change, Sample, excerpt
from gptforge.errors import ConfigError

Form = Literal["NFC", "NFKC"]

_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")

# Escape sequences of terminals are one piece: without its escape, "[31m" would stay behind as text. Tabs, line
# feeds, carriage returns and form feeds (which old source code has between its parts) are no rubbish.
_OF_FIRST_PLANE = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufdd0-\ufdef\ud800-\udfff\ufffe\uffff"
_OF_OTHER_PLANES = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(1, 17))
_CONTROL = re.compile(rf"\x1b\[[0-?]*[ -/]*[@-~]|[{_OF_FIRST_PLANE}{_OF_OTHER_PLANES}]")
_MAY_HAVE_CONTROL = re.compile(f"[{_OF_FIRST_PLANE}]"), re.compile("[\U00010000-\U0010ffff]")  # found ten times as fast
_ASCII_CONTROL = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\v\f\r")

_ZERO_WIDTH = "\u00ad\u200b\u2060-\u2064\u206a-\u206f\ufff9-\ufffb"  # and tags, but for those in flags
_TAGS = "\U000e0000-\U000e007f"
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"  # England, Scotland, Wales: a black flag spelt out in tags
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
_INVISIBLE = re.compile(
    f"(?P<kept>{_FLAG}|(?<=[{_NO_SPACES}])\u200b|\u200b(?=[{_NO_SPACES}]))"
    f"|(?<=[!-~])[{_ZERO_WIDTH}{_TAGS}\u200c\u200d]+(?=[!-~])"  # joiners join nothing between ASCII signs
    f"|[{_ZERO_WIDTH}{_TAGS}]"
)
_MAY_BE_INVISIBLE = re.compile(f"[{_ZERO_WIDTH}\u200c\u200d]"), re.compile(f"[{_TAGS}]")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)

_BLANK = "[^\\S\r\n\f\v\x1c-\x1f\x85\u2028\u2029]"
_TRAILING = re.compile(f"(?<!{_BLANK}){_BLANK}++(?=[\r\n]|\\Z)")  # looks at each run of blanks once
_BLANK_LINES = re.compile("((?:\r?\n){3})(?:\r?\n)+")
_AROUND = re.compile("\\A(?:\r?\n)+|(?<=\n)(?:\r?\n)+\\Z")


def mended(text: str, examples: int) -> Change:
    """Text that was decoded in the wrong encoding ("schÃ¶n" for "schön"), mended by ftfy, then in the form NFC.

    Signs that are meant as they are stay: HTML entities, ligatures, wide forms, curly quotes. Lines are the places
    that are counted. Raises ConfigError without ftfy.
    """
    return _by_lines(text, mender(), examples)


def normalized(text: str, examples: int, form: Form) -> Change:
    """The Unicode normal form NFC or NFKC. Lines are the places that are counted.

    NFC has one sequence for characters that are equal; NFKC also replaces look-alikes: wide signs as in Chinese
    punctuation, ligatures, superscripts.
    """
    if unicodedata.is_normalized(form, text):
        return Change(text)
    return _by_lines(text, lambda line: unicodedata.normalize(form, line), examples)


def _by_lines(text: str, mend: Callable[[str], str], examples: int) -> Change:
    """A text with each line that has more than ASCII replaced by what `mend` makes of it."""
    if text.isascii():
        return Change(text)
    lines = text.split("\n")
    position = amount = 0
    samples: list[Sample] = []
    for i, line in enumerate(lines):
        if not line.isascii() and (new := mend(line)) != line:
            lines[i] = new
            amount += 1
            if len(samples) < examples:
                differs = next((n for n, (a, b) in enumerate(zip(line, new, strict=False)) if a != b), 0)
                samples.append(Sample(position + differs, excerpt(line, differs)))
        position += len(line) + 1
    return Change("\n".join(lines), amount, tuple(samples))


def with_line_feeds(text: str, examples: int) -> Change:
    """Every line end as a line feed: CR LF, CR, and Unicode's next line, line and paragraph separators."""
    if not any(end in text for end in "\r\x85\u2028\u2029"):
        return Change(text)
    return _replaced(_LINE_END, "\n", text, examples)


def without_control_characters(text: str, examples: int) -> Change:
    """Without control characters, escape sequences of terminals, byte order marks, non-characters and surrogates."""
    if text.isascii() and len(text.encode().translate(None, _ASCII_CONTROL)) == len(text):
        return Change(text)
    if not any(pattern.search(text) for pattern in _MAY_HAVE_CONTROL):
        return Change(text)
    return _replaced(_CONTROL, "", text, examples)


def without_invisible(text: str, examples: int) -> Change:
    """Without characters that show nothing and may hide something: zero-width ones, tags, changes of direction.

    Marks of direction stay in a document that has right-to-left letters, zero-width spaces beside letters of scripts
    that need them to part words (Thai, Lao, Burmese, Khmer), joiners everywhere but between ASCII signs.
    """
    if text.isascii():
        return Change(text)
    direction = Change(text) if _RIGHT_TO_LEFT.search(text) else _replaced(_DIRECTION, "", text, examples)
    rest = direction.text
    if not any(pattern.search(rest) for pattern in _MAY_BE_INVISIBLE):
        return direction
    found = [m for m in _INVISIBLE.finditer(rest) if not m["kept"]]
    if not found:
        return direction
    samples = tuple(Sample(m.start(), excerpt(rest, m.start())) for m in found[: examples - len(direction.samples)])
    cleaned = _INVISIBLE.sub(lambda m: m["kept"] or "", rest)
    return Change(cleaned, direction.amount + len(found), direction.samples + samples)


def without_needless_blanks(text: str, examples: int) -> Change:
    """Without blanks at line ends, blank lines at begin and end, and more than two blank lines in a row."""
    rules: list[tuple[re.Pattern[str], str]] = []
    if not text.isascii() or text[-1:] in " \t" or any(blank + end in text for blank in " \t" for end in "\r\n"):
        rules.append((_TRAILING, ""))
    if rules or "\n\n\n\n" in text or "\n\r\n" in text:  # a line of blanks alone has just become a blank line
        rules.append((_BLANK_LINES, r"\1"))
    if rules or text.startswith(("\n", "\r\n")) or text.endswith(("\n\n", "\n\r\n")):
        rules.append((_AROUND, ""))
    amount = 0
    samples: tuple[Sample, ...] = ()
    for pattern, replacement in rules:
        change = _replaced(pattern, replacement, text, examples - len(samples))
        text, amount, samples = change.text, amount + change.amount, samples + change.samples
    return Change(text, amount, samples)


def _replaced(pattern: re.Pattern[str], replacement: str, text: str, examples: int) -> Change:
    if not pattern.search(text):
        return Change(text)
    places = (m.start() for m in islice(pattern.finditer(text), examples))
    samples = tuple(Sample(place, excerpt(text, place)) for place in places)
    return Change(*pattern.subn(replacement, text), samples)


@cache
def mender() -> Callable[[str], str]:
    """What mends a line of text. Raises ConfigError without ftfy."""
    try:
        import ftfy
    except ImportError:
        raise ConfigError(
            "clean.unicode=fix needs the package ftfy", fix=["pip install 'gptforge[clean]'", "clean.unicode=nfc"]
        ) from None
    how = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization="NFC",
        explain=False,
    )
    return lambda line: ftfy.fix_text(line, how)
