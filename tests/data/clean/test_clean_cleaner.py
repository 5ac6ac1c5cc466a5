import json
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gptforge import assets
from gptforge.compose import conf_dir
from gptforge.config.clean import CleanConfig
from gptforge.config.schema import build
from gptforge.data.clean.cleaner import Cleaner
from gptforge.data.clean.events import Tally
from gptforge.errors import ConfigError

TEXT = st.text(st.sampled_from("ab \r\n\t\ufeff\x07\u200bé\u0301Ã¤中.。{}#") | st.characters(), max_size=60)
GOOD = "The children went to the river in the morning, and they came back when it was dark and cold. "


def option(name):
    return build(CleanConfig, yaml.safe_load((conf_dir() / "clean" / f"{name}.yaml").read_text(encoding="utf-8")))


def everything(**more):
    return CleanConfig(
        unicode="fix", line_ends=True, control_characters=True, invisible=True, whitespace=True, gopher=True, c4=True,
        language=["en", "zh"], min_length=3, **more,
    )  # fmt: skip


@dataclass
class Finding:
    kind: str
    start: int
    end: int
    text: str


@pytest.fixture
def personal(monkeypatch):
    """A stand-in for the search for personal data: every digit is a number, every @ an address."""
    module = ModuleType("gptforge.data.clean.personal")
    kinds = {"number": "0123456789", "address": "@"}

    def scan(text, wanted):
        if unknown := set(wanted) - set(kinds):
            raise ValueError(f"no such kinds: {unknown}")
        signs = {sign: kind for kind in wanted for sign in kinds[kind]}
        return [Finding(signs[c], i, i + 1, c) for i, c in enumerate(text) if c in signs]

    def mask(text, findings):
        hidden = {f.start for f in findings}
        return "".join("_" if i in hidden else c for i, c in enumerate(text))

    module.__dict__.update(KINDS=tuple(kinds), scan=scan, mask=mask)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("gptforge.data.clean.personal", module, raising=False)


# The config ---------------------------------------------------------------------------


def test_options():
    assert option("none") == CleanConfig()
    assert option("mild") == CleanConfig(line_ends=True, control_characters=True)
    strict = option("strict")
    assert (strict.unicode, strict.exact_duplicates, strict.near_duplicates) == ("fix", "paragraphs", "drop")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"min_length": 9, "max_length": 8}, "nothing is left between"),
        ({"language": ["English"]}, "codes of ISO 639"),
        ({"personal_kinds": ["email"]}, "used only with clean.personal"),
        ({"near_threshold": 0.2}, "at least 0.3"),
        ({"boilerplate": 1}, "at least 2"),
        ({"unicode": "nfd"}, "not one of off, fix, nfc, nfkc"),
        ({"near_duplicates": 0.8}, "not one of off, group, drop"),
    ],
)
def test_config_that_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        build(CleanConfig, values)
    assert build(CleanConfig, {"min_length": 8, "max_length": 8}).max_length == 8


# One document ----------------------------------------------------------------------------


@given(TEXT)
def test_nothing_is_nothing(text):
    outcome = Cleaner(CleanConfig()).apply(text)
    assert (outcome.text, outcome.events) == (text, ())


@given(TEXT)
def test_any_unicode_and_twice_is_once(text):
    for cfg in (
        option("mild"),
        everything(),
        CleanConfig(unicode="nfkc", invisible=True, min_length=20, max_length=50),
    ):
        cleaner = Cleaner(cfg)
        outcome = cleaner.apply(text)
        assert outcome == cleaner.apply(text)
        changed = [event for event in outcome.events if event.action == "changed"]
        assert (outcome.text is None) == (bool(outcome.events) and outcome.events[-1].action == "dropped")
        assert sum(event.action == "dropped" for event in outcome.events) <= 1
        if outcome.text is not None and not (cfg.unicode != "off" and changed):
            assert [event for event in cleaner.apply(outcome.text).events if event.action != "skipped"] == []
            assert changed or outcome.text == text


def test_mild_changes_no_text_of_ours_and_what_it_should():
    cleaner = Cleaner(option("mild"))
    for text in (assets.shakespeare(full=False).read_text("utf-8"), assets.pydoc().read_text("utf-8")):
        assert cleaner.apply(text).text == text
    outcome = cleaner.apply("\ufeffone \r\ntwo\x00\u200d\u200b")
    assert outcome.text == "one \ntwo\u200d\u200b"
    assert [(event.filter, event.action, event.amount) for event in outcome.events] == [
        ("line_ends", "changed", 1),
        ("control_characters", "changed", 2),
    ]


@pytest.mark.parametrize(
    "cfg, text, filter_, reason",
    [
        (CleanConfig(min_length=5), "1234", "min_length", "4 characters, allowed at least 5"),
        (CleanConfig(max_length=5), "123456", "max_length", "6 characters, allowed at most 5"),
        (CleanConfig(gopher=True), "few words", "gopher.word_count", "word_count 2, allowed 50 to 100000"),
        (CleanConfig(c4=True), "A page of {brackets}.", "c4.curly_bracket", "curly_bracket 1, allowed none"),
        (CleanConfig(language=["de"]), GOOD, "language", "en with probability"),
    ],
)
def test_a_document_is_dropped_with_the_rule_and_the_value(cfg, text, filter_, reason):
    outcome = Cleaner(cfg).apply(text)
    assert outcome.text is None
    event = outcome.events[-1]
    assert (event.filter, event.action, event.amount) == (filter_, "dropped", len(text))
    assert event.reason.startswith(reason) and event.samples[0].text.startswith(text[:50])


def test_lengths_at_their_edges():
    cleaner = Cleaner(CleanConfig(min_length=4, max_length=5))
    assert [cleaner.apply("x" * n).text is None for n in range(3, 7)] == [True, False, False, True]


def test_the_confidence_of_a_language_at_its_edge():
    share = Cleaner(CleanConfig(language=["de"])).apply(GOOD).events[-1].reason
    assert "; de: 0.0" in share
    for confidence, kept in ((0.0, True), (1.0, False)):
        assert (Cleaner(CleanConfig(language=["de"], language_confidence=confidence)).apply(GOOD).text is None) != kept


def test_what_makes_no_sense_is_skipped_and_counted():
    code = "def f(x):\n    return {x: [1, 2]}\n" * 3
    outcome = Cleaner(everything()).apply(code)
    assert outcome.text == code
    assert {event.filter: event.action for event in outcome.events} == dict.fromkeys(
        ("language", "gopher", "c4"), "skipped"
    )
    assert all(event.reason.startswith("source code") for event in outcome.events)
    short = Cleaner(CleanConfig(language=["en"])).apply("12 x")
    assert (short.text, short.events[0].action, short.events[0].reason) == ("12 x", "skipped", "fewer than 20 letters")


def test_english_stop_words_are_asked_of_english_alone():
    german = " ".join(f"wort{i} und satz{i}" for i in range(40))
    assert Cleaner(CleanConfig(gopher=True)).apply(german).events[0].reason.endswith("[en]: stop_words")
    english = CleanConfig(gopher=True, language=["en"], language_confidence=0)
    assert Cleaner(english).apply(german).events[-1].filter == "gopher.stop_words"


def test_unknown_languages_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"clean\.language has 'xx'"):
        Cleaner(CleanConfig(language=["xx"]))


def test_missing_packages_are_told_at_once(monkeypatch):
    from gptforge.data.clean import text

    text.mender.cache_clear()
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ConfigError, match="ftfy"):
        Cleaner(CleanConfig(unicode="fix"))
    text.mender.cache_clear()


# Personal data ------------------------------------------------------------------------------


@pytest.mark.parametrize("action, text", [("report", "a1b22@"), ("mask", "a_b___"), ("drop", None)])
def test_personal_data(personal, action, text):
    outcome = Cleaner(CleanConfig(personal=action, examples=2)).apply("a1b22@")
    assert outcome.text == text
    found = {event.filter: (event.action, event.amount) for event in outcome.events}
    what = "changed" if action == "mask" else "found"
    assert found.pop("personal.number") == (what, 3) and found.pop("personal.address") == (what, 1)
    assert found == ({"personal": ("dropped", 6)} if action == "drop" else {})
    numbers = next(event for event in outcome.events if event.filter == "personal.number")
    assert [(s.position, s.text) for s in numbers.samples] == [(1, "1… (1 characters)"), (3, "2… (1 characters)")]
    if action == "drop":
        assert outcome.events[-1].reason == "address 1, number 3"
    assert Cleaner(CleanConfig(personal=action)).apply("abc").events == ()


def test_kinds_of_personal_data(personal):
    cleaner = Cleaner(CleanConfig(personal="mask", personal_kinds=["address"]))
    assert cleaner.apply("a1@").text == "a1_"
    with pytest.raises(ConfigError, match=r"clean\.personal_kinds: no such kinds: \{'iban'\}"):
        Cleaner(CleanConfig(personal="mask", personal_kinds=["iban"]))


# Added up -----------------------------------------------------------------------------------


def test_a_tally_of_a_collection_is_json():
    cleaner, tally = Cleaner(everything()), Tally(examples=1)
    texts = [GOOD * 12, "x\r\n" * 5, "x = {y: [z]}\n" * 3, "Ã¤\x00"]
    for i, text in enumerate(texts):
        tally.add(i, cleaner.apply(text).events)
    found = json.loads(json.dumps(tally.to_dict()))
    assert found["line_ends"]["changed"]["amount"] == 5 and found["line_ends"]["changed"]["documents"] == 1
    assert found["unicode"]["changed"]["samples"] == [{"document": 3, "position": 0, "text": "Ã¤\x00", "reason": ""}]
    assert (
        sum(action["documents"] for rule in found.values() for name, action in rule.items() if name == "dropped") == 3
    )
