import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from gptforge import assets
from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data import cleaning, repeats
from gptforge.data.clean.cleaner import Cleaner
from gptforge.data.cleaning import Account, cleaned, in_pieces
from gptforge.data.collect import examine
from gptforge.data.prepare import prepare
from gptforge.data.read import Piece
from gptforge.data.repeats import joined
from gptforge.errors import DataError

PARAGRAPHS = CleanConfig(exact_duplicates="paragraphs")
MILD = CleanConfig(line_ends=True, control_characters=True)
TEXT = st.text("ab \r\n\x07", min_size=1, max_size=12)
DOCUMENTS = st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=5)


def pieces_of(documents: list[list[str]]) -> list[Piece]:
    return [Piece(text, i == 0, n) for n, parts in enumerate(documents) for i, text in enumerate(parts)]


def documents_of(pieces) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for piece in pieces:
        if piece.begins:
            found.append((piece.file, ""))
        found[-1] = (piece.file, found[-1][1] + piece.text)
    return found


def folder_of(path, texts: dict[str, str]) -> DataConfig:
    path.mkdir()
    for name, text in texts.items():
        (path / name).write_bytes(text.encode())
    return DataConfig(source="files", path=str(path))


# Document by document ---------------------------------------------------------------------


@given(DOCUMENTS)
def test_a_document_is_cleaned_as_a_whole_however_it_is_read(documents):
    account = Account([str(n) for n in range(len(documents))], examples=1)
    found = documents_of(cleaned(pieces_of(documents), MILD, account))
    wanted = [(n, Cleaner(MILD).apply("".join(parts)).text) for n, parts in enumerate(documents)]
    assert found == [(n, text) for n, text in wanted if text]
    facts = account.facts()
    assert facts["documents"] == len(documents)
    emptied = facts["filters"].get("empty", {}).get("dropped", {"documents": 0})
    assert emptied["documents"] == sum(not text for _, text in wanted)


@given(DOCUMENTS, st.integers(2, 9))
def test_a_long_document_is_cleaned_in_parts_and_stays_one(documents, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "LONGEST", longest)
        found = documents_of(cleaned(pieces_of(documents), CleanConfig(), Account([""] * len(documents), 0)))
    assert found == [(n, "".join(parts)) for n, parts in enumerate(documents)]


@given(st.text("ab\n", min_size=1), st.integers(1, 7))
def test_pieces_are_short_and_make_the_text(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "CHUNK_BYTES", size)
        pieces = list(in_pieces(text, True, 3))
    assert "".join(p.text for p in pieces) == text and max(len(p.text) for p in pieces) <= size
    assert [p.begins for p in pieces] == [True] + [False] * (len(pieces) - 1)
    assert all(piece.text.endswith("\n") or len(piece.text) == size for piece in pieces[:-1])


# What the collection repeats --------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_two_groupings_join_along_chains(pairs):
    def grouping(values):
        return np.array([values.index(v) for v in values])

    a, b = (grouping([pair[i] for pair in pairs]) for i in (0, 1))
    labels = list(range(len(pairs)))
    for _ in pairs:  # by hand: as long as anything changes
        for grouped in (a, b):
            for value in set(grouped.tolist()):
                members = [i for i in range(len(pairs)) if grouped[i] == value]
                least = min(labels[i] for i in members)
                for i in members:
                    labels[i] = least
    assert joined(a, b).tolist() == labels


def long_text(seed: int) -> str:
    draw = np.random.default_rng(seed)
    words = ["".join(draw.choice(list("abcdefghijklmnop"), 5)) for _ in range(40)]
    return " ".join(draw.choice(words, 120)) + "\n"


NOTICE = "This notice stands below every single page of the collection.\n"


def test_repeats_are_left_out_and_told(own_cache, tmp_path):
    texts = {f"{n:02}.txt": long_text(n) + NOTICE for n in range(12)}
    texts["20.txt"] = texts["03.txt"]
    texts["21.txt"] = texts["04.txt"].replace(" ", "  ", 3).replace("a", "z", 2)
    texts["22.txt"] = long_text(99) + "\n" + long_text(5).strip() + "\n"
    cfg = folder_of(tmp_path / "t", texts)
    clean = CleanConfig(exact_duplicates="paragraphs", near_duplicates="drop", boilerplate=10, examples=2)
    data = prepare(cfg, TokenizerConfig(), clean=clean)
    filters = data.cleaning["filters"]
    assert data.cleaning["documents"] == 15 and data.manifest["n_documents"] == 13
    assert filters["exact_duplicates"]["dropped"]["documents"] == 1
    (sample,) = filters["exact_duplicates"]["dropped"]["samples"]
    assert (sample["file"], sample["reason"]) == ("20.txt", "like 03.txt")
    (sample,) = filters["near_duplicates"]["dropped"]["samples"]
    assert (sample["file"], sample["reason"]) == ("21.txt", "like 04.txt")
    assert filters["boilerplate"]["changed"]["documents"] == 12
    text = data.tokenizer.decode(data.train) + data.tokenizer.decode(data.val)
    assert NOTICE not in text
    for n in range(12):
        assert text.count(long_text(n).strip()) == 1 or n == 5
    assert any("left out: exact_duplicates 1 document" in note for note in data.notes)


def test_a_paragraph_is_kept_where_it_stands_first(own_cache, tmp_path):
    long = long_text(1)
    texts = {"a.txt": long + "\n" + long_text(2), "b.txt": long_text(3) + "\n" + long}
    data = prepare(
        folder_of(tmp_path / "t", texts), TokenizerConfig(), clean=CleanConfig(exact_duplicates="paragraphs")
    )
    text = data.tokenizer.decode(np.concatenate([data.train, data.val]))
    assert text == texts["a.txt"] + long_text(3)
    assert data.cleaning["filters"]["paragraphs"]["changed"]["amount"] == 1


@pytest.mark.parametrize("split", ["auto", "document", "hash"])
def test_nearly_equal_documents_never_straddle_the_split(own_cache, tmp_path, split):
    texts = {}
    for n in range(9):
        for copy in range(4):  # chains: each is like the one before
            text = long_text(n).replace("a", "z", 3 * copy)
            texts[f"{n}-{copy}.txt"] = text + (text if copy == 3 else "")
    cfg = folder_of(tmp_path / "t", texts)
    cfg.split, cfg.val_fraction = split, 0.4
    sides = {}
    data = prepare(cfg, TokenizerConfig(), clean=CleanConfig(near_duplicates="group"))
    assert data.manifest["n_documents"] == 36
    for side, files in (("train", data.train_files), ("val", data.val_files)):
        for i in files.tolist():
            sides.setdefault(data.files[i][0], set()).add((side, data.files[i][2] == "3"))
    assert all(len({side for side, doubled in found if not doubled}) == 1 for found in sides.values())
    assert {side for found in sides.values() for side, _ in found} == {"train", "val"}


def test_documents_too_long_to_compare_are_left_as_they_are_and_counted(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(repeats, "LONGEST", 500)
    texts = {"a.txt": long_text(1), "b.txt": long_text(2) + "\n" + long_text(1), "c.txt": "short\n"}
    assert len(texts["a.txt"]) > 500
    data = prepare(
        folder_of(tmp_path / "t", texts), TokenizerConfig(), clean=CleanConfig(exact_duplicates="paragraphs")
    )
    assert data.tokenizer.decode(np.concatenate([data.train, data.val])) == "".join(texts.values())
    assert data.cleaning["filters"]["paragraphs"]["skipped"]["documents"] == 2


def test_nothing_left_is_an_error_and_leaves_nothing(own_cache, tmp_path):
    cfg = folder_of(tmp_path / "t", {"a.txt": "short\n", "b.txt": "also short\n"})
    with pytest.raises(DataError, match=r"cleaning left nothing of t, 2 documents") as e:
        prepare(cfg, TokenizerConfig(), clean=CleanConfig(min_length=1000))
    assert "min_length: 2" in e.value.where
    assert not list((own_cache / "tokens").iterdir())


def test_nothing_of_a_test_is_learnt(own_cache, tmp_path):
    texts = {f"{n}.txt": "".join(long_text(10 * n + i) for i in range(4)) for n in range(3)}
    cfg = folder_of(tmp_path / "t", texts)
    test = tmp_path / "test.txt"
    test.write_text(long_text(11) + long_text(25))
    clean = CleanConfig(decontaminate=[str(test)])
    data = prepare(cfg, TokenizerConfig(), clean=clean)
    text = data.tokenizer.decode(np.concatenate([data.train, data.val]))
    assert text == "".join(texts.values()).replace(long_text(11), "")
    changed = data.cleaning["filters"]["decontaminate"]["changed"]
    assert (changed["documents"], changed["amount"], changed["samples"][0]["file"]) == (1, 1, "1.txt")
    cfg.val_path = str(test)  # what is tested on stays, though it stands in a test
    kept = prepare(cfg, TokenizerConfig(), clean=clean)
    assert kept.tokenizer.decode(kept.val) == test.read_text() and kept.tokenizer.decode(kept.train) == text
    test.write_text(long_text(2))  # another test: other tokens
    assert prepare(cfg, TokenizerConfig(), clean=clean).fingerprint != kept.fingerprint
    with pytest.raises(DataError, match="there is no file or folder"):
        prepare(cfg, TokenizerConfig(), clean=CleanConfig(decontaminate=[str(tmp_path / "nowhere")]))


# In use -----------------------------------------------------------------------------------


def test_cleaning_decides_which_tokens_are_used(own_cache, tmp_path):
    cfg = folder_of(tmp_path / "t", {"a.txt": "one\r\ntwo\x07\r\n" * 50})
    raw, mild, again = (prepare(cfg, TokenizerConfig(), clean=clean) for clean in (None, MILD, MILD))
    assert "\r" in raw.tokenizer.decode(raw.train) and "\r" not in mild.tokenizer.decode(mild.train)
    assert raw.fingerprint != mild.fingerprint == again.fingerprint
    assert again.cleaning == mild.cleaning and again.notes == mild.notes
    assert raw.cleaning["filters"] == {} and mild.cleaning["filters"]["line_ends"]["changed"]["amount"] == 100


def test_a_clean_text_has_the_name_it_has_without_cleaning():
    """Runs on texts that there is nothing to clean in go on."""
    cfg = DataConfig(source="pydoc")
    raw, mild = (prepare(cfg, TokenizerConfig(), clean=clean) for clean in (None, MILD))
    assert raw.fingerprint == mild.fingerprint


def test_dry_shows_and_stores_nothing(own_cache, own_folder, capsys):
    folder_of(own_folder / "t", {"a.txt": "one\r\ntwo\n" * 50, "b.txt": "x"})
    assert small.gptforge("prepare", "t", "--dry", "clean.min_length=5", "examples=1", "ui=quiet") == 0
    said = capsys.readouterr().out
    assert "2 documents, nothing is stored" in said and "left        1 with 400 characters" in said
    assert "changed 50 in 1 of 2 documents" in said and "a.txt, character 3: 'one\\r\\ntwo" in said
    assert "left out 1 of 2 documents" in said and "b.txt" in said
    assert not list((assets.cache_dir() / "tokens").glob("*"))
    assert small.gptforge("prepare", "t", "dry=true", "clean=none", "json=true") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left"] == {"documents": 2, "characters": 451} and found["cleaning"]["filters"] == {}
    assert found == examine(DataConfig(source="files", path="t"), CleanConfig())


def test_the_report_shows_what_was_cleaned(own_cache, own_folder, capsys):
    folder_of(own_folder / "t", {"a.txt": "one\r\ntwo\n" * 50})
    assert small.gptforge("prepare", "t", "ui=quiet") == 0
    said = capsys.readouterr().out
    assert "line_ends           changed 50 in 1 of 1 documents" in said
    assert "cleaning changed: line_ends 50 in 1 document (clean=none leaves all as it is)" in said


def test_a_group_needs_a_split_by_documents(capsys):
    words = ["clean.near_duplicates=group", "data.split=position"]
    for command in ("prepare", "train"):
        assert small.gptforge(command, *words) == 2
        assert "data.split=document" in capsys.readouterr().err


def test_a_run_is_trained_on_the_cleaned_text(own_folder, capsys):
    folder_of(own_folder / "t", {"a.txt": "one two three\r\n" * 400})
    words = ["train", "model=tiny", "data=t", "train.steps=2", "ui=quiet", "runtime.threads=1", "hydra.run.dir=run"]
    assert small.gptforge(*words, "train.stop_after=1") == 75
    saved = json.loads((own_folder / "run/config.json").read_text())
    assert saved["config"]["clean"]["line_ends"] is True and saved["choices"]["clean"] == "mild"
    assert "\\r" not in (own_folder / "run/checkpoints/step-000001/tokenizer.json").read_text()
    assert small.gptforge("train", "resume=run", "clean.line_ends=false", "ui=quiet") == 4
    assert "clean.line_ends" in capsys.readouterr().err
    assert small.gptforge("train", "resume=run", "ui=quiet") == 0
