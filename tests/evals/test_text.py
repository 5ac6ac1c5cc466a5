"""Which text is evaluated, where its documents begin, and whether the model knows it already."""

from pathlib import Path

import numpy as np
import pytest

import small
from gptforge.config import EvalDataConfig
from gptforge.config.schema import build
from gptforge.data.prepare import prepare
from gptforge.errors import DataError
from gptforge.evals.text import Reader
from gptforge.jsonfile import write_json

WORDS = {"a.txt": "one two\n", "sub/b.txt": "three", "c.md": "\ufefffour\r\n", "d.txt": "", "e.txt": "fünf 世界"}
JOINED = "one two\nfour\r\nfünf 世界\nthree"  # in the order of the names, a line feed where a file ends within a line


@pytest.fixture
def folder(own_folder) -> Path:
    for name, text in WORDS.items():
        path = own_folder / "words" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return own_folder


def reader(unknown: str = "error", recorded: bool = True, kind: str = "char", **changes) -> Reader:
    """Of a checkpoint that was trained on text.txt, or on other data."""
    cfg = small.config(tokenizer__kind=kind, **changes)
    dataset = prepare(cfg.data, cfg.tokenizer)
    place = Path("checkpoint")
    place.mkdir(exist_ok=True)
    if recorded:
        write_json(place / "state.json", {"fingerprint": {"data": dataset.fingerprint}})
    dataset.tokenizer.unknown = unknown
    return Reader(place, cfg, dataset.tokenizer)


def data(**keys) -> EvalDataConfig:
    return build(EvalDataConfig, keys)


def files(path: str, **keys) -> EvalDataConfig:
    return data(source="files", path=path, **keys)


# Documents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_documents_are_files(folder, kind):
    Path("text.txt").write_text(JOINED * 50, encoding="utf-8", newline="")
    known = reader(kind=kind)
    text, learnt, warnings = known.read(files("words"), None)
    assert (text.label, text.split, text.left_out, warnings) == ("words", "all", 0, [])
    assert text.names == ("a.txt", "c.md", "e.txt", "sub/b.txt")
    parts = [known.tokenizer.decode(part) for part in np.split(text.tokens, text.starts[1:])]
    assert "".join(parts) == JOINED
    assert [part.strip("\n") for part in parts] == ["one two", "four\r", "fünf 世界", "three"]
    assert learnt.tokens is not None and len(learnt.tokens) == len(
        prepare(known.config.data, known.config.tokenizer).train
    )


def test_a_part_has_the_documents_that_lie_in_it(folder):
    Path("text.txt").write_text(JOINED * 50, encoding="utf-8", newline="")
    known = reader()
    whole, val, train = (known.read(files("words", val_fraction=0.47), split)[0] for split in ("all", "val", "train"))
    assert np.array_equal(np.concatenate([train.tokens, val.tokens]), whole.tokens)
    assert known.tokenizer.decode(train.tokens) == JOINED[:14] == "one two\nfour\r\n"
    assert (train.names, train.starts.tolist()) == (("a.txt", "c.md"), [0, 8])
    assert (val.names, val.starts.tolist()) == (("e.txt", "sub/b.txt"), [0, 8])
    middle = known.read(files("words", val_fraction=0.42), "val")[0]
    assert (middle.names, middle.starts.tolist()) == (("e.txt", "sub/b.txt"), [0, 7])  # the first one from its middle


def test_one_file_is_one_document(own_folder):
    small.write_text()
    text, _, _ = reader().read(data(), None)
    assert (text.names, text.starts.tolist(), text.split) == (("text.txt",), [0], "val")


# Which text --------------------------------------------------------------------------------------------------


def test_by_default_it_is_the_validation_part_of_the_own_text(own_folder):
    small.write_text()
    known = reader(data__val_fraction=0.2)
    dataset = prepare(known.config.data, known.config.tokenizer)
    text, learnt, warnings = known.read(data(), None)
    assert np.array_equal(text.tokens, dataset.val) and np.array_equal(learnt.tokens, dataset.train)
    assert not warnings and not learnt.predicted
    # the same file named by its path is divided as it was for the training
    again, learnt, warnings = known.read(files("text.txt"), "val")
    assert np.array_equal(again.tokens, dataset.val) and np.array_equal(learnt.tokens, dataset.train) and not warnings


@pytest.mark.parametrize("split", ["all", "train"])
def test_text_that_was_learnt_is_said_to_be(own_folder, split):
    small.write_text()
    for wanted in (data(), files("text.txt")):
        _, learnt, warnings = reader().read(wanted, split)
        assert learnt.predicted and len(warnings) == 1 and "learnt from this text" in warnings[0]


def test_text_that_was_learnt_is_refused_when_nobody_asked_for_it(own_folder):
    small.write_text()
    small.write_text(Path("copy.txt"))
    for path in ("text.txt", "copy.txt"):
        with pytest.raises(DataError, match="is the text that the model learnt from") as e:
            reader().read(files(path), None)
        assert "split=val" in str(e.value) and "split=all" in str(e.value)


def test_a_text_that_has_changed(own_folder):
    small.write_text()
    known = reader()
    small.write_text(seed=1)
    with pytest.raises(DataError, match="has changed since the model learnt from it"):
        known.read(data(), None)
    small.write_text(Path("other.txt"), seed=2)
    _, learnt, _ = known.read(files("other.txt"), None)
    assert learnt.tokens is None and "has changed" in learnt.why
    (known.checkpoint / "state.json").unlink()  # a checkpoint that does not say what it learnt from is believed
    assert known.read(data(), None)[1].tokens is not None


def test_a_text_that_is_gone(own_folder):
    small.write_text()
    known = reader()
    Path("text.txt").rename("moved.txt")
    with pytest.raises(DataError, match="the model's own text cannot be read: there is no file") as e:
        known.read(data(), None)
    assert "data=PATH split=val" in str(e.value)
    text, learnt, warnings = known.read(files("moved.txt"), "val")
    assert text.split == "val" and learnt.tokens is not None and not warnings
    small.write_text(Path("other.txt"), seed=2)
    assert "there is no file" in known.read(files("other.txt"), None)[1].why


def test_too_short(own_folder):
    small.write_text()
    known = reader()
    Path("one.txt").write_text("a")
    with pytest.raises(DataError, match=r"one.txt has 1 token, at least 2 are needed"):
        known.read(files("one.txt"), None)
    Path("ten.txt").write_text("abcdefghij")
    with pytest.raises(DataError, match=r"the val part of ten.txt has 1 token") as e:
        known.read(files("ten.txt"), "val")
    assert "split=all" in str(e.value)
    assert len(known.read(files("ten.txt"), None)[0].tokens) == 10


# Characters that the vocabulary lacks ------------------------------------------------------------------------


def test_unknown_characters_are_counted_in_the_part_that_has_them(own_folder):
    small.write_text()
    Path("new.txt").write_text("Über abc " * 10 + "Éa世界", encoding="utf-8")
    with pytest.raises(DataError, match="4 characters that the vocabulary lacks"):
        reader().read(files("new.txt"), None)
    for unknown in ("skip", "replace"):
        known = reader(unknown)
        counted = [
            known.read(files("new.txt", val_fraction=0.1), split)[0].left_out for split in ("all", "train", "val")
        ]
        assert counted == [13, 10, 3]
    n_tokens = {unknown: len(reader(unknown).read(files("new.txt"), None)[0].tokens) for unknown in ("skip", "replace")}
    assert n_tokens == {"skip": 94 - 13, "replace": 94}


def test_files_of_which_nothing_is_known_are_no_documents(own_folder):
    small.write_text()
    for name, text in {"a.txt": "ÄÖÜ\n", "b.txt": "abc", "c.txt": "世界", "d.txt": "xyz"}.items():
        path = Path("words", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known = reader("skip")
    text, _, _ = known.read(files("words"), None)
    assert text.names == ("a.txt", "b.txt", "d.txt")
    assert [known.tokenizer.decode(p) for p in np.split(text.tokens, text.starts[1:])] == ["\n", "abc\n\n", "xyz"]
    assert text.left_out == 5
