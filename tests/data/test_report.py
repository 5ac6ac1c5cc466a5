"""The facts of the data report agree with counting by hand."""

import json
import math
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, SourceConfig, TokenizerConfig
from gptforge.data import report
from gptforge.data.clean import language
from gptforge.data.prepare import prepare
from gptforge.data.report import languages, lengths, use
from gptforge.data.report.characters import character_facts
from gptforge.data.report.files import MOST_FILES, file_facts
from gptforge.data.store import Dataset
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer

GERMAN = "Der Fluss fließt langsam durch das weite Tal, und die Menschen am Ufer schauen ihm lange nach.\n"
RUSSIAN = "Река медленно течёт через широкую долину, и люди на берегу долго смотрят ей вслед.\n"
CODE = "def f(x):\n    return {x: [x]}\n\nclass A(B):\n    def g(self, y):\n        self.y = y\n"
DOCUMENTS = st.lists(st.text("aé\n", min_size=1, max_size=8), max_size=8)


def dataset(train: list[str], val: list[str], tokenizer=None) -> Dataset:
    """Documents as they are, each of a file of its own."""
    tokenizer = tokenizer or ByteTokenizer()
    ids, starts = [], []
    for documents in (train, val):
        each = [tokenizer.encode(text) for text in documents]
        ids.append(np.concatenate([*each, np.empty(0, np.uint16)]).astype(np.uint16))
        starts.append(np.cumsum([0, *map(len, each)])[: len(each)])
    files = [np.arange(len(train)), np.arange(len(val)) + len(train)]
    names = [f"{n}.txt" for n in range(len(train) + len(val))]
    splits = {name: {"bytes": sum(len(t.encode()) for t in d)} for name, d in (("train", train), ("val", val))}
    manifest = {"splits": splits, "split": "by document", "key": "k"}
    return Dataset(*ids, *starts, *files, names, tokenizer, manifest)


def lines_of(documents: list[str]) -> Counter[int]:
    """The bytes of each line; what follows the last line feed is a line if it is anything."""
    split = [text.removesuffix("\n").split("\n") for text in documents]
    return Counter(len(line.encode()) for lines in split for line in lines)


# Lengths ----------------------------------------------------------------------------------


@given(DOCUMENTS, DOCUMENTS)
def test_lines_are_what_splitting_gives(train, val):
    found = lengths.line_facts(dataset(train, val))
    expected = lines_of([*train, *val])
    assert found["lines"] == expected.total() and found["empty"] == expected[0]
    assert sum(b["total"] for b in found["histogram"]) == sum(n * size for size, n in expected.items())
    assert found["quantiles"].get("most", 0) == max(expected, default=0)
    assert found["looked_at_tokens"] == len("".join([*train, *val]).encode())


def test_line_feeds_within_a_token():
    class Pairs(ByteTokenizer):
        """Token 256 + n are the n-th of some texts."""

        def decode_bytes(self, ids):
            return b"".join({256: b"a\n\nbc", 257: b"\n\n\n"}.get(i, bytes([i % 256])) for i in ids)

        def token_bytes(self):
            return np.array([len(self.decode_bytes([i])) for i in range(258)])

        vocab_size = 258

    ids = np.array([ord("x"), 256, 257, ord("y"), 256])  # xa||bc|||ya||bc
    data = dataset([], [])
    data.train, data.train_starts, data.tokenizer = ids, np.array([0]), Pairs()
    found = lengths.line_facts(data)
    assert found["lines"] == 8 and found["empty"] == 4
    assert {b["least"]: b["count"] for b in found["histogram"]} == {2: 4}


@given(DOCUMENTS, st.integers(1, 6), st.integers(1, 3))
def test_parts_of_a_long_text_have_only_whole_lines_of_it(train, chunk, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lengths, "CHUNK", chunk)
        patch.setattr(lengths, "LINE_CHUNKS", most)
        patch.setattr(lengths, "histogram", lambda found: found.tolist())
        found = lengths.line_facts(dataset(train, []))
    assert Counter(found["histogram"]) <= lines_of(train)
    assert found["looked_at_tokens"] <= chunk * most


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_a_histogram_has_each_length_once(sizes):
    bins = lengths.histogram(np.array(sizes, np.int64))
    for b in bins:
        own = [n for n in sizes if b["least"] <= n <= b["most"]]
        assert (b["count"], b["total"]) == (len(own), sum(own))
    assert sum(b["count"] for b in bins) == sum(n > 0 for n in sizes)
    assert all(a["most"] + 1 == b["least"] for a, b in pairwise(bins))
    assert not bins or (bins[0]["count"] and bins[-1]["count"])
    assert all(math.log10((b["most"] + 1) / b["least"]) < 0.34 for b in bins)


# Tokens and characters --------------------------------------------------------------------


def test_use_of_tokens_by_hand():
    data = dataset(["abcd" * 3], ["abcd"], CharTokenizer("abcde"))
    found = use.use_facts(use.token_counts(data), data.tokenizer)
    assert (found["used"], found["unused"], found["seldom"]) == (4, 1, 4)
    assert found["bits_per_token"] == found["bits_per_byte"] == 2
    assert found["first"] == [[1, 0.25]] and found["zipf"] is None
    assert [(t["text"], t["count"]) for t in found["frequent"]] == [(c, 4) for c in "abcd"]
    assert found["curve"] == [[1, 4], [2, 4], [3, 4], [4, 4]]


def test_the_exponent_of_a_power_law_is_found():
    counts = np.round(1e7 * np.arange(1, 257) ** -0.8).astype(np.int64)
    found = use.use_facts(np.random.default_rng(0).permutation(counts), ByteTokenizer())
    assert found["zipf"]["exponent"] == pytest.approx(0.8, abs=1e-3)
    assert found["zipf"]["scale"] == pytest.approx(1e7, rel=1e-2)
    assert found["curve"][0] == [1, 10**7] and found["curve"][-1] == [256, int(counts[-1])]


def test_no_tokens_at_all_are_no_error():
    found = use.use_facts(np.zeros(256, np.int64), ByteTokenizer())
    assert found["curve"] == found["frequent"] == [] and found["bits_per_byte"] == 0


def test_characters_have_a_class_and_letters_a_script():
    text = {"a": 6, "B": 1, "ж": 2, "中": 1, "\u0301": 1, "4": 3, ".": 1, "€": 1, " ": 2, "\t": 1, "\n": 3}
    text |= {"\x07": 1, "\u200b": 1, "\ue000": 1, "\ufffd": 1, "µ": 1}
    found = character_facts(list(text.items()))
    assert {name: n for name, n, _ in found["character_classes"]} == {
        "small letters": 9, "capital letters": 1, "other letters": 1, "marks on letters": 1, "digits and numbers": 3,
        "punctuation": 1, "symbols": 1, "blanks": 3, "line ends": 3, "control characters": 1,
        "invisible characters": 1, "private or unassigned": 1, "replaced, were not readable": 1,
    }  # fmt: skip
    assert {name: n for name, n, _ in found["scripts"]} == {"Latin": 7, "Cyrillic": 2, "CJK": 1, "other": 1}
    assert sum(share for _, _, share in found["character_classes"]) == pytest.approx(1, abs=1e-5)
    assert {c for c, _, _ in found["rare_characters"][:4]} == {"\x07", "\u200b", "\ue000", "\ufffd"}


# Languages --------------------------------------------------------------------------------


@given(DOCUMENTS, DOCUMENTS, st.integers(1, 30), st.integers(1, 12))
def test_passages_are_of_one_document_each_and_hold_all_places(train, val, places, size):
    data = dataset(train, val)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(languages, "PLACES", places)
        patch.setattr(languages, "PASSAGE_BYTES", size)
        found = languages._passages(data)
    n = len(data.train) + len(data.val)
    starts = [*data.train_starts, *(data.val_starts + len(data.train)), n]
    assert found.total() == min(places, n) and len(found) <= places
    for begin, end in found:
        assert 0 < end - begin <= size
        assert sum(begin < start < end for start in starts) == 0


def test_languages_are_told_by_their_share():
    found = languages.language_facts(dataset([GERMAN * 30], [RUSSIAN * 30, CODE * 30, "1234 5678 " * 60]))
    sizes = {name: len(text.encode()) for name, text in (("de", GERMAN * 30), ("ru", RUSSIAN * 30))}
    sizes |= {"source code": len(CODE) * 30, "too few letters": 600}
    shares = dict(found["languages"]) | dict(found["other"])
    assert shares.keys() == sizes.keys() and found["missing"] == ""
    for name, size in sizes.items():
        assert shares[name] == pytest.approx(size / sum(sizes.values()), abs=0.01)


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._identifier.cache_clear()
    try:
        found = languages.language_facts(dataset([GERMAN], []))
    finally:
        language._identifier.cache_clear()
    assert found["missing"] == "telling languages needs the package py3langid: pip install 'gptforge[clean]'"
    assert found["passages"] == 0 and found["languages"] == []


# Files and texts --------------------------------------------------------------------------


def test_the_largest_files_come_first_and_are_bounded():
    data = dataset(["a" * n for n in range(1, 61)], ["b" * 100, "c"])
    found = file_facts(data)
    assert found["files"] == found["with_text"] == 62 and len(found["largest"]) == MOST_FILES
    assert found["largest"][0] == {"name": "60.txt", "documents": 1, "train": 0, "val": 100}
    assert found["largest"][1] == {"name": "59.txt", "documents": 1, "train": 60, "val": 0}


def mixed(tmp_path, **more) -> dict:
    for name, text in (("a", GERMAN), ("b", RUSSIAN)):
        (tmp_path / name).mkdir(exist_ok=True)
        for n in range(25):
            (tmp_path / name / f"{n}.txt").write_text(f"{n} {text * 3}", encoding="utf-8")
    sources = [SourceConfig(path=str(tmp_path / name)) for name in "ab"]
    cfg = DataConfig(source="mix", sources=sources, **more)
    return report.facts(prepare(cfg, TokenizerConfig(kind="byte")), [s.path for s in sources])


def test_each_of_several_texts_has_its_share_of_the_split(own_cache, tmp_path):
    found = mixed(tmp_path, val_fraction=0.2)
    assert [text["name"] for text in found["texts"]] == [str(tmp_path / "a"), str(tmp_path / "b")]
    for text in found["texts"]:
        assert text["files"] == text["documents"] == 25
        assert text["val"] / (text["train"] + text["val"]) == pytest.approx(0.2, abs=0.05)
    for name in ("train", "val"):
        assert sum(text[name] for text in found["texts"]) == found["splits"][name]["tokens"]


def test_a_text_for_validation_alone_is_one_of_them(own_cache, tmp_path):
    (tmp_path / "kept.txt").write_text("This is kept. " * 40)
    found = mixed(tmp_path, val_path=str(tmp_path / "kept.txt"))
    assert [text["name"] for text in found["texts"]][2:] == ["data.val_path"]
    assert [text["val"] for text in found["texts"]] == [0, 0, found["splits"]["val"]["tokens"]]
    assert [text["train"] > 0 for text in found["texts"]] == [True, True, False]


def test_a_text_for_validation_of_which_cleaning_leaves_nothing_is_no_error(own_cache, tmp_path):
    (tmp_path / "kept.txt").write_text("short")
    (tmp_path / "c.txt").write_text(GERMAN * 9, encoding="utf-8")
    names = [str(tmp_path / name) for name in ("c.txt", "d.txt")]
    (tmp_path / "d.txt").write_text(RUSSIAN * 9, encoding="utf-8")
    sources = [SourceConfig(path=name) for name in names]
    cfg = DataConfig(source="mix", sources=sources, val_path=str(tmp_path / "kept.txt"))
    found = report.facts(prepare(cfg, TokenizerConfig(), clean=CleanConfig(min_length=9)), names)
    assert [(text["files"], text["val"]) for text in found["texts"]] == [(1, 0), (1, 0), (0, 0)]
    assert found["leakage"]["share"] == 0 and found["files"]["with_text"] == 2


def test_facts_of_one_text_are_json_and_agree_with_it(own_cache, tmp_path):
    text = GERMAN * 45
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found = report.facts(prepare(DataConfig(source="files", path=str(tmp_path / "t.txt")), TokenizerConfig()))
    assert json.loads(json.dumps(found)) == found
    assert found["texts"] == [] and found["lines"]["lines"] == 46  # the split cuts one in two
    assert found["tokens"] == found["characters"] == len(text) and found["bytes"] == len(text.encode())
    assert sum(split["tokens"] for split in found["splits"].values()) == found["tokens"]
    assert found["leakage"]["share"] > 0.9 and found["leakage"]["worst_documents"][0]["file"] == "t.txt"
    assert found["languages"]["languages"] == [["de", 1.0]]
    assert any("much of the kept text" in warning for warning in found["warnings"])
    said = "\n".join(report.lines(found))
    assert "languages   de 100.0%" in said and "lines       46 looked at, 0 empty" in said
