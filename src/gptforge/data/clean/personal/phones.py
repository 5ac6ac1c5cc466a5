"""Finds telephone numbers; knows no subscriber, and leaves to others how countries write and number them.

A number with its country's code, or in a layout that only telephone numbers have, counts by itself; one in a layout
that other numbers share counts when no number stands next to it, and a mere run of digits after a word that says so.
"""

import re
from collections.abc import Iterator
from itertools import chain

from gptforge.data.clean.personal import layouts, numbering, words
from gptforge.data.clean.personal.columns import SEPARATORS, Columns
from gptforge.data.clean.personal.layouts import Layout
from gptforge.data.clean.personal.view import Span, View, apart

_INTERNATIONAL = re.compile(rb"\+(?<![0Aa_+]\+)(?P<found>\(?0[0 ().\-/]{6,30})")
_DOUBLE_ZERO = re.compile(
    r"0(?:0(?<![0-9A-Za-z_]00)(?<![0-9][-.,:]00)(?<!\+00)[ -]?|11(?<![0-9A-Za-z_]011)(?<![0-9][-.,:]011) )"
    r"(?P<found>[1-689][0-9 ().-]{8,30})"
)
_EXTENSION = re.compile(
    r"(?:,? ?(?:x|ext\.?|extension|转|分机号?|[內内]线|durchwahl|poste|#):? ?\d{1,6}|-\d{1,6})(?![0-9A-Za-z_-])",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r" ?(?:bytes?|[kMGT]?B|[nmµ]?s|rows?|items?|times|people|clicks|[美日欧港]?元|次|个(?!人)|人|年|条|行|字节|股|份|"
    r"吨|公里|万|亿)(?![A-Za-z])"
)
_IN_SUM = re.compile(r"(?:[#=$¥€£&%@^*\\~+-]|(?<!\d)/)\s?\Z|[$¥€£]\d*\Z")
_PRICE = re.compile(r"[$¥€£]\s?\Z")
_IN_CODE = re.compile(
    r"(?:[0-9_\])\"'.]|[=,] )[(\[]\Z|[A-Za-z]\[\Z|[`\[{]\s*\Z|[\"']\s*:\s*\Z|[\])\"'],\s*\Z|"
    r"(?<!\d)(?!1\d{10}\D)\d+,\s*\Z|\d{12} \Z"
)
_NUMBER_BEFORE, _NUMBER_AFTER = re.compile(rb"0[ \t]{1,3}\Z"), re.compile(rb"[ \t]{1,3}[0.+(-]?0")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-./ ]\d\d?(?:[-./ ]\d\d?)?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d|"
    r"(?:19|20)\d\d[-/ ](?:19|20)\d\d)(?!\d)"
)
_THOUSANDS = re.compile(r"[1-4]\d{0,2}(?: \d{3})+|\d{1,2}(?: \d{3})+")
_POSITION = re.compile(r"\(?\d{1,3}\.\d+ ?[+-]\d{1,3}\.\d")  # ISO 6709: +40.7127-074.0060/
_SAID = layouts.bounded(rb"\(?0++\)?(?:[ .\-/]{1,3}\(?0{2,}+\)?|(?<=\))0{2,}+){0,5}")
_ROUND = re.compile(r"(?:\d*0 )+\d*0")  # amounts rather than a number's groups
_SENTENCE = re.compile(rb"[^0\n<>]*[Aa][^0\n<>]*")  # between numbers of one form: not the blanks of a table
_GOES_ON = (b"0", b"A", b"a", b"_")
_LIST = 48  # characters back to the number before in a list


class _Place:
    """Where numbers are looked for: a view, and what words and titles of columns say of a number in it."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._columns = Columns(view)

    def hint(self, start: int, end: int) -> int:
        """1 when something says that this is a telephone number, -1 that it is another, 0 when nothing does."""
        for before in self._said_before(start, end):
            if hint := words.nearest(before, words.PHONE, words.OTHER_FOR_PHONES):
                return hint
        return self._columns.said(start, _title)

    def called(self, start: int, end: int) -> bool:
        """Whether a word such as "call" stands before it, nearer than one that says it is another number."""
        for before in self._said_before(start, end):
            if hint := words.nearest(before, words.CALL, words.OTHER_FOR_PHONES):
                return hint > 0
        return False

    def _said_before(self, start: int, end: int) -> Iterator[str]:
        """What stands before a number, and before those that it follows in a list or with others of its form."""
        view, form = self.view, self.view.shape[start:end]
        for _ in range(4):
            yield view.before(start)
            last = _before_joint(view, start)
            if last < 0:
                last = view.shape.rfind(form, max(0, start - _LIST), start)
                between = view.shape[last + len(form) : start]
                if last < 0 or not _SENTENCE.fullmatch(between) or view.shape[last - 1 : last] in _GOES_ON:
                    return
            start = last


def _before_joint(view: View, start: int) -> int:
    """Where the number begins that is joined to one by a comma or by "or"; -1 when there is none."""
    joint = words.JOINT.search(view.text, max(0, start - 20), start)
    if joint is None or view.shape[joint.start() - 1 : joint.start()] != b"0":
        return -1
    window = view.shape[max(0, joint.start() - _LIST // 2) : joint.start()]
    number = window[len(window.rstrip(b"0 ().-/+")) :].lstrip(b" ).-/")
    return joint.start() - len(number)


def _title(title: str) -> int:
    """What the title of a column says of its numbers."""
    contact = re.fullmatch(r"contact(?:[ _]?(?:no|number))?\.?|联系人?电?话?", title, re.IGNORECASE)
    return 1 if contact else words.nearest(title, words.PHONE, words.OTHER_FOR_PHONES)


def find(view: View) -> Iterator[Span]:
    """Spans of numbers: those that are sure first, then those that need to stand alone.

    A number with a comma (in ", ext. 5") hides that its line has as many fields as the others: without it, look again.
    """
    regions = list(view.number_regions())
    if not regions:
        return
    likely = [region for region in regions if layouts.ANY.search(view.shape, *region)]
    place = _Place(view)
    sure = list(apart(chain(_international(view), _in_layouts(place, likely, layouts.SURE), _said(place, regions))))
    rest = view.without(sorted((start, end) for _, start, end in sure))
    place = _Place(rest)
    others = list(apart(chain(_double_zero(place), _in_layouts(place, likely, layouts.ALONE, alone=True))))
    yield from chain(sure, others)
    if any(sign in view.text[start:end] for _, start, end in chain(sure, others) for sign in SEPARATORS):
        yield from find(rest.without(sorted((start, end) for _, start, end in others)))


def _in_layouts(
    place: _Place, regions: list[tuple[int, int]], wanted: tuple[Layout, ...], alone: bool = False
) -> Iterator[Span]:
    view = place.view
    for layout in wanted:
        for region in regions:
            for match in layout.pattern.finditer(view.shape, *region):
                start, end = match.span("found")
                if alone and not _stands_alone(view.shape, start, end):
                    continue
                digits = _digits(view.text[start:end])
                if not layout.check(digits) or numbering.placeholder(digits):
                    continue
                if not _may_be(place, start, end, layout):
                    continue
                if end := _with_extension(view, end):
                    yield "phone", start, end


def _may_be(place: _Place, start: int, end: int, layout: Layout) -> bool:
    """Whether what stands around a number does not speak against it."""
    view = place.view
    before = view.before(start)
    hint = place.hint(start, end)
    if hint or words.IN_IDENTIFIER.search(before):
        return hint > 0
    if not layout.where(view, start, end):
        return False
    if not layout.bare:
        written = view.text[start:end]
        if words.NUMBERED.search(before):
            return False
        return not before.endswith("/") and not _PRICE.search(before) and not _ROUND.fullmatch(written)
    if _UNIT.match(view.text, end) or _IN_SUM.search(before):
        return False
    return not _IN_CODE.search(before) or layouts.in_chinese(view, start, end)


def _stands_alone(shape: bytes, start: int, end: int) -> bool:
    """Whether no number is next to it on its line."""
    return not _NUMBER_BEFORE.search(shape, max(0, start - 4), start) and not _NUMBER_AFTER.match(shape, end)


def _with_extension(view: View, end: int) -> int:
    """Where the number ends with its extension; 0 when letters follow that are none."""
    if extension := _EXTENSION.match(view.text, end):
        return extension.end()
    return 0 if view.shape[end : end + 1] in (b"a", b"A") else end


def _international(view: View) -> Iterator[Span]:
    """+86 138 0013 8000, +44 (0)20 7946 0958: a known code, and as many digits as its country has."""
    text = view.text
    for match in _INTERNATIONAL.finditer(view.shape):
        if end := _international_end(text, *match.span("found")):
            opened = text[match.start() - 1 : match.start()] == "(" and ")" in text[match.start() : end]
            if end := _with_extension(view, end):
                yield "phone", match.start() - opened, end


def _double_zero(place: _Place) -> Iterator[Span]:
    """0049 30 1234567, 00 49 30 1234567 and 008613800138000; 011 49 30 1234567 as North America dials it."""
    view = place.view
    for match in _DOUBLE_ZERO.finditer(view.text):
        start, end = match.span("found")
        end = _international_end(view.text, start, end)
        if not end or not _stands_alone(view.shape, match.start(), end):
            continue
        plain = view.text[match.start() : end].isdigit() and not view.text.startswith("861", start)
        pairs = re.fullmatch(r"00(?: \d\d)+", view.text[match.start() : end])  # bytes in a dump
        if plain or pairs or words.IN_IDENTIFIER.search(view.before(match.start())):
            continue
        if place.hint(match.start(), end) < 0:
            continue
        if end := _with_extension(view, end):
            yield "phone", match.start(), end


def _international_end(text: str, start: int, end: int) -> int:
    """Where the number that begins with a country's code ends; 0 when it is none."""
    groups = [(m.start(), m.end(), m[0]) for m in re.finditer(r"\d+", text[start:end])]
    code = numbering.COUNTRY.match("".join(g[2] for g in groups))
    if code is None:
        return 0
    low, high = numbering.LENGTHS.get(code[0], numbering.ANY_LENGTH)
    digits, best = -len(code[0]), 0
    for n, (first, last, group) in enumerate(groups):
        trunk = (
            n > 0 and group == "0" and text[start + first - 1] == "(" and text[start + last : start + last + 1] == ")"
        )
        digits += 0 if trunk else len(group)
        if low <= digits <= high + (n > 0 and groups[1][2][0] == "0" and not trunk):
            best = last
        if n + 1 < len(groups) and groups[n + 1][0] - last > 3:
            break
    written = text[start : start + best]
    follows = text[start + best : start + best + 2]
    if re.match(r"[0-9_]|[-.]\d|\+", follows) and follows.isascii():
        return 0
    decimal = written.count(".") == 1 and re.match(r"\(?\d+\.\d+", written)
    if not best or decimal or _POSITION.match(written):
        return 0
    rest = _digits(written).removeprefix(code[0])
    return start + best if numbering.foreign(code[0], rest) else 0


def _said(place: _Place, regions: list[tuple[int, int]]) -> Iterator[Span]:
    """Any number of 7 to 13 digits after a word such as "phone"; after "call" only one that looks more like it."""
    view = place.view
    for region in regions:
        for match in _SAID.finditer(view.shape, *region):
            start, end = match.span("found")
            if view.text[start] == "(" and ")" not in view.text[start : end - 1]:
                start, end = start + 1, end - (view.text[end - 1] == ")")
            if not _may_be_said(view.text[start:end]):
                continue
            hint = place.hint(start, end)
            if (hint > 0 or _called(place, start, end)) and (end := _with_extension(view, end)):
                yield "phone", start, end


def _may_be_said(written: str) -> bool:
    """Whether it has a number's length and is neither a date nor a placeholder."""
    digits = _digits(written)
    if not 7 <= len(digits) <= (15 if written.startswith("00") else 13):
        return False
    return not _DATE.match(written) and written.count("(") == written.count(")") and not numbering.placeholder(digits)


def _called(place: _Place, start: int, end: int) -> bool:
    """Whether a word such as "call" is before what looks like a number."""
    written = place.view.text[start:end]
    if not place.called(start, end):
        return False
    return numbering.plausible(written) if written.isdigit() else _THOUSANDS.fullmatch(written) is None


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
