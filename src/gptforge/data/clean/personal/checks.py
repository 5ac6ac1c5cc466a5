"""Check digits and number ranges of cards, accounts and identity numbers: is this one that could have been issued?

Functions of a plain string; know nothing of where it stands. An input has the right characters and length.
"""

import datetime

# IBAN registry (SWIFT): the length for each country
_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
IBAN_LENGTHS = {word[:2]: int(word[2:]) for word in _IBAN_LENGTHS.split()}

# Issuer prefixes as ranges of their digits, and the lengths of their numbers (ISO/IEC 7812, the networks' tables)
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (300, 305, (14,)),  # Diners Club
    (3095, 3095, (14,)),
    (36, 36, (14,)),
    (38, 39, (14, 16)),
    (2131, 2131, (15,)),  # JCB
    (1800, 1800, (15,)),
    (3528, 3589, (16, 17, 18, 19)),
    (6011, 6011, (16, 17, 18, 19)),  # Discover
    (644, 659, (16, 17, 18, 19)),
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (9558, 9558, (19,)),
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (5018, 5018, (16, 17, 18, 19)),  # Maestro
    (5019, 5020, (16, 17, 18, 19)),
    (5038, 5038, (16, 17, 18, 19)),
    (5893, 5893, (16, 17, 18, 19)),
    (6304, 6304, (16, 17, 18, 19)),
    (6759, 6763, (16, 17, 18, 19)),
)

_DOUBLED = str.maketrans("0123456789", "0246813579")  # the digits of 2 * d summed

_CN_REGIONS = {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66)}
_CN_REGIONS |= {71, 81, 82, 83}
_CN_WEIGHTS = tuple(pow(2, 17 - i, 11) for i in range(17))  # ISO 7064, MOD 11-2

_VERHOEFF_PRODUCT = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_VERHOEFF_TURN = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)

# What A to Z count at odd places of a codice fiscale; 0 to 9 count as A to J (Decreto MEF of 23 December 1976)
_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, the sum of all digits is a multiple of 10."""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, doubled)) + sum(map(int, digits[-1::-2]))) % 10 == 0


def card(digits: str) -> bool:
    """A payment card: a known issuer, a length that it uses, and Luhn's check digit."""
    if not luhn(digits):
        return False
    for low, high, lengths in _ISSUERS:
        if low <= int(digits[: len(str(low))]) <= high:
            return len(digits) in lengths
    return False


def iban(code: str) -> bool:
    """ISO 13616: the country's length, and the number that the rearranged characters make is 1 modulo 97."""
    moved = code[4:] + code[:4]
    return IBAN_LENGTHS.get(code[:2]) == len(code) and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def cn_id(code: str) -> bool:
    """GB 11643-1999 (18 characters) and its forerunner (15 digits): region, date of birth, and check character."""
    if int(code[:2]) not in _CN_REGIONS:
        return False
    born = code[6:14] if len(code) == 18 else "19" + code[6:12]
    if not _is_date(born) or born < "1860":
        return False
    if len(code) == 15:
        return True
    rest = sum(int(d) * w for d, w in zip(code[:17], _CN_WEIGHTS, strict=True)) % 11
    return "10X98765432"[rest] == code[17].upper()


def _is_date(digits: str) -> bool:
    """Whether YYYYMMDD is a day up to today."""
    try:
        day = datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return day <= datetime.date.today()


def us_ssn(digits: str) -> bool:
    """The ranges that the Social Security Administration issues, without two numbers that were printed as examples."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    issued = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return issued and digits not in ("078051120", "219099999")


def uk_nino(code: str) -> bool:
    """The prefixes that HMRC gives out (its manual NIM39110)."""
    first, second = code[0], code[1]
    given = first not in "DFIQUV" and second not in "DFIOQUV" and code[-1] in "ABCD"
    return given and code[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def es_dni(code: str) -> bool:
    """DNI (8 digits and a letter) and NIE (X, Y or Z, 7 digits and a letter): the letter is the number modulo 23."""
    number = code[:-1]
    if number[0] in "XYZ":
        number = str("XYZ".index(number[0])) + number[1:]
    return number.isdigit() and len(number) == 8 and _DNI_LETTERS[int(number) % 23] == code[-1]


def it_cf(code: str) -> bool:
    """Codice fiscale: month, day, and the check letter."""
    if code[8] not in "ABCDEHLMPRST" or not 1 <= int(code[9:11]) % 40 <= 31:
        return False
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in code[:15]]
    return chr(65 + (sum(_CF_ODD[v] for v in values[::2]) + sum(values[1::2])) % 26) == code[15]


def br_cpf(digits: str) -> bool:
    """Two check digits modulo 11; numbers of one digit repeated pass the sums but are not issued."""
    if len(set(digits)) == 1:
        return False
    for n in (9, 10):
        rest = sum(int(d) * (n + 1 - i) for i, d in enumerate(digits[:n])) * 10 % 11 % 10
        if rest != int(digits[n]):
            return False
    return True


def in_aadhaar(digits: str) -> bool:
    """Verhoeff's scheme over 12 digits, the first of them 2 to 9."""
    if digits[0] in "01":
        return False
    check = 0
    for i, d in enumerate(reversed(digits)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_TURN[i % 8][int(d)])])
    return check == 0


def nl_bsn(digits: str) -> bool:
    """The "eleven test": weights 9 to 2, and -1 for the last digit."""
    return (
        digits != "000000000"
        and sum(int(d) * w for d, w in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True)) % 11 == 0
    )
