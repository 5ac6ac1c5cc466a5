"""How countries write telephone numbers without their code: layouts over a view's shape, each with its check.

One that only telephone numbers have is in SURE; one that other numbers share is in ALONE and counts when no number
stands next to it. 0 stands for any digit; knows nothing of words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from gptforge.data.clean.personal import numbering
from gptforge.data.clean.personal.identities import any_of
from gptforge.data.clean.personal.identities import bounded as bounded_by
from gptforge.data.clean.personal.numbering import starts
from gptforge.data.clean.personal.view import View

# What may not follow: letters and digits but those of an extension (x12, ext12), a sign that goes on with digits, the
# suffix of a part (-A) or of a file (.pdf)
_RIGHT = rb"(?![0A_]|a(?!0{1,6}(?![0Aa_])|aa\.?0{1,6}(?![0Aa_]))|[-.]0|\+0|-A(?!a)|\.a{2,4}0?(?![0Aa]))"
_NAME_BEFORE = re.compile(r"(?<![A-Za-zÀ-ÿ])[A-ZÀ-Þ][a-zß-ÿ]{2,}[:,]? ?\(?\Z")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_FIELD_ENDS = re.compile(r"[\"']?(?:[:;|,\t\n]|\Z)")


def bounded(layout: bytes) -> re.Pattern[bytes]:
    """A pattern that finds the layout at every start, as the group `found`; an extension may follow."""
    return bounded_by(layout, _RIGHT)


def anywhere(_view: View, _start: int, _end: int) -> bool:
    return True


def in_chinese(view: View, start: int, end: int) -> bool:
    """Whether Chinese characters stand near."""
    return _CHINESE.search(view.before(start, 24) + view.text[end : end + 24]) is not None


def after_name(view: View, start: int, _end: int) -> bool:
    """Whether a word with a capital stands right before, as a person's name would: Tomasz 530-956-050."""
    return _NAME_BEFORE.search(view.before(start, 24)) is not None


def in_record(view: View, start: int, end: int) -> bool:
    """Whether it is a field of its own on a line that also has an e-mail address: what has been found shows as <."""
    before = view.text[max(0, start - 2) : start].rstrip("\"'")[-1:]
    if not before or before not in ":;|,\t" or not _FIELD_ENDS.match(view.text, end):
        return False
    low = view.text.rfind("\n", max(0, start - 200), start) + 1 or max(0, start - 200)
    high = view.text.find("\n", end, end + 200)
    line = view.text[low : high if high >= 0 else end + 200]
    return "<<<" in line or "<EMAIL>" in line


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to write numbers; `check` gets the digits alone, `where` looks at what stands around them."""

    pattern: re.Pattern[bytes]
    check: Callable[[str], object]
    bare: bool = False  # a mere run of digits: no unit behind it, no sign of a sum or a path before it
    where: Callable[[View, int, int], bool] = anywhere


_NANP = numbering.NANP.fullmatch
_CN_MOBILE = numbering.CN_MOBILE.fullmatch
_CN_AREA = numbering.CN_AREA.fullmatch
_IT_MOBILE = numbering.IT_MOBILE.fullmatch

SURE = (
    # China
    Layout(bounded(rb"(?:\(00\)|00)[ -]?(?:0{11}|000[ -]0000[ -]0000)"), numbering.with_86),
    Layout(bounded(rb"(?:\(00\) ?|00-)0{2,4}-(?:0{7,8}|0{3,4}[ -]0{4})"), numbering.landline_with_86),
    Layout(bounded(rb"0{11}"), numbering.bare_mobile, bare=True),
    Layout(bounded(rb"000-0000-0000|000\.0000\.0000|000-00000000|0000-000-0000|000 0000-0000"), _CN_MOBILE),
    Layout(bounded(rb"0000-0000-000"), _CN_MOBILE),
    Layout(bounded(rb"(?:0{3,4}-|\(0{3,4}\) ?-?)(?:0{7,8}|0{3,4} 0{4})|(?:000-|\(0{3,4}\) ?-?)0{3,4}-0{4}"), _CN_AREA),
    Layout(bounded(rb"0000-0{3,4}-0{4}"), _CN_AREA, where=in_chinese),
    Layout(bounded(rb"(?:0{3,4}-|\(0{3,4}\))0{7,8}-0{1,6}"), numbering.CN_AREA.match),
    Layout(bounded(rb"000-0000-000|0000-000-000|000-0{7}"), starts("[48]00", 10, 10)),
    Layout(bounded(rb"\(000\) ?0000[- ]?0000"), starts("85[23]|886", 11, 11)),
    # North America
    Layout(bounded(rb"(?:0[ .-]?)?\(000\)[ -]?000[-. ]?0000"), starts("[1-9]", 10, 11)),
    Layout(bounded(rb"(?:0[-. ])?000-000-0000|(?:0\.)?000\.000\.0000|(?:0[- ])?000 000-0000|0-000-000 0000"), _NANP),
    Layout(bounded(rb"000[-/]000\.0000|000[./]000-0000"), _NANP),
    # Countries whose area codes begin with 0: Britain, Japan, Korea, Taiwan, Australia, Germany ...
    Layout(bounded(rb"00{1,4}-0{2,4}-0{3,4}"), starts("0[1-9]", 10, 11)),
    Layout(bounded(rb"00{1,3}\(0{2,4}\)0{4}"), starts("0[1-9]", 10, 10)),
    Layout(bounded(rb"0000-0{3,4}-0{4}"), numbering.ID_MOBILE.fullmatch),
    Layout(bounded(rb"\(00{1,4}\)[ -]?0{2,4}[- ]?0{3,6}|\(00{1,4}\) 0{2,4} 0{2,4} 0{2,4}"), starts("0[1-9]", 9, 12)),
    Layout(bounded(rb"00{2,4}-0{5,8}"), starts("0[1-9]", 10, 12)),
    Layout(bounded(rb"00-0{7,8}"), starts("0[2-8]", 9, 10)),
    Layout(bounded(rb"00{2,4}\.0{3}\.0{3,4}"), starts("0[1-9]", 10, 11)),
    Layout(bounded(rb"00{1,4}(?: ?/ ?| - )0{3,8}(?:[ -]0{2,5}){0,2}"), starts("0[1-9]", 9, 13)),
    Layout(bounded(rb"00{1,3}-0{2,4} 0{2,4}(?: 0{2,4})?|000-000-00-00"), starts("0[1-9]", 9, 11)),
    Layout(bounded(rb"00(?P<s>[.-])00(?P=s)00(?P=s)00(?P=s)00"), lambda d: d[0] == "0" and numbering.in_pairs(d)),
    # Brazil, Poland, Russia, Italy
    Layout(bounded(rb"\(00\) ?0{4,5}-0000"), starts("[1-9][1-9]", 10, 11)),
    Layout(bounded(rb"\(00\) ?000[ -]00[ -]00"), starts("[1-9][1-9]", 9, 9)),
    Layout(bounded(rb"0[ -]?\(?000\)?[ -]?000[ -]00[ -]00"), starts("8[3-9]", 11, 11)),
    Layout(bounded(rb"000/0{6,7}"), _IT_MOBILE),
)
ALONE = (
    Layout(bounded(rb"000 000 0000|0 000 000 0000"), _NANP),
    Layout(bounded(rb"000 0000 0000|000 0{8}|0{7} 0000|0000 000 0000|0000 0000 000"), _CN_MOBILE),
    Layout(bounded(rb"0{3,4} 0{7,8}|0{3,4} 0{3,4} 0{4}"), _CN_AREA),
    Layout(bounded(rb"000 000 0000"), starts("[48]00", 10, 10), where=in_chinese),
    Layout(bounded(rb"00{2,4} 0{3,4} 0{3,4}|00{4} 0{5,6}"), starts("0[1-9]", 10, 11)),
    Layout(bounded(rb"00{2,4} 0{3,8}-0{1,4}"), starts("0[2-9]", 8, 13)),
    Layout(bounded(rb"00 0{4,5}-0000"), numbering.brazilian),
    Layout(bounded(rb"00{1,3} 0{5,8}"), starts("0[1-9]", 9, 12)),
    Layout(bounded(rb"00 0000 0000"), starts("0[2-9]", 10, 10)),
    Layout(bounded(rb"00 000 0000"), starts("0[1-9]", 9, 9)),
    Layout(bounded(rb"0000 000 000"), starts("1[38]00|04", 10, 10)),
    Layout(bounded(rb"00{1,3} 000 00 00|0000 00 00 00"), lambda d: d[0] == "0" and numbering.in_pairs(d)),
    Layout(bounded(rb"00 00 00 00 00"), lambda d: d[0] == "0" and numbering.in_pairs(d)),
    Layout(bounded(rb"000[ -]0{6,7}|000 000 0{3,4}|000 00 00 000"), _IT_MOBILE, where=after_name),
    Layout(bounded(rb"000-000-000"), starts("[5-8]", 9, 9), where=after_name),
    Layout(bounded(rb"0{5} 0{5}"), starts("[6-9]", 10, 10), where=after_name),
    Layout(bounded(rb"0{11}"), starts("0[1-9](?!2?3456)", 11, 11), bare=True),
    Layout(bounded(rb"0{10}"), numbering.bare_national, bare=True),
    Layout(bounded(rb"0{10}"), _NANP, bare=True, where=in_record),
)
ANY = any_of(layout.pattern for layout in (*SURE, *ALONE))
