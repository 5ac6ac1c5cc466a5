"""The rules for one document in their order, as a config switches them.

Knows nothing of other documents: what a collection repeats is found by duplicates and boilerplate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from gptforge.config.clean import CleanConfig
from gptforge.data.clean import language, quality
from gptforge.data.clean import text as rules
from gptforge.data.clean.events import CHANGED, DROPPED, FOUND, SKIPPED, Change, Event, Sample, shortened
from gptforge.data.clean.kinds import Kind, kind_of
from gptforge.errors import ConfigError

SHOWN = 2  # characters of personal data in an example: a report must not hold what is to be kept out of the model

_UNICODE = {
    "fix": rules.mended,
    "nfc": partial(rules.normalized, form="NFC"),
    "nfkc": partial(rules.normalized, form="NFKC"),
}

Step = Callable[[str], tuple[str, list[Event]]]  # what becomes of a text, and what happened; the last may be "dropped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A document after the rules, None when one of them dropped it; and what they did, in their order."""

    text: str | None
    events: tuple[Event, ...]


class Cleaner:
    """Applies the rules to one document after another. Has no state: another one with the same config is the same."""

    def __init__(self, cfg: CleanConfig) -> None:
        """Raises ConfigError when the config needs a package that is missing, or names an unknown language or kind."""
        self.config = cfg
        self._steps = list(_steps(cfg))
        if cfg.unicode == "fix":
            rules.mender()
        if cfg.language:
            language.check(cfg.language)
        if cfg.personal != "off":
            _check_kinds(cfg.personal_kinds)

    def apply(self, text: str) -> Outcome:
        """The document after all rules that are on; a rule that drops it is the last."""
        events: list[Event] = []
        for step in self._steps:
            text, new = step(text)
            events += new
            if new and new[-1].action == DROPPED:
                return Outcome(None, tuple(events))
        return Outcome(text, tuple(events))


def _steps(cfg: CleanConfig) -> Iterator[Step]:
    """What is switched on, in order: the characters first, then what judges the document they make."""
    n = cfg.examples
    if cfg.unicode != "off":
        yield partial(_mend, "unicode", _UNICODE[cfg.unicode], n)
    if cfg.line_ends:
        yield partial(_mend, "line_ends", rules.with_line_feeds, n)
    if cfg.control_characters:
        yield partial(_mend, "control_characters", rules.without_control_characters, n)
    if cfg.invisible:
        yield partial(_mend, "invisible", rules.without_invisible, n)
    if cfg.whitespace:
        yield partial(_mend, "whitespace", rules.without_needless_blanks, n)
    if cfg.language:
        yield partial(_language, cfg.language, cfg.language_confidence)
    if cfg.gopher:
        yield partial(_gopher, cfg.language == ["en"])
    if cfg.c4:
        yield partial(_c4, n)
    if cfg.min_length or cfg.max_length:
        yield partial(_length, cfg.min_length, cfg.max_length)
    if cfg.personal != "off":
        yield partial(_personal, cfg.personal, cfg.personal_kinds, n)


def _mend(name: str, rule: Callable[[str, int], Change], examples: int, text: str) -> tuple[str, list[Event]]:
    return _changed(name, rule(text, examples))


def _changed(name: str, change: Change) -> tuple[str, list[Event]]:
    return change.text, [Event(name, CHANGED, change.amount, change.samples)] if change.amount else []


def _dropped(name: str, text: str, reason: str) -> Event:
    return Event(name, DROPPED, len(text), (Sample(0, shortened(text)),), reason)


def _language(languages: list[str], confidence: float, text: str) -> tuple[str, list[Event]]:
    kind = kind_of(text)
    share = None if kind is Kind.CODE else language.probability(text, languages)
    if share is None:
        reason = str(kind) if kind is Kind.CODE else f"fewer than {language.LETTERS} letters"
        return text, [Event("language", SKIPPED, len(text), reason=reason)]
    if share >= confidence:
        return text, []
    likely, its_share = language.identify(text) or ("", 0.0)
    reason = f"{likely} with probability {its_share:.2f}; {', '.join(languages)}: {share:.2f}, at least {confidence:g}"
    return text, [_dropped("language", text, reason)]


def _gopher(english: bool, text: str) -> tuple[str, list[Event]]:
    kind = kind_of(text)
    broken, skipped = quality.gopher(text, kind, english)
    events: list[Event] = []
    if skipped:
        reason = str(kind) if kind is not Kind.PROSE else "clean.language is not [en]"
        events.append(Event("gopher", SKIPPED, len(text), reason=f"{reason}: {', '.join(skipped)}"))
    if broken:
        events.append(_dropped(f"gopher.{broken.rule}", text, str(broken)))
    return text, events


def _c4(examples: int, text: str) -> tuple[str, list[Event]]:
    kind = kind_of(text)
    if kind is Kind.CODE:
        return text, [Event("c4", SKIPPED, len(text), reason=str(kind))]
    change, broken = quality.c4(text, kind, examples)
    if broken:
        return text, [_dropped(f"c4.{broken.rule}", text, str(broken))]
    return _changed("c4", change)


def _length(least: int | None, most: int | None, text: str) -> tuple[str, list[Event]]:
    if least and len(text) < least:
        return text, [_dropped("min_length", text, f"{len(text)} characters, allowed at least {least}")]
    if most and len(text) > most:
        return text, [_dropped("max_length", text, f"{len(text)} characters, allowed at most {most}")]
    return text, []


def _personal(action: str, kinds: Sequence[str], examples: int, text: str) -> tuple[str, list[Event]]:
    from gptforge.data.clean import personal

    found = personal.scan(text, kinds or personal.KINDS)
    if not found:
        return text, []
    what = CHANGED if action == "mask" else FOUND
    events: list[Event] = []
    for kind, each in groupby(sorted(found, key=lambda f: f.kind), key=lambda f: f.kind):
        these = list(each)
        samples = tuple(Sample(f.start, f"{f.text[:SHOWN]}… ({len(f.text)} characters)") for f in these[:examples])
        events.append(Event(f"personal.{kind}", what, len(these), samples))
    if action == "drop":
        counts = ", ".join(f"{event.filter.removeprefix('personal.')} {event.amount}" for event in events)
        events.append(Event("personal", DROPPED, len(text), reason=counts))
    return personal.mask(text, found) if action == "mask" else text, events


def _check_kinds(kinds: Sequence[str]) -> None:
    from gptforge.data.clean import personal

    try:
        personal.scan("", kinds or personal.KINDS)
    except ValueError as e:
        raise ConfigError(f"clean.personal_kinds: {e}", fix="clean.personal_kinds=[]") from None
