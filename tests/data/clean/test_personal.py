"""Personal data: what is found, what is not, and that nothing but linear time is spent on it."""

import datetime
import ipaddress
import itertools
import random
import re
import string
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean.personal import KINDS, Finding, mask, scan

MARKED = re.compile(r"⟦(\w+):(.*?)⟧")  # ⟦kind:text⟧ in the files of examples
FILES = ("personal.txt", "personal_phones.txt", "personal_ips.txt", "personal_mixed.txt")


def examples(name: str) -> list[str]:
    """One a line; backslash n and t are a line's end and a tab."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line.replace(r"\n", "\n").replace(r"\t", "\t") for line in text.splitlines()]


EXAMPLES = [line for name in FILES for line in examples(name)]


def unmarked(line: str) -> tuple[str, list[tuple[str, str, int]]]:
    """An example's text, and the kind, text and place of what is marked in it."""
    text, marked, done = "", [], 0
    for match in MARKED.finditer(line):
        text += line[done : match.start()]
        marked.append((match[1], match[2], len(text)))
        text += match[2]
        done = match.end()
    return text + line[done:], marked


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, finding.text) for finding in scan(text)]


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples(line: str) -> None:
    text, marked = unmarked(line)
    assert [(f.kind, f.text, f.start) for f in scan(text)] == marked


# Numbers with check digits ----------------------------------------------------

DIGITS = string.digits
WORDS = (
    "the",
    "green",
    "river",
    "flows",
    "slowly",
    "under",
    "bridges",
    "年轻人",
    "在北京",
    "，",
    "。",
    "喜欢读书",
    "\n",
    "is",
)
AROUND = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
JOINTS = st.sampled_from((" ", "：", "，", "(", " - ", "“"))


def digits(n: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=n, max_size=n)


def luhn(body: str) -> str:
    """The number with its check digit, by the rule as it is written: from the right, every other digit doubled."""
    total = 0
    for i, d in enumerate(reversed(body)):
        value = int(d) * (2 if i % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, length = draw(st.sampled_from((("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("622", 19))))
    number = luhn(prefix + draw(digits(length - 1 - len(prefix))))
    return " ".join(re.findall(".{1,4}", number)) if length == 16 and draw(st.booleans()) else number


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country, bank, length = draw(
        st.sampled_from((("DE", "", 18), ("GB", "NWBK", 14), ("NL", "ABNA", 10), ("CH", "", 17)))
    )
    account = bank + draw(digits(length))
    rest = int("".join(str(int(c, 36)) for c in account + country + "00")) % 97
    code = f"{country}{98 - rest:02d}{account}"
    return " ".join(re.findall(".{1,4}", code)) if draw(st.booleans()) else code


@st.composite
def chinese_ids(draw: st.DrawFn) -> str:
    region = draw(st.sampled_from(("110105", "310101", "440524", "510104", "820000")))
    born = draw(st.dates(datetime.date(1900, 1, 1), datetime.date(2024, 1, 1)))
    body = f"{region}{born:%Y%m%d}{draw(digits(3))}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # as GB 11643 prints them
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


@st.composite
def brazilian_ids(draw: st.DrawFn) -> str:
    body = draw(digits(9).filter(lambda d: len(set(d)) > 1))
    for n in (10, 11):
        rest = sum(int(d) * w for d, w in zip(body, range(n, 1, -1), strict=True)) % 11
        body += "0" if rest < 2 else str(11 - rest)
    return f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"


@st.composite
def spanish_ids(draw: st.DrawFn) -> str:
    first, rest = draw(st.sampled_from("XYZ0123456789")), draw(digits(7))
    number = int(str("XYZ".index(first) if first in "XYZ" else first) + rest)
    return f"{first}{rest}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


@st.composite
def dutch_ids(draw: st.DrawFn) -> str:
    body = draw(digits(8).filter(lambda d: sum(int(x) * w for x, w in zip(d, range(9, 1, -1), strict=True)) % 11 < 10))
    last = sum(int(x) * w for x, w in zip(body, range(9, 1, -1), strict=True)) % 11
    return f"BSN {body}{last}"


VALID = {
    "credit_card": cards(),
    "iban": ibans(),
    "cn_id": chinese_ids(),
    "br_cpf": brazilian_ids(),
    "es_dni": spanish_ids(),
    "nl_bsn": dutch_ids().filter(lambda code: code != "BSN 000000000"),
}


@pytest.mark.parametrize("kind", VALID)
@given(st.data())
@settings(max_examples=60)
def test_valid_numbers_are_found_among_words(kind: str, data: st.DataObject) -> None:
    code = data.draw(VALID[kind])
    text = (
        data.draw(AROUND)
        + data.draw(JOINTS)
        + code
        + data.draw(st.sampled_from(("。", ", ", " ", ")", "是")))
        + data.draw(AROUND)
    )
    assert found(text) == [(kind, code.removeprefix("BSN "))]


@pytest.mark.parametrize("kind", VALID)
@given(st.data())
@settings(max_examples=60)
def test_one_wrong_digit_is_none(kind: str, data: st.DataObject) -> None:
    """The schemes notice any one changed digit, but a CPF's only its check digits for sure."""
    code = data.draw(VALID[kind])
    places = [i for i, c in enumerate(code) if c.isdigit()][-2 if kind == "br_cpf" else 0 :]
    at = data.draw(st.sampled_from(places))
    wrong = data.draw(st.sampled_from(DIGITS.replace(code[at], "")))
    text = f"{data.draw(AROUND)} {code[:at]}{wrong}{code[at + 1 :]} {data.draw(AROUND)}"
    assert kind not in [k for k, _ in found(text)]


@given(st.integers(1, 899), st.integers(1, 99), st.integers(1, 9999), AROUND)
def test_social_security_numbers(area: int, group: int, serial: int, words: str) -> None:
    number = f"{area:03d}-{group:02d}-{serial:04d}"
    expected = [] if area == 666 or number in ("078-05-1120", "219-09-9999") else [("us_ssn", number)]
    assert found(f"{words} {number} {words}") == expected
    assert found(f"{words} 9{number[1:]} {words}") == found(f"{words} {number[:4]}00{number[6:]} {words}") == []


@given(digits(11).filter(lambda d: d[0] > "1"), AROUND)
def test_aadhaar_has_one_check_digit(body: str, words: str) -> None:
    right = [n for n in DIGITS if found(f"{words} Aadhaar: {body}{n}") == [("in_aadhaar", body + n)]]
    assert len(right) == 1


@given(
    st.tuples(*[st.sampled_from(string.ascii_uppercase)] * 6).map("".join), digits(2), st.sampled_from("ABCDEHLMPRST")
)
def test_a_codice_fiscale_has_one_check_letter(name: str, year: str, month: str) -> None:
    body = f"{name}{year}{month}15H501"
    right = [c for c in string.ascii_uppercase if ("it_cf", body + c) in found(f"CF {body}{c}.")]
    assert len(right) == 1


def test_published_numbers() -> None:
    """Numbers that the schemes' own documents and networks print."""
    assert found("RSSMRA85T10A562S") == [("it_cf", "RSSMRA85T10A562S")]
    assert found("GB29 NWBK 6016 1331 9268 19") == [("iban", "GB29 NWBK 6016 1331 9268 19")]
    assert found("4111111111111111 and 378282246310005")[1] == ("credit_card", "378282246310005")
    assert found("national insurance number QQ 12 34 56 C") == [("uk_nino", "QQ 12 34 56 C")]
    assert found("QQ 12 34 56 C") == []


# Telephone numbers --------------------------------------------------------------

FORMS_OF_TEN = ("({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "{}-{}.{}", "{}/{}-{}", "{} {}-{}", "1-{}-{}-{}", "+1 {} {} {}")
AREAS, EXCHANGES = st.from_regex(r"[2-9][0-8][0-9]", fullmatch=True), st.from_regex(r"[2-9][0-9]{2}", fullmatch=True)


@given(st.sampled_from(FORMS_OF_TEN), AREAS, EXCHANGES, digits(4), AROUND)
def test_north_american_numbers(form: str, area: str, exchange: str, line: str, words: str) -> None:
    number = form.format(area, exchange, line)
    expected = [] if len({*area, *exchange, *line}) == 1 else [("phone", number)]
    assert found(f"{words} {number} {words}") == expected
    if "(" not in form:
        assert found(f"{words} {form.format(area, '1' + exchange[1:], line)} {words}") == []


@given(st.lists(st.integers(1, 60), min_size=4, max_size=4, unique=True), st.integers(1, 5))
def test_a_french_number_is_none_of_a_lottery(pairs: list[int], first: int) -> None:
    """Numbers that rise as those drawn do are none; turned round they are one, unless their steps are all alike."""
    drawn = sorted({first, *pairs})
    if len(drawn) < 5 or drawn[0] > 9 or len({b - a for a, b in itertools.pairwise(drawn)}) == 1:
        return
    written = " ".join(f"{n:02d}" for n in drawn)
    turned = f"{drawn[0]:02d} " + " ".join(f"{n:02d}" for n in reversed(drawn[1:]))
    assert found(f"Résultat : {written}") == []
    assert found(f"Résultat : {turned}") == [("phone", turned)] or len({*drawn[1:]}) < 4
    assert found(f"Tél. {written}") == [("phone", written)]


def test_the_title_of_a_column_says_what_its_numbers_are() -> None:
    rows = [f"{n},Ann,60855501{n:02d},60855502{n:02d}" for n in range(30)]
    table = "\n".join(["id,name,phone,order_id", *rows])
    assert found(table) == [("phone", f"60855501{n:02d}") for n in range(30)]
    assert found("\n".join(rows)) == []  # no header
    assert found("id,name,phone\n" + "\n".join(rows)) == []  # of another table
    assert found(table.replace(",", "\t")) == found(table.replace(",", ";")) == found(table)
    assert found("| who | mobile |\n|---|---|\n| Ann | 6085550101 |") == [("phone", "6085550101")]
    assert found("mobile,who\n6085550101,Ann\n\n6085550102,Bob") == [("phone", "6085550101")]
    assert found("mobile,tel\n6085550101,608-555-0102, ext. 5\n6085550103,1")[0] == ("phone", "6085550101")


def test_tags_say_what_their_numbers_are_but_stand_ins_do_not() -> None:
    for tag in ("phone", "ns:mobile", "PhoneNumber", "PHONE"):
        assert found(f"<{tag}>6085550101</{tag}>") == [("phone", "6085550101")]
    assert found("<td>Tel</td>\n<td>6085550101</td>") == [("phone", "6085550101")]
    assert found("<PHONE>6085550101") == found("<order>6085550101</order>") == found("<td>6085550101</td>") == []


def test_a_list_goes_on() -> None:
    """What is said before the first is said of those behind it, until other words come."""
    numbers = ["6085550101", "6085550102", "6085550103"]
    expected = [("phone", number) for number in numbers]
    assert found("phone " + ", ".join(numbers)) == found("call " + " or ".join(numbers)) == expected
    assert found("phone 6085550101, order 6085550102") == expected[:1]
    assert found("part 608-555-0101 replaces 608-555-0102") == []
    assert found("phone 608-555-0101 replaces 608-555-0102")[1] == ("phone", "608-555-0102")


# IP addresses -------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 60), st.integers(1, 254))
def test_small_numbers_need_a_word(a: int, b: int, c: int, d: int) -> None:
    """Four numbers as small as a version's are an address only where something says so."""
    number = f"{a}.{b}.{c}.{d}"
    resolvers = "1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "4.2.2.1", "4.2.2.2"
    if a == 10 or b == c == 0 or c == d == 0 or number in resolvers:
        return
    assert found(f"Wersja {number} działa") == found(f"we run libfoo {number} here") == []
    for text in ("ip {}", "http://{}/a", "root@{}", "IP{}，", "<ip>{}</ip>", "Peer: {}:8080", "来自{}的请求"):
        assert found(text.format(number)) == [("ip", number)]


@given(
    st.ip_addresses(v=6, network="2000::/4"), st.sampled_from(("{}", "ip6:{} -all", "IP：{}，", "[{}]:443", "{}%eth0"))
)
def test_addresses_of_version_6(address: ipaddress.IPv6Address, text: str) -> None:
    written = address.exploded
    assert found(text.format(written)) == [("ip", written)]
    assert found(f"tcp6 0 0 {written}:443 LISTEN") == [("ip", written)]


# Secrets ------------------------------------------------------------------------

LETTERS = string.ascii_letters + DIGITS
FORMS = {  # prefix and what follows; put together here, so that no file holds what looks like a secret
    "Amazon": ("AK" + "IA", string.ascii_uppercase + "234567", 16),
    "GitHub": ("gh" + "p_", LETTERS, 36),
    "GitHub, fine-grained": ("github" + "_pat_", LETTERS, 82),
    "GitLab": ("gl" + "pat-", LETTERS, 20),
    "Slack": ("xo" + "xb-123456789012-123456789012-", LETTERS, 24),
    "Stripe": ("sk" + "_live_", LETTERS, 24),
    "Google": ("AI" + "za", LETTERS + "_-", 35),
    "Anthropic": ("sk-" + "ant-api03-", LETTERS + "_-", 95),
    "OpenAI": ("sk-" + "proj-", LETTERS, 48),
    "Hugging Face": ("hf" + "_", string.ascii_letters, 34),
    "npm": ("np" + "m_", LETTERS, 36),
    "SendGrid": ("S" + "G.", LETTERS, 22),
    "Telegram": ("123456789:" + "AA", LETTERS, 33),
}


def token(form: str, seed: int) -> str:
    prefix, alphabet, length = FORMS[form]
    draw = random.Random(seed)
    tail = "".join(draw.choices(alphabet[:-2], k=length - 1)) + "7"
    return prefix + tail + ("." + "".join(draw.choices(LETTERS, k=43)) if form == "SendGrid" else "")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "use {} here", '"{}"', "令牌{}。", "x={};", "({})", "- {}\n"])
def test_tokens_with_known_prefixes(form: str, around: str) -> None:
    for seed in range(5):
        key = token(form, seed)
        assert ("secret", key) in found(around.format(key))


def test_private_keys() -> None:
    body = "\n".join("".join(random.Random(n).choices(LETTERS + "+/", k=64)) for n in range(6))
    begin, end = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"
    block = f"{begin}\n{body}\n{end}"
    assert found(f"key:\n{block}\nend") == [("secret", block)]
    assert found(f"{begin}\n{body}\n") == [("secret", f"{begin}\n{body}")]
    assert found(block.replace("\n", "\\n")) == [("secret", block.replace("\n", "\\n"))]
    assert found(f'if line == "{begin}" or line == "{end}":') == found(begin) == []
    assert found(block.replace("PRIVATE", "PUBLIC")) == []


def test_json_web_token() -> None:
    parts = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N"
    assert found(f"Cookie: {'.'.join(parts)};") == [("secret", ".".join(parts))]


# Everything ---------------------------------------------------------------------

FRAGMENTS = sorted(
    {m[2] for line in EXAMPLES for m in MARKED.finditer(line)} | {w for line in EXAMPLES for w in line.split()}
)
GLUE = (
    "",
    " ",
    "-",
    ".",
    ":",
    "/",
    "(",
    ")",
    "+",
    "@",
    "=",
    '"',
    ",",
    "\n",
    "1",
    "a",
    "中",
    "：",
    " at ",
    "tel:",
    "password=",
    "<",
    ">",
)
SOUP = st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from(GLUE), max_size=9).map("".join)


@given(st.text() | SOUP | st.text(st.sampled_from("0123456789 -.:/()+@ab\ud800")))
@settings(max_examples=600)
def test_any_text(text: str) -> None:
    findings = scan(text)
    assert all(text[f.start : f.end] == f.text and f.kind in KINDS and f.text for f in findings)
    assert all(a.end <= b.start for a, b in itertools.pairwise(findings))
    masked = mask(text, findings)
    assert scan(masked) == []
    assert masked.count("<") - text.count("<") == len(findings)


@given(SOUP, st.sets(st.sampled_from(KINDS)))
def test_chosen_kinds(text: str, kinds: set[str]) -> None:
    chosen = scan(text, kinds)
    assert chosen == [finding for finding in scan(text) if finding.kind in kinds]
    assert scan(mask(text, chosen), kinds) == []


def test_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, gptforge.data.clean.personal\nprint([m for m in ('torch', 'numpy', 'hydra') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"no such kinds of personal data: name, zip; there are email, "):
        scan("", ["email", "zip", "name"])


def test_mask_puts_a_stand_in() -> None:
    text = "Mail 李雷😀 li@qq.com or 电话１３８００１３８０００, card 4111 1111 1111 1111."
    assert scan(text)[0] == Finding("email", 9, 18, "li@qq.com")
    assert mask(text, scan(text)) == "Mail 李雷😀 <EMAIL> or 电话<PHONE>, card <CREDIT_CARD>."
    assert mask(text, []) == text and mask("", []) == ""


def test_what_a_neighbour_hides_is_found_when_that_is_masked() -> None:
    """The second e-mail address touches the first; masked alone, the first would uncover it."""
    text = "a@tsinghua.edu.cnc-d@e-f.museum " * 30
    masked = mask(text, scan(text))
    assert scan(masked) == []


def test_findings_far_apart_are_those_of_the_parts() -> None:
    """Windows around findings are searched again; nothing may be found twice or cut at their ends."""
    parts = [unmarked(line)[0] for line in EXAMPLES]
    for filling in ("\nwords " * 10, "\nwords " * 400):
        whole = found(filling.join(parts))
        assert whole == [pair for part in parts for pair in found(part)]


def test_english_prose_holds_none() -> None:
    assert scan(assets.pydoc().read_text(encoding="utf-8"), set(KINDS) - {"ip", "email"}) == []


def test_python_sources_hold_addresses_alone() -> None:
    """Authors' addresses, and examples of IP addresses in the modules that deal with them: 12 MB, no false alarm."""
    root = Path(sysconfig.get_paths()["stdlib"])
    others = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not {"test", "tests", "idle_test", "site-packages", "dist-packages"}.isdisjoint(name.parts):
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        others += [(name.as_posix(), f.kind, f.text) for f in scan(text) if f.kind != "email"]
    assert [other for other in others if other[1] != "ip"] == []
    assert {name.partition("/")[0] for name, _, _ in others} <= {"ipaddress.py", "socket.py", "urllib", "uuid.py"}


# Time ---------------------------------------------------------------------------

HOSTILE = (
    *(
        "1",
        "1 ",
        "1-",
        "12.",
        "1234 ",
        "(1",
        "+1",
        "+1 ",
        "00",
        "0086",
        "01 23 45 67 89 ",
        "13800138000,",
        "13800138000 ",
    ),
    *(
        "@",
        "a@",
        "a@b.",
        "a@b.com",
        "[at]",
        "%40",
        "&#64;",
        " AT ",
        " dot ",
        " at a dot ",
        ".",
        "a.",
        "-",
        "_",
        "a",
        "A",
    ),
    *("5551234567, ", "6085550101 or ", "a,13800138000\n", "phone,1\n", " | 6085550101 | ", "12.34.56.78 and ", "<b>"),
    *("<a>1234567", "<A>12345678", "2001:db8::1 ", "1[.]2[.]3[.]4 "),
    *(":", "a:", "2001:", "1.2.3.4.", "10.1.2.3 ", "://", "://a:", "x://a:bbbb", "=", "=1", "password=", "password=a1"),
    *('password="a1', "sk-", "sk-1a", "eyJ", "eyJaaaaaaaaaaaaaaaaaaa.", "-----BEGIN " + "PRIVATE KEY-----", "bearer "),
    *(
        "AA00",
        "GB82WEST1234569876543",
        "4111 1111 1111 1112 ",
        "12345678Z ",
        "tel ",
        "tel:1234567 ",
        "电话:",
        "：",
        "１",
        "<",
    ),
)


def seconds(text: str) -> float:
    began = time.process_time()
    scan(text)
    return time.process_time() - began


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Eight times the text takes about eight times as long; quadratic time would be 64 times."""
    short, long = (unit * (n // len(unit)) for n in (8_000, 64_000))
    before = min(seconds(short) for _ in range(2))
    assert any(seconds(long) < 24 * before + 0.2 for _ in range(3))  # a busy machine may be slow once


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_a_million_hostile_characters(unit: str) -> None:
    assert seconds(unit * (1_000_000 // len(unit))) < 30
