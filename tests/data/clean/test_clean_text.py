import re
import sys
import sysconfig
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean import text as rules
from gptforge.errors import ConfigError

RULES = {
    "mended": rules.mended,
    "nfc": partial(rules.normalized, form="NFC"),
    "nfkc": partial(rules.normalized, form="NFKC"),
    "line_feeds": rules.with_line_feeds,
    "control": rules.without_control_characters,
    "invisible": rules.without_invisible,
    "blanks": rules.without_needless_blanks,
}
CHANGES_NO_ORDINARY_TEXT = [name for name in RULES if name != "nfkc"]

# Characters that the rules are about, among all others
RUBBISH = "\r\n\t \xa0\u3000\x00\x07\x1b[31m\x85\x9f\xad\u200b\u200c\u200d\u200e\u202a\u202e\u2028\u2060\ufeff\ufffe"
LETTERS = "abÃ©¼â€™ñéa\u0301אبกกกक्ष中ï¬\U0001f3f4\U000e0067\U000e007f\ud800"
TEXT = st.text(st.sampled_from(RUBBISH + LETTERS) | st.characters(), max_size=40)

ORDINARY = {
    "Chinese": "　　他说：“我们今天去图书馆，好吗？”\n《红楼梦》第一回……（完）\nＡＢＣ公司、３天",
    "Japanese": "彼は「はい、ｗｗｗ」と言った。カタカナ・ひらがな〜\n葛\U000e0100城市",
    "Korean": "안녕하세요, 저는 한국어를 배우고 있습니다.",
    "Arabic": "قال: «مرحباً بكم»، ثم كتب \u200fHTML5\u200f في السطر ١٢٣؛ أليس كذلك؟",
    "Persian": "می\u200cخواهم کتاب\u200cهایم را بخوانم.",
    "Hebrew": "הוּא אָמַר \u2067C++\u2069 ו־\u200eC#\u200e בבית־ספר.",
    "Hindi": "क्ष क्\u200dष क्\u200cष – राम ने कहा कि वह आएगा।",
    "Sinhala": "ශ්\u200dරී ලංකාව",
    "Malayalam": "അവന്\u200d പറഞ്ഞു",
    "Tamil": "தமிழ் மொழி மிகவும் பழமையானது.",
    "Thai": "ภาษาไทย\u200bไม่มี\u200bช่องว่าง",
    "Khmer": "ភាសា\u200bខ្មែរ\u200bសរសេរ",
    "Burmese": "မြန်မာ\u200bဘာသာ",
    "Vietnamese": "Tiếng Việt có nhiều dấu.",
    "Russian": "Ёлка — дерево; «ёжик» — нет.",
    "French": "«\u202f Où est l’œuvre ?\u202f» dit-il\xa0: 5\xa0€ ; ﬁn",
    "German": "„Straße“, sagte er – ‚schön‘ & <b>&amp;</b> kostet 3½ €…",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 ❤️\u200d🔥 👍🏽 1️⃣ 🇨🇳 ☺︎",
    "a flag": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "mathematics": "x² + ∑ₙ aₙ ≤ ½ · ℝ³, 𝔸 ⊆ 𝔹, f′(x) → ∞",
    "code": "\tif (x && y) {\n\t\treturn a[i] << 2;  // \x0c\n\n\n\t}\n",
    "HTML": "<p>&lt;b&gt; &nbsp; caf&eacute;</p>",
    "names": "naïve Zoë São Paulo Ångström Łódź İstanbul",
}


@pytest.mark.parametrize("name", CHANGES_NO_ORDINARY_TEXT)
@pytest.mark.parametrize("script", ORDINARY)
def test_ordinary_text_is_left_alone(name, script):
    text = unicodedata.normalize("NFC", ORDINARY[script])
    change = RULES[name](text, 3)
    assert (change.text, change.amount, change.samples) == (text, 0, ())


@pytest.mark.parametrize("name", CHANGES_NO_ORDINARY_TEXT)
def test_our_own_texts_are_left_alone(name):
    for text in (assets.shakespeare(full=False).read_text("utf-8"), assets.pydoc().read_text("utf-8")):
        assert RULES[name](text, 1).text.split() == text.split()
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]
    assert len(sources) == 60
    for path in sources:
        source = path.read_text("utf-8")
        assert RULES[name](source, 1).text.split() == source.split()


@pytest.mark.parametrize("name", RULES)
@given(text=TEXT, examples=st.integers(0, 2))
@example(text="a\u200d\u200bb", examples=1)
@example(text="a \r\n\r\n\r\n\r\n\r\n b\t\n", examples=1)
@example(text="a\n \n\n \n\n", examples=1)
@example(text="\x1b\x00[31m", examples=1)
@example(text="\U0001f3f4\U000e0067\U000e007f\U000e0067", examples=2)
def test_any_unicode_once_is_enough_and_changes_are_counted(name, text, examples):
    rule = RULES[name]
    change = rule(text, examples)
    again = rule(change.text, examples)
    assert again.text == change.text and again.amount == 0
    assert (change.amount > 0) == (change.text != text)
    assert len(change.samples) == min(examples, change.amount) or name == "blanks"
    assert all(0 <= sample.position <= len(text) for sample in change.samples)


@given(TEXT)
def test_only_what_a_rule_names_goes(text):
    visible = re.sub(r"[\r\n]", "", text)
    feeds = rules.with_line_feeds(text, 0).text
    assert not set(feeds) & set("\r\x85\u2028\u2029")
    assert re.sub(r"\n", "", feeds) == re.sub("[\x85\u2028\u2029]", "", visible)
    assert rules.without_needless_blanks(text, 0).text.split() == text.split()
    cleaned = rules.without_control_characters(text, 0).text
    assert all(c in "\t\n\v\f\r\x85" or unicodedata.category(c) not in ("Cc", "Cs") for c in cleaned)
    assert [c for c in rules.without_invisible(text, 0).text if c.isalnum()] == [c for c in text if c.isalnum()]


def taken_by(rule):
    """All characters that a rule takes out of a text where they stand alone."""
    found = set()
    for start in range(0, sys.maxunicode + 1, 256):
        block = [chr(n) for n in range(start, start + 256)]
        if rule("中".join(block), 0).amount or start == 0x600:  # there Arabic letters keep a mark of direction
            found |= {c for c in block if rule(c, 0).text == ""}
    return found


def test_every_character_by_itself():
    nonchar = {chr(n) for n in range(sys.maxunicode + 1) if 0xFDD0 <= n <= 0xFDEF or n & 0xFFFE == 0xFFFE}
    controls = {c for c in map(chr, range(0xA0)) if unicodedata.category(c) == "Cc"} - set("\t\n\v\f\r\x85")
    surrogates = {chr(n) for n in range(0xD800, 0xE000)}
    assert taken_by(rules.without_control_characters) == controls | nonchar | surrogates | {"\ufeff"}
    invisible = taken_by(rules.without_invisible)
    tags = {chr(n) for n in range(0xE0000, 0xE0080)}
    assert tags < invisible and {unicodedata.category(c) for c in invisible - tags} == {"Cf"}
    assert not invisible & set("\u200c\u200d\ufe0f\u3164 \xa0\u3000")
    assert invisible - tags >= set("\xad\u061c\u200b\u200e\u202e\u2060\u2066")


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("schÃ¶n", "schön"),
        ("donâ€™t", "don’t"),
        ("âœ” No problems", "✔ No problems"),
        ("cafe\u0301", "café"),
        ("l’ï»¿amour", "l’\ufeffamour"),
        ("æˆ‘ä»¬", "我们"),
    ],
)
def test_wrongly_decoded_text_is_mended(wrong, right):
    change = rules.mended(f"ok\nsome {wrong}\nä", 3)
    assert change.text == f"ok\nsome {right}\nä" and change.amount == 1
    assert change.samples[0].position >= 8 and change.samples[0].text.startswith("some")


def test_ftfy_missing_is_said(monkeypatch):
    rules.mender.cache_clear()
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ConfigError, match=r"(?s)clean\.unicode=fix needs.*pip install 'gptforge\[clean\]'"):
        rules.mended("é", 0)
    rules.mender.cache_clear()


def test_normal_forms():
    assert rules.normalized("e\u0301 ﬁ，²", 1, "NFC").text == "é ﬁ，²"
    change = rules.normalized("a\ne\u0301 ﬁ，²\nb", 1, "NFKC")
    assert change.text == "a\né fi,2\nb" and change.amount == 1
    assert (change.samples[0].position, change.samples[0].text) == (2, "e\u0301 ﬁ，²")


def test_line_ends():
    change = rules.with_line_feeds("a\r\nb\rc\nd\x85e\u2028f\u2029g\r\r\n", 2)
    assert change.text == "a\nb\nc\nd\ne\nf\ng\n\n" and change.amount == 7
    assert [sample.position for sample in change.samples] == [1, 4]


@pytest.mark.parametrize(
    "text, expected, amount",
    [
        ("\ufeffa\ufeffb", "ab", 2),
        ("\x1b[1;31mred\x1b[0m \x1b]", "red ]", 3),
        ("a\x00b\x08\x7f\x9f", "ab", 4),
        ("a\tb\x0cc\x0bd\re", "a\tb\x0cc\x0bd\re", 0),
        ("\ud83d\ude00 \udcff", " ", 3),
    ],
)
def test_control_characters(text, expected, amount):
    change = rules.without_control_characters(text, 9)
    assert (change.text, change.amount) == (expected, amount) and len(change.samples) == amount


@pytest.mark.parametrize(
    "text, expected, amount",
    [
        ("soft\u00adhy\u200bphen\u2060s", "softhyphens", 3),
        ("pass\u200dword a\u200cb", "password ab", 2),
        ("if admin\u202e\u2066// check\u2069 \u2066then", "if admin// check then", 4),
        ("Latin \u200eonly\u200f", "Latin only", 2),
        ("עברית \u202a(x)\u202c", "עברית \u202a(x)\u202c", 0),
        ("hidden \U000e0068\U000e0069", "hidden ", 2),
        ("🏴\U000e0067\U000e0062\U000e007f\U000e0067", "🏴\U000e0067\U000e0062\U000e007f", 1),
        ("Thai ก\u200bข and a\u200bb", "Thai ก\u200bข and ab", 1),
    ],
)
def test_invisible_characters(text, expected, amount):
    change = rules.without_invisible(text, 9)
    assert (change.text, change.amount) == (expected, amount) and len(change.samples) == amount


@pytest.mark.parametrize(
    "text, expected, amount",
    [
        ("a  \nb\t\r\n\u3000c\u3000", "a\nb\r\n\u3000c", 3),
        ("a\n\n\nb", "a\n\n\nb", 0),
        ("a\n\n\n\nb", "a\n\n\nb", 1),
        ("a\r\n\r\n\r\n\r\n\r\nb", "a\r\n\r\n\r\nb", 1),
        ("a\n \n\t\n \n \nb", "a\n\n\nb", 5),
        ("\n\n  a\n\n", "  a\n", 2),
        ("a\x0c\n", "a\x0c\n", 0),
        (" \t ", "", 1),
        ("", "", 0),
    ],
)
def test_needless_blanks(text, expected, amount):
    change = rules.without_needless_blanks(text, 9)
    assert (change.text, change.amount) == (expected, amount)


def test_long_runs_of_blanks_take_linear_time():
    text = " " * 200_000 + "a" + "\n" * 200_000 + "b" + " \n" * 100_000
    assert rules.without_needless_blanks(text, 0).text == " " * 200_000 + "a\n\n\nb\n"
