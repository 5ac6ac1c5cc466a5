"""Numbering plans: could these digits be a telephone number of some country? Knows nothing of where they stand.

Sources: ITU-T E.164 and the national plans it lists; the layouts of digits are not looked at.
"""

import re
from collections.abc import Callable
from itertools import pairwise

# ITU-T E.164: the codes of countries and networks, and how many digits follow where that is fixed
COUNTRY = re.compile(
    r"1|7|2(?:0|7|1[12368]|[2-5]\d|6\d|9[01789])|3(?:[0-469]|5\d|7[0-8]|8[0-35-79])|4(?:[013-9]|2[013])|"
    r"5(?:[1-8]|0\d|9\d)|6(?:[0-6]|7[02-9]|8[0-35-9]|9[0-2])|8(?:[1246]|0[08]|5[02356]|7[08]|8[0-368])|"
    r"9(?:[0-58]|6[0-8]|7[0-79]|9[2-68])"
)
LENGTHS = {
    **{"1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9), "32": (8, 9)},
    **{"33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (8, 11), "41": (9, 9), "43": (7, 12), "44": (9, 10)},
    **{"45": (8, 8), "46": (7, 10), "47": (8, 8), "48": (9, 9), "49": (7, 12), "52": (10, 11), "54": (10, 11)},
    **{"55": (10, 11), "60": (8, 10), "61": (9, 9), "62": (8, 12), "63": (9, 10), "64": (8, 10), "65": (8, 8)},
    **{"66": (8, 9), "81": (9, 10), "82": (8, 10), "84": (9, 10), "86": (9, 11), "90": (10, 10), "91": (10, 10)},
    **{"351": (9, 9), "353": (7, 9), "358": (6, 11), "420": (9, 9), "852": (8, 8), "853": (8, 8), "886": (8, 9)},
    **{"971": (8, 9), "972": (8, 9)},
}
ANY_LENGTH = (7, 12)

# North America: neither an area nor an exchange begins with 0 or 1; 123-456-7890 is what people write as an example
NANP = re.compile(r"1?(?:[2-9][0-8]\d[2-9]\d{6}|1234567890)")
CN_MOBILE = re.compile(r"1(?:3\d|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8\d|9[0-35-9])\d{8}")
CN_AREA = re.compile(r"(?:010|02[0-5789])[2-8]\d{7}|0[3-9]\d\d[2-8]\d{6,7}")
IT_MOBILE = re.compile(r"3[2-46-9]\d{7,8}")
ID_MOBILE = re.compile(r"08[1-9]\d{7,10}")


def starts(prefixes: str, low: int, high: int) -> Callable[[str], object]:
    """A check: what the digits begin with (a regular expression) and how many there are."""
    pattern = re.compile(prefixes)
    return lambda digits: low <= len(digits) <= high and pattern.match(digits)


def placeholder(digits: str) -> bool:
    """Whether they stand for a number: 000-000-0000, (999) 999-9999."""
    return len(set(digits)) == 1


def in_pairs(digits: str) -> bool:
    """A number written in pairs, rather than a sequence such as 01 02 03 04 05 or a lottery's, which rises up to 60."""
    numbers = [int(digits[i : i + 2]) for i in range(len(digits) % 2, len(digits), 2)]
    steps = {b - a for a, b in pairwise(numbers)}
    return digits[:2] != "00" and len(steps) > 1 and (min(steps) <= 0 or max(numbers) > 60)


def bare_mobile(digits: str) -> bool:
    """A Chinese mobile number, rather than an amount or a size in bytes: a multiple of a million or a mebibyte."""
    return CN_MOBILE.fullmatch(digits) is not None and int(digits) % (1 << 20) != 0 and not digits.endswith("000000")


def with_86(digits: str) -> bool:
    """A Chinese mobile number with its country's code but no +."""
    return digits.startswith("86") and CN_MOBILE.fullmatch(digits, 2) is not None


def landline_with_86(digits: str) -> bool:
    return digits.startswith("86") and CN_AREA.fullmatch("0" + digits[2:].removeprefix("0")) is not None


def brazilian(digits: str) -> bool:
    """Area and number, rather than a number and a span of years."""
    return "0" not in digits[:2] and not (digits[2:4] in ("19", "20") and digits[-4:-2] in ("19", "20"))


def bare_national(digits: str) -> bool:
    """Ten digits that begin as mobile numbers of France, Taiwan or Australia do, and are no ISBN."""
    isbn = sum(int(d) * w for d, w in zip(digits, range(10, 0, -1), strict=True)) % 11 == 0
    return re.match("0[4679]", digits) is not None and not isbn


def foreign(code: str, rest: str) -> bool:
    """Whether the digits after a country's code may be a number of it, as far as its plan is known here."""
    return not placeholder(rest) and (code != "1" or NANP.fullmatch(rest) is not None)


def plausible(digits: str) -> bool:
    """Whether a mere run of digits may be somebody's number once a word such as "call" stands before it."""
    if placeholder(digits):
        return False
    national = re.fullmatch(r"0[1-9]\d{7,10}|[5-9]\d{8,9}|1\d{10}|8[3-9]\d{9}|3[2-46-9]\d{8}", digits)
    return bool(national or NANP.fullmatch(digits) or re.fullmatch(r"(?:00)?(?:44|49|86|91|33|34|39)\d{9,11}", digits))
