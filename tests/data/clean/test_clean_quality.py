import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean.kinds import Kind, is_comment, kind_of
from gptforge.data.clean.quality import GOPHER, Page, c4, duplicate_share, gopher, repeated_characters, top_share

CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。\n"
TEXT = st.text(st.sampled_from("ab .…#-*\n{}。中") | st.characters(), max_size=60)


def rule(name):
    return next(rule for rule in GOPHER if rule.name == name)


def words(n, length=4, start=0):
    """So many different words."""
    return " ".join(f"{i:x}".rjust(length, "g")[-length:] for i in range(start, start + n))


def repeating(n, times, others):
    """A piece of n words so many times, then so many words that stand once; all words are of three characters."""
    return f"{words(n, 3)} " * times + words(others, 3, start=n)


EDGES = [  # the last text that passes and the first that does not, by the thresholds of the papers
    ("word_count", words(50), words(49)),
    ("word_count", words(100_000, 6), words(100_001, 6)),
    ("mean_word_length", "aaa " * 50, "aaa " * 49 + "aa"),
    ("mean_word_length", "a" * 10 + " aaaaaaaaaa" * 49, "a" * 11 + " aaaaaaaaaa" * 49),
    ("hash_signs_per_word", "word " * 9 + "#", "word " * 8 + "#"),
    ("ellipses_per_word", "word " * 9 + "word... " + "word " * 9 + "word…", "word " * 8 + "word... word…"),
    ("bullet_lines", "- a\n" * 9 + "a", "• a\n" * 91 + "a\n" * 9),
    ("ellipsis_lines", "a...\n" * 3 + "a\n" * 7, "a…\n" * 4 + "a\n" * 6),
    ("words_with_letters", "a " * 4 + "1", "a " * 3 + "1"),
    ("stop_words", "The end of it", "the cat, the dog, THE bird"),
    (
        "duplicate_lines",
        "a\n" * 4 + "".join(f"l{i}\n" for i in range(6)),
        "a\n" * 5 + "".join(f"l{i}\n" for i in range(5)),
    ),
    ("duplicate_line_characters", "aa\naa\n" + "b" * 6, "aa\naa\n" + "b" * 5),
    ("duplicate_paragraphs", "a\n\n" * 4 + "b\n\nc\n\nd\n\ne\n\nf\n\ng", "a\n\n" * 5 + "b\n\nc\n\nd\n\ne\n\nf"),
    ("duplicate_paragraph_characters", "aa\n\naa\n\n" + "b" * 6, "aa\n\naa\n\n" + "b" * 5),
    ("top_2_gram", repeating(2, 2, 16), repeating(2, 2, 15)),
    ("top_3_gram", repeating(3, 3, 41), repeating(3, 3, 40)),
    ("top_4_gram", repeating(4, 2, 42), repeating(4, 2, 41)),
    ("duplicate_5_grams", repeating(5, 3, 85), repeating(5, 3, 84)),
    ("duplicate_6_grams", repeating(6, 7, 258), repeating(6, 7, 257)),
    ("duplicate_7_grams", repeating(7, 13, 609), repeating(7, 13, 608)),
    ("duplicate_8_grams", repeating(8, 3, 176), repeating(8, 3, 175)),
    ("duplicate_9_grams", repeating(9, 11, 801), repeating(9, 11, 800)),
    ("duplicate_10_grams", repeating(10, 2, 180), repeating(10, 2, 179)),
]


@pytest.mark.parametrize("name, passes, breaks", EDGES)
def test_gopher_at_the_edges(name, passes, breaks):
    assert rule(name).broken_by(Page(passes)) is None
    broken = rule(name).broken_by(Page(breaks))
    assert broken is not None and broken.rule == name and str(broken).startswith(f"{name} ")


def test_every_rule_has_an_edge():
    assert {name for name, _, _ in EDGES} == {rule.name for rule in GOPHER}


def test_gopher_thresholds_are_the_papers():
    assert {r.name: (r.least, r.most) for r in GOPHER} == {
        "word_count": (50, 100_000),
        "mean_word_length": (3, 10),
        "hash_signs_per_word": (None, 0.1),
        "ellipses_per_word": (None, 0.1),
        "bullet_lines": (None, 0.9),
        "ellipsis_lines": (None, 0.3),
        "words_with_letters": (0.8, None),
        "stop_words": (2, None),
        "duplicate_lines": (None, 0.3),
        "duplicate_line_characters": (None, 0.2),
        "duplicate_paragraphs": (None, 0.3),
        "duplicate_paragraph_characters": (None, 0.2),
        "top_2_gram": (None, 0.2),
        "top_3_gram": (None, 0.18),
        "top_4_gram": (None, 0.16),
        **{f"duplicate_{n}_grams": (None, (20 - n) / 100) for n in range(5, 11)},
    }


def slow_covered(tokens, n, places):
    return sum(len(tokens[i]) for i in {i + j for i in places for j in range(n)})


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), max_size=30), st.integers(2, 6))
def test_shares_of_n_grams_by_plain_counting(tokens, n):
    page = Page(" ".join(tokens))
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    total = max(1, sum(map(len, tokens)))
    places = [i for i, gram in enumerate(grams) if grams.count(gram) > 1]
    for smaller in range(2, n):  # what is known of shorter ones must not change it
        duplicate_share(page, smaller)
    assert duplicate_share(page, n) == slow_covered(tokens, n, places) / total
    most = max(map(grams.count, grams), default=0)
    top = [gram for gram in set(grams) if grams.count(gram) == most]
    longest = max((sum(map(len, gram)) for gram in top), default=0)
    allowed = {
        slow_covered(tokens, n, [i for i, g in enumerate(grams) if g == gram]) / total
        for gram in top
        if sum(map(len, gram)) == longest
    }
    assert top_share(page, n) in (allowed if most > 1 else {0.0})


@given(TEXT, st.sampled_from(Kind), st.booleans())
def test_no_text_breaks_the_rules_themselves(text, kind, english):
    broken, skipped = gopher(text, kind, english)
    assert broken is None or broken.rule not in skipped
    change, _ = c4(text, kind, 2)
    assert len(change.samples) <= min(2, change.amount) and len(change.text) <= len(text)
    assert kind_of(text) in Kind and kind_of(text + "\ud800") in Kind


def test_what_makes_no_sense_is_skipped():
    poor = "的" * 40
    assert gopher(poor, kind_of(poor), False)[0] is None
    _, skipped = gopher(poor, Kind.UNSPACED, False)
    assert "word_count" in skipped and "stop_words" in skipped and "duplicate_lines" not in skipped
    _, skipped = gopher("x", Kind.CODE, True)
    assert len(skipped) == len(GOPHER) - 2
    assert gopher("ein Satz ohne Ende " * 3 + words(60), Kind.PROSE, False)[1] == ["stop_words"]


def test_real_texts_pass_or_are_named():
    plays = assets.shakespeare(full=False).read_text("utf-8").split("\n\n")
    scenes = ["\n\n".join(plays[i : i + 40]) for i in range(0, len(plays), 40)]
    assert all(kind_of(scene) is Kind.PROSE for scene in scenes)
    broken = [b for scene in scenes if (b := gopher(scene, Kind.PROSE, True)[0])]
    assert len(broken) < 0.1 * len(scenes) and {b.rule for b in broken} <= {"duplicate_lines"}  # speakers' names
    sources = [p.read_text("utf-8") for p in Path(sysconfig.get_path("stdlib")).glob("*.py") if p.stat().st_size > 500]
    kinds = [kind_of(source) for source in sources]
    assert kinds.count(Kind.CODE) > 0.9 * len(sources)
    assert sum(gopher(s, k, True)[0] is not None for s, k in zip(sources, kinds, strict=True)) < 0.05 * len(sources)


@pytest.mark.parametrize(
    "text, kind",
    [
        ("", Kind.PROSE),
        ("Just words, with (brackets) and = signs; but few of them in all this prose.", Kind.PROSE),
        (CHINESE, Kind.UNSPACED),
        ("これは日本語の文章です。", Kind.UNSPACED),
        ("ภาษาไทยไม่มีช่องว่าง", Kind.UNSPACED),
        ("한국어는 띄어쓰기를 합니다. 그래서 낱말을 셀 수 있습니다.", Kind.PROSE),
        ("The word 图书馆 means library, and that is all the Chinese in here.", Kind.PROSE),
        ("def f(x):\n    return [g(y) for y in x if y]\n", Kind.CODE),
        ('int main(void) {\n  puts("hi");\n  return 0;\n}\n', Kind.CODE),
        ('{"a": [1, 2],\n "b": {"c": null}}', Kind.CODE),
    ],
)
def test_kinds(text, kind):
    assert kind_of(text) is kind


def test_comments():
    assert is_comment("# a\n#\n  // b\n * c\n */\n-- d\n;; e")
    assert not is_comment("#include <stdio.h>") and not is_comment("*pointer = 1;") and not is_comment("# a\nx = 1")


# C4 ---------------------------------------------------------------------------------

GOOD = "This is a whole sentence indeed.\nAnd so is this one here!\nIs not this one as well?\n"


@pytest.mark.parametrize(
    "line, kept",
    [
        ("It has five words exactly.", "It has five words exactly."),
        ("It has only four.", None),
        ("There is no mark at its end", None),
        ('He said: "It is a quotation"', 'He said: "It is a quotation"'),
        ("He said that “it is one”", "He said that “it is one”"),
        ("You must turn on JavaScript for this page.", None),
        ("Please read our Privacy Policy before you go on.", None),
        ("This site uses cookies for its own good.", None),
        ("It was shown[12] long ago[citation needed] to be so.", "It was shown long ago to be so."),
        ("", ""),
    ],
)
def test_c4_lines(line, kept):
    change, broken = c4(GOOD + line, Kind.PROSE, 5)
    assert broken is None
    assert change.text == (GOOD + kept if kept is not None else GOOD[:-1])
    assert change.amount == (kept != line) and len(change.samples) == (kept != line)
    if change.samples:
        assert (change.samples[0].position, change.samples[0].text) == (len(GOOD), line)


def test_c4_pages():
    assert c4("Only one sentence is here.\nAnd this is the second.", Kind.PROSE, 0)[1].rule == "sentences"
    assert c4(GOOD, Kind.PROSE, 0)[1] is None
    assert c4(GOOD + "Lorem Ipsum dolor sit amet, consectetur.", Kind.PROSE, 0)[1].rule == "lorem_ipsum"
    assert str(c4(GOOD + "function() { }", Kind.PROSE, 0)[1]) == "curly_bracket 1, allowed none"


def test_c4_counts_words_only_where_blanks_part_them():
    change, broken = c4(CHINESE + "目录\n" + CHINESE, Kind.UNSPACED, 1)
    assert broken is None and change.text == CHINESE * 2 and change.amount == 1


def test_repeated_characters_of_nothing():
    assert repeated_characters([]) == 0 and repeated_characters(["", ""]) == 0
