"""Finds telephone numbers; knows how countries write them, and no subscriber.

A number with its country's code, or in a layout that only telephone numbers have, counts by itself; one in a layout
that other numbers share counts when no number stands next to it, and a mere run of digits after a word that says so.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from gptforge.data.clean.personal import words
from gptforge.data.clean.personal.identities import any_of, bounded
from gptforge.data.clean.personal.view import Span, View, apart

# ITU-T E.164: the codes of countries and networks, and how many digits follow where that is fixed
_COUNTRY = re.compile(
    r"1|7|2(?:0|7|1[12368]|[2-5]\d|6\d|9[01789])|3(?:[0-469]|5\d|7[0-8]|8[0-35-79])|4(?:[013-9]|2[013])|"
    r"5(?:[1-8]|0\d|9\d)|6(?:[0-6]|7[02-9]|8[0-35-9]|9[0-2])|8(?:[1246]|0[08]|5[02356]|7[08]|8[0-368])|"
    r"9(?:[0-58]|6[0-8]|7[0-79]|9[2-68])"
)
_LENGTHS = {
    **{"1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9), "32": (8, 9)},
    **{"33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (8, 11), "41": (9, 9), "43": (7, 12), "44": (9, 10)},
    **{"45": (8, 8), "46": (7, 10), "47": (8, 8), "48": (9, 9), "49": (7, 12), "52": (10, 11), "54": (10, 11)},
    **{"55": (10, 11), "60": (8, 10), "61": (9, 9), "62": (8, 12), "63": (9, 10), "64": (8, 10), "65": (8, 8)},
    **{"66": (8, 9), "81": (9, 10), "82": (8, 10), "84": (9, 10), "86": (9, 11), "90": (10, 10), "91": (10, 10)},
    **{"351": (9, 9), "353": (7, 9), "358": (6, 11), "420": (9, 9), "852": (8, 8), "853": (8, 8), "886": (8, 9)},
    **{"971": (8, 9), "972": (8, 9)},
}
_ANY_LENGTH = (7, 12)

_INTERNATIONAL = re.compile(rb"\+(?<![0Aa_+]\+)(?P<found>\(?0[0 ().\-/]{6,30})")
_DOUBLE_ZERO = re.compile(r"00(?<![0-9A-Za-z_]00)(?<![0-9][-.]00)(?<!\+00)(?P<found>[1-689][0-9 ().-]{8,30})")
_EXTENSION = re.compile(r"(?:,? ?(?:x|ext\.?|extension|转|分机) ?\d{1,6}|-\d{1,6})(?![0-9A-Za-z_-])", re.IGNORECASE)
_UNIT = re.compile(
    r" ?(?:bytes?|[kMGT]?B|[nmµ]?s|rows?|items?|times|people|元|次|个(?!人)|人|年|条|行|字节|美元|万|亿)(?![A-Za-z])"
)
_IN_SUM = re.compile(r"(?:[#=$¥€£&%@^*\\~+-]|(?<!\d)/)\s?\Z|[$¥€£]\d*\Z")
_IN_CODE = re.compile(
    r"(?:[0-9_\])\"'.]|[=,] )[(\[]\Z|[A-Za-z]\[\Z|[`\[{]\s*\Z|[\"']\s*:\s*\Z|[\])\"'],\s*\Z|"
    r"(?<!\d)(?!1\d{10}\D)\d+,\s*\Z|\d{12} \Z"
)
_NUMBER_BEFORE, _NUMBER_AFTER = re.compile(rb"0[ \t]{1,3}\Z"), re.compile(rb"[ \t]{1,3}[0.+(-]?0")
_CN_MOBILE = re.compile(r"1(?:3\d|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])\d{8}")
_CN_AREA = re.compile(r"(?:010|02[0-5789])[2-8]\d{7}|0[3-9]\d\d[2-8]\d{6,7}")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-./ ]\d\d?(?:[-./ ]\d\d?)?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d|"
    r"(?:19|20)\d\d[-/ ](?:19|20)\d\d)(?!\d)"
)


# What may not follow: letters and digits but those of an extension (x12, ext12), or a sign that goes on with digits
_RIGHT = rb"(?![0A_]|a(?!0{1,6}(?![0Aa_])|aa\.?0{1,6}(?![0Aa_]))|[-.]0|\+0)"


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to write numbers that a country has; `check` gets the digits alone."""

    pattern: re.Pattern[bytes]
    check: Callable[[str], object]
    bare: bool = False  # a mere run of digits: no unit behind it, no sign of a sum or a path before it


def _bounded(layout: bytes) -> re.Pattern[bytes]:
    return bounded(layout, _RIGHT)


def _starts(prefixes: str, low: int, high: int) -> Callable[[str], object]:
    """A check: what the digits begin with (a regular expression) and how many there are."""
    pattern = re.compile(prefixes)
    return lambda digits: low <= len(digits) <= high and pattern.match(digits)


def _pairs(digits: str) -> bool:
    """A French number, rather than a sequence such as 01 02 03 04 05."""
    numbers = [int(digits[i : i + 2]) for i in range(0, 10, 2)]
    return digits[1] != "0" and len({b - a for a, b in pairwise(numbers)}) > 1


def _bare_mobile(digits: str) -> bool:
    """A Chinese mobile number, rather than a size in bytes: a multiple of a mebibyte."""
    return _CN_MOBILE.fullmatch(digits) is not None and int(digits) % (1 << 20) != 0


def _with_86(digits: str) -> bool:
    """A Chinese mobile number with its country's code but no +."""
    return digits.startswith("86") and _CN_MOBILE.fullmatch(digits, 2) is not None


def _landline_with_86(digits: str) -> bool:
    return digits.startswith("86") and _CN_AREA.fullmatch("0" + digits[2:].removeprefix("0")) is not None


def _brazilian(digits: str) -> bool:
    """Area and number, rather than a number and a span of years."""
    return "0" not in digits[:2] and not (digits[2:4] in ("19", "20") and digits[-4:-2] in ("19", "20"))


def _bare_national(digits: str) -> bool:
    """Ten digits that begin as mobile numbers of France, Taiwan or Australia do, and are no ISBN."""
    isbn = sum(int(d) * w for d, w in zip(digits, range(10, 0, -1), strict=True)) % 11 == 0
    return re.match("0[4679]", digits) is not None and not isbn


_NANP = _starts(r"1?[2-9]", 10, 11)
SURE = (
    Layout(_bounded(rb"(?:\(00\)|00)[ -]?(?:0{11}|000[ -]0000[ -]0000)"), _with_86),
    Layout(_bounded(rb"(?:\(00\) ?|00-)0{2,4}-(?:0{7,8}|0{3,4}[ -]0{4})"), _landline_with_86),
    Layout(_bounded(rb"0{11}"), _bare_mobile, bare=True),
    Layout(_bounded(rb"000-0000-0000|000\.0000\.0000|000-00000000|0000-000-0000|000 0000-0000"), _CN_MOBILE.fullmatch),
    Layout(_bounded(rb"(?:0[ .-]?)?\(000\)[ -]?000[-. ]?0000|(?:0[-. ])?000-000-0000"), _starts("[1-9]", 10, 11)),
    Layout(_bounded(rb"(?:0\.)?000\.000\.0000|(?:0[- ])?000 000-0000|0-000-000 0000"), _NANP),
    Layout(_bounded(rb"(?:0{3,4}-|\(0{3,4}\) ?-?)(?:0{7,8}|0{3,4}[- ]0{4})"), _CN_AREA.fullmatch),
    Layout(_bounded(rb"(?:0{3,4}-|\(0{3,4}\))0{7,8}-0{1,6}"), _CN_AREA.match),
    Layout(_bounded(rb"00{1,4}-0{2,4}-0{3,4}"), _starts("0[1-9]", 10, 11)),
    Layout(_bounded(rb"\(00{1,4}\)[ -]?0{2,4}[- ]?0{3,6}"), _starts("0[1-9]", 9, 11)),
    Layout(_bounded(rb"00{2,4}-0{5,8}"), _starts("0[1-9]", 10, 12)),
    Layout(_bounded(rb"00-0{7,8}"), _starts("0[2-8]", 9, 10)),
    Layout(_bounded(rb"00{2,4}\.0{3}\.0{3,4}"), _starts("0[1-9]", 10, 11)),
    Layout(_bounded(rb"\(00\) ?0{4,5}-0000"), _starts("[1-9][1-9]", 10, 11)),
    Layout(_bounded(rb"\(000\) ?0000[- ]?0000"), _starts("85[23]|886", 11, 11)),
    Layout(_bounded(rb"000-0000-000|0000-000-000|000-0{7}"), _starts("[48]00", 10, 10)),
    Layout(_bounded(rb"0[ -]?\(?000\)?[ -]?000[ -]00[ -]00"), _starts("8[3-9]", 11, 11)),
    Layout(_bounded(rb"00(?P<s>[.-])00(?P=s)00(?P=s)00(?P=s)00"), lambda d: d[0] == "0" and _pairs(d)),
    Layout(_bounded(rb"00{2,4}/ ?0{5,8}"), _starts("0[1-9]", 9, 12)),
)
ALONE = (
    Layout(_bounded(rb"000 000 0000|0 000 000 0000"), _NANP),
    Layout(_bounded(rb"000 0000 0000|000 0{8}|0{7} 0000|0000 000 0000"), _CN_MOBILE.fullmatch),
    Layout(_bounded(rb"0{3,4} 0{7,8}|0{3,4} 0{3,4} 0{4}"), _CN_AREA.fullmatch),
    Layout(_bounded(rb"00{2,4} 0{3,4} 0{3,4}|00{4} 0{5,6}"), _starts("0[1-9]", 10, 11)),
    Layout(_bounded(rb"00 0{4,5}-0000"), _brazilian),
    Layout(_bounded(rb"00{2,3} 0{6,8}"), _starts("0[1-9]", 10, 12)),
    Layout(_bounded(rb"00 0000 0000"), _starts("0[2-9]", 10, 10)),
    Layout(_bounded(rb"0000 000 000"), _starts("1[38]00|04", 10, 10)),
    Layout(_bounded(rb"00 00 00 00 00"), lambda d: d[0] == "0" and _pairs(d)),
    Layout(_bounded(rb"0{11}"), _starts("0[1-9](?!2?3456)", 11, 11), bare=True),
    Layout(_bounded(rb"0{10}"), _bare_national, bare=True),
)
_ANY = any_of(layout.pattern for layout in (*SURE, *ALONE))
_SAID = _bounded(rb"\(?0++\)?(?:[ .\-/]{1,3}\(?0{2,}+\)?|(?<=\))0{2,}+){0,5}")


def find(view: View) -> Iterator[Span]:
    """Spans of numbers: those that are sure first, then those that need to stand alone."""
    regions = list(view.number_regions())
    if not regions:
        return
    likely = [region for region in regions if _ANY.search(view.shape, *region)]
    sure = list(apart(chain(_international(view), _in_layouts(view, likely, SURE), _said(view, regions))))
    yield from sure
    rest = view.without(sorted((start, end) for _, start, end in sure))
    yield from apart(chain(_double_zero(rest), _in_layouts(rest, likely, ALONE, alone=True)))


def _in_layouts(
    view: View, regions: list[tuple[int, int]], layouts: tuple[Layout, ...], alone: bool = False
) -> Iterator[Span]:
    for layout in layouts:
        for region in regions:
            for match in layout.pattern.finditer(view.shape, *region):
                start, end = match.span("found")
                if alone and not _stands_alone(view.shape, start, end):
                    continue
                if not layout.check(_digits(view.text[start:end])) or not _may_be(view, start, end, layout.bare):
                    continue
                if end := _with_extension(view, end):
                    yield "phone", start, end


def _may_be(view: View, start: int, end: int, bare: bool) -> bool:
    """Whether what stands around a number does not speak against it."""
    before = view.before(start)
    hint = words.nearest(before, words.PHONE, words.OTHER_FOR_PHONES)
    if hint or words.IN_IDENTIFIER.search(before):
        return hint > 0
    if not bare:
        return not before.endswith("/")
    if _UNIT.match(view.text, end) or _IN_SUM.search(before):
        return False
    return not _IN_CODE.search(before) or re.search(r"[\u4e00-\u9fff]", before + view.text[end : end + 24]) is not None


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


def _double_zero(view: View) -> Iterator[Span]:
    """0049 30 1234567 and 008613800138000."""
    for match in _DOUBLE_ZERO.finditer(view.text):
        start, end = match.span("found")
        end = _international_end(view.text, start, end)
        if not end or not _stands_alone(view.shape, match.start(), end):
            continue
        plain = view.text[start:end].isdigit() and not view.text.startswith("861", start)
        if plain or words.IN_IDENTIFIER.search(view.before(match.start())):
            continue
        if end := _with_extension(view, end):
            yield "phone", match.start(), end


def _international_end(text: str, start: int, end: int) -> int:
    """Where the number that begins with a country's code ends; 0 when it is none."""
    groups = [(m.start(), m.end(), m[0]) for m in re.finditer(r"\d+", text[start:end])]
    code = _COUNTRY.match("".join(g[2] for g in groups))
    if code is None:
        return 0
    low, high = _LENGTHS.get(code[0], _ANY_LENGTH)
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
    return start + best if best and not decimal else 0


def _said(view: View, regions: list[tuple[int, int]]) -> Iterator[Span]:
    """Any number of 7 to 13 digits after a word such as "phone"; after "call" only one that looks more like it."""
    for region in regions:
        for match in _SAID.finditer(view.shape, *region):
            start, end = match.span("found")
            if view.text[start] == "(" and ")" not in view.text[start : end - 1]:
                start, end = start + 1, end - (view.text[end - 1] == ")")
            written = view.text[start:end]
            digits = _digits(written)
            if not 7 <= len(digits) <= 13 or _DATE.match(written) or written.count("(") != written.count(")"):
                continue
            before = view.before(start)
            sure = words.nearest(before, words.PHONE, words.OTHER_FOR_PHONES) > 0
            if not sure and ((written.isdigit() and len(digits) < 10) or not words.CALL.search(before)):
                continue
            if end := _with_extension(view, end):
                yield "phone", start, end


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
