import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean import language
from gptforge.errors import ConfigError

TEXTS = {
    "en": "The children went to the river in the morning, and they came back when it was dark.",
    "de": "Die Kinder gingen am Morgen zum Fluss, und sie kamen erst zurück, als es dunkel war.",
    "fr": "Les enfants sont allés à la rivière le matin et ils sont revenus quand il faisait nuit.",
    "ru": "Дети пошли утром к реке и вернулись только тогда, когда стало темно.",
    "zh": "孩子们早上去了河边，天黑以后才回来。他们在那里玩了整整一天，一点也不觉得累。",
    "ar": "ذهب الأطفال إلى النهر في الصباح ولم يعودوا إلا عندما حل الظلام.",
}


@pytest.mark.parametrize("code", TEXTS)
def test_languages_are_told(code):
    found = language.identify(TEXTS[code])
    assert found is not None and found[0] == code and 0.3 < found[1] <= 1
    assert language.probability(TEXTS[code], [code]) == pytest.approx(found[1], abs=1e-5)
    others = [other for other in TEXTS if other != code]
    assert language.probability(TEXTS[code], others) < 0.3
    assert language.probability(TEXTS[code], list(TEXTS)) > 0.5


def test_a_long_text_is_looked_at_in_three_places():
    german, english = TEXTS["de"] * 100, assets.pydoc().read_text("utf-8")[:3000]
    found = language.identify(english + german * 3)
    assert found is not None and found[0] == "de"


@pytest.mark.parametrize("text", ["", "1234 5678 !? 1234 5678 9012 3456", "abc " * 6, "中" * 19])
def test_few_letters_tell_nothing(text):
    assert language.identify(text) is None and language.probability(text, ["en"]) is None


@given(st.text(max_size=60))
def test_any_unicode(text):
    found = language.probability(text, ["en", "zh"])
    assert found is None or 0 <= found <= 1
    language.identify(text + "\ud800" * 30)


def test_unknown_languages_are_refused():
    with pytest.raises(ConfigError, match=r"'xx'") as e:
        language.check(["en", "xx"])
    assert e.value.exit_code == 2
    language.check(["en", "zh", "yue"])


def test_py3langid_missing_is_said(monkeypatch):
    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ConfigError, match=r"(?s)py3langid.*pip install 'gptforge\[clean\]'"):
        language.check(["en"])
    language._identifier.cache_clear()
