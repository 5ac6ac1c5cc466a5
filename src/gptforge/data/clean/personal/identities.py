"""Finds payment cards, bank accounts and national identity numbers; knows their layouts, not their check digits.

A layout is a pattern over a view's shape. Where the numbers of a kind are too many for it to be sure, a word before
it has to say what it is; a word that says it is something else always rules it out.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from gptforge.data.clean.personal import checks, words
from gptforge.data.clean.personal.columns import Columns
from gptforge.data.clean.personal.view import Span, View, apart, occurrences

# No letter or digit next to it, and no sign that goes on with digits. Chinese characters may stand next to it.
# What one finding refuses next to it, the other refuses too: so none appears when its neighbour is masked.
LEFT = rb"(?:(?=\()|(?<![0Aa_])(?:(?=[Aa])|(?<!0[-.])(?<![0Aa]\+)))"
RIGHT = rb"(?![0Aa_]|[-.]0|\+0)"
NEAR = 80  # characters before a number, and half of it behind, in which a name of its kind may stand


def bounded(layout: bytes, right: bytes = RIGHT) -> re.Pattern[bytes]:
    """A pattern that finds the layout at every start, also within another find, as the group `found`."""
    return re.compile(LEFT + rb"(?=(?P<found>" + layout + rb")" + right + rb")")


def any_of(patterns: Iterable[re.Pattern[bytes]]) -> re.Pattern[bytes]:
    """One bounded pattern for all: where it finds nothing, none of them does."""
    forms = []
    for n, pattern in enumerate(patterns):
        form = pattern.pattern.removeprefix(LEFT).replace(b"?P<found>", b"?:")
        forms.append(form.replace(b"<s>", b"<s%d>" % n).replace(b"=s)", b"=s%d)" % n))
    return re.compile(LEFT + b"(?:" + b"|".join(forms) + b")")


@dataclass(frozen=True, slots=True)
class Layout:
    """How numbers of one kind are written.

    `check` gets the characters without spaces and signs, in upper case. With `said`, something has to say what it is:
    the words before it, the title of its column, or a name of the kind in its line. `strong` means that no word can
    rule it out.
    """

    kind: str
    pattern: re.Pattern[bytes]
    check: Callable[[str], bool]
    word: re.Pattern[str]
    said: bool = False
    strong: bool = False

    def holds(self, view: View, columns: Columns, start: int, end: int) -> bool:
        code = re.sub(r"[^0-9A-Za-z]", "", view.text[start:end]).upper()
        if not self.check(code):
            return False
        if self.strong:
            return True
        before = view.before(start)
        hint = words.nearest(before, self.word)
        if not self.said:
            return hint > 0 if words.IN_IDENTIFIER.search(before) else hint >= 0
        name = words.NAMES.get(self.kind)
        if hint or name is None:
            return hint > 0
        titled = columns.said(start, lambda title: int(name.search(title) is not None))
        return titled > 0 or _named(view, name, start, end)


def _named(view: View, name: re.Pattern[str], start: int, end: int) -> bool:
    """Whether the line of a number has a name of its kind not far from it."""
    low = max(view.text.rfind("\n", 0, start) + 1, start - NEAR)
    high = view.text.find("\n", end, end + NEAR // 2)
    return name.search(view.text[low:start] + "|" + view.text[end : high if high >= 0 else end + NEAR // 2]) is not None


def _long_card(digits: str) -> bool:
    return checks.card(digits) and len(digits) > 13


def _grouped_aadhaar(digits: str) -> bool:
    years = all(group[:2] in ("19", "20") for group in (digits[:4], digits[4:8], digits[8:]))
    return checks.in_aadhaar(digits) and not years


_ALONE = rb"(?<!0 )(?<!0\t)", rb"(?! 0|\t0)"  # no number next to it: a row of a table has many

# The most specific first: what one has found, the next do not look at
LAYOUTS = (
    Layout("cn_id", bounded(rb"0{17}[0Aa]"), checks.cn_id, words.CN_ID, strong=True),
    Layout(
        "cn_id",
        bounded(rb"0{6}(?P<s>[ -])0{4}(?P=s)?0{4}(?P=s)?0{3}[0Aa]"),
        checks.cn_id,
        words.CN_ID,
        strong=True,
    ),
    Layout("cn_id", bounded(rb"0{15}"), checks.cn_id, words.CN_ID, said=True),
    Layout("credit_card", bounded(rb"0{14,19}"), _long_card, words.CARD),
    Layout("credit_card", bounded(rb"0{13,19}|0000(?: 0000){3}"), checks.luhn, words.CARD, said=True),
    Layout(
        "credit_card",
        bounded(_ALONE[0] + rb"0{4}(?P<s>[ -])0{4}(?P=s)0{4}(?P=s)0{4}(?P=s)0{1,3}" + _ALONE[1]),
        checks.card,
        words.CARD,
    ),
    Layout(
        "credit_card",
        bounded(_ALONE[0] + rb"0{4}(?P<s>[ .-])0{4}(?P=s)0{4}(?P=s)0{4}(?![ \t]0{4}(?!0)|[ \t]0{2,3}[ \t]0)"),
        checks.card,
        words.CARD,
    ),
    Layout("credit_card", bounded(rb"0{4}(?P<s>[ .-])0{6}(?P=s)0{4,5}|0{6} 0{10,13}"), checks.card, words.CARD),
    Layout("us_ssn", bounded(rb"000-00-0000"), checks.us_ssn, words.SSN),
    Layout("us_ssn", bounded(rb"0{9}|000 00 0000|000\.00\.0000"), checks.us_ssn, words.SSN, said=True),
    Layout("br_cpf", bounded(rb"000\.000\.000-00"), checks.br_cpf, words.CPF),
    Layout("br_cpf", bounded(rb"0{9}-00"), checks.br_cpf, words.CPF),
    Layout("br_cpf", bounded(rb"0{11}"), checks.br_cpf, words.CPF, said=True),
    Layout(
        "in_aadhaar",
        bounded(_ALONE[0] + rb"0000(?P<s>[ -])0000(?P=s)0000" + _ALONE[1]),
        _grouped_aadhaar,
        words.AADHAAR,
    ),
    Layout("in_aadhaar", bounded(rb"0{12}|0000[ -]0000[ -]0000"), checks.in_aadhaar, words.AADHAAR, said=True),
    Layout("nl_bsn", bounded(rb"0000\.00\.000"), checks.nl_bsn, words.BSN),
    Layout("nl_bsn", bounded(rb"0{9}|0000\.00\.000|000[ .]000[ .]000"), checks.nl_bsn, words.BSN, said=True),
    Layout("uk_nino", bounded(rb"AA ?00 ?00 ?00 ?A|AA-00-00-00-A"), checks.uk_nino, words.NINO),
    Layout(
        "uk_nino",
        bounded(rb"[Aa]{2} ?00 ?00 ?00 ?[Aa]"),
        lambda c: c[:2] == "QQ" or checks.uk_nino(c),  # QQ is what HMRC prints in its own examples
        words.NINO,
        said=True,
    ),
    Layout("es_dni", bounded(rb"0{8}[ -]?A|00\.000\.000[ -]?A|A-?0{7}-?A"), checks.es_dni, words.DNI),
    Layout("es_dni", bounded(rb"0{8}[ -]?a|a-?0{7}-?a"), checks.es_dni, words.DNI, said=True),
)

_ANY = any_of(layout.pattern for layout in LAYOUTS)
# In lower case too: no word and no other number has this form
_CODICE_FISCALE = re.compile(LEFT + rb"(?:A{6}00A00A000A|a{6}00a00a000a|(?:A{3} A{3}|A{6}) ?00A00 ?A000A)" + RIGHT)
_IBAN_AHEAD = re.compile(r"[0-9A-Za-z](?:[ -]?[0-9A-Za-z]){14,33}")


def find(view: View) -> Iterator[Span]:
    """Spans of cards, accounts and identity numbers, in the order of LAYOUTS; none overlaps an earlier one."""
    yield from apart(chain(_ibans(view), _codici(view), _numbers(view)))


def _numbers(view: View) -> Iterator[Span]:
    columns = Columns(view)
    regions = [region for region in view.number_regions() if _ANY.search(view.shape, *region)]
    for layout in LAYOUTS:
        for start, end in regions:
            for match in layout.pattern.finditer(view.shape, start, end):
                if layout.holds(view, columns, *match.span("found")):
                    yield layout.kind, *match.span("found")


def _codici(view: View) -> Iterator[Span]:
    for form in (b"00A00", b"00a00"):
        for at in occurrences(view.shape, form):
            for start in range(max(0, at - 8), at - 5):  # six letters before it, and two blanks at most
                match = _CODICE_FISCALE.match(view.shape, start)
                if match and checks.it_cf(view.text[start : match.end()].replace(" ", "").upper()):
                    yield "it_cf", start, match.end()
                    break


def _ibans(view: View) -> Iterator[Span]:
    for start in (*_starts(view.shape, b"AA00"), *_starts(view.shape, b"aa00")):
        length = checks.IBAN_LENGTHS.get(view.text[start : start + 2].upper())
        ahead = _IBAN_AHEAD.match(view.text, start)
        if length is None or ahead is None:
            continue
        places = [i for i, c in enumerate(ahead[0]) if c.isalnum()][:length]
        end = start + places[-1] + 1
        code = "".join(ahead[0][i] for i in places)
        follows = view.shape[end : end + 1] in (b"0", b"A", b"a", b"_")
        in_fours = [sign.join(code[i : i + 4] for i in range(0, length, 4)) for sign in ("", " ", "-")]
        if view.text[start:end] in in_fours and len(code) == length and not follows and checks.iban(code.upper()):
            yield "iban", start, end


def _starts(shape: bytes, wanted: bytes) -> Iterator[int]:
    at = shape.find(wanted)
    while at >= 0:
        if at == 0 or shape[at - 1] not in b"0Aa_":
            yield at
        at = shape.find(wanted, at + 1)
