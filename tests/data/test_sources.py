"""Several texts learnt together, in given shares, and texts that are only validated on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from gptforge.config import TrainConfig
from gptforge.config.data import DataConfig, SourceConfig, TokenizerConfig
from gptforge.config.schema import build
from gptforge.data.files import find
from gptforge.data.mixture import BLOCK, MixedOrder, quotas
from gptforge.data.order import WindowOrder
from gptforge.data.prepare import prepare
from gptforge.errors import ConfigError, DataError
from gptforge.train.parts import order_of


def mixture(sizes, weights, block_size=4, seed=3, shuffle=True):
    orders = [WindowOrder(n, block_size, seed + i, shuffle) for i, n in enumerate(sizes)]
    return MixedOrder(orders, np.cumsum([0, *sizes[:-1]]).tolist(), weights, seed)


SIZES = st.lists(st.integers(5, 400), min_size=1, max_size=4)


@given(SIZES, st.data())
def test_each_text_has_its_share_and_its_own_order(sizes, data):
    weights = data.draw(st.lists(st.floats(0.05, 5), min_size=len(sizes), max_size=len(sizes)))
    order = mixture(sizes, weights)
    places = np.arange(2 * BLOCK)
    text, sample = order.places(places)
    shares = np.array(weights) / sum(weights)
    for first in (0, BLOCK):
        counts = np.bincount(text[first : first + BLOCK], minlength=len(sizes))
        assert (np.abs(counts - shares * BLOCK) < 1).all()
    starts = order.starts(places)
    edges = np.cumsum([0, *sizes]).tolist()
    for n, (a, b) in enumerate(pairwise(edges)):
        assert sample[text == n].tolist() == list(range((text == n).sum()))  # each once, none left out
        own = WindowOrder(b - a, 4, 3 + n).starts(np.arange((text == n).sum()))
        assert (starts[text == n] == a + own).all() and ((own >= 0) & (own + 5 <= b - a)).all()


@given(SIZES, st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_a_sample_depends_on_its_number_alone(sizes, numbers):
    order = mixture(sizes, [1.0] * len(sizes))
    assert order.starts(np.array(numbers)).tolist() == [int(order.starts(np.array([n]))[0]) for n in numbers]


def test_quotas_are_whole_and_fair():
    assert quotas([0.7, 0.3]).tolist() == [700, 300]
    assert sorted(quotas([1, 1, 1]).tolist()) == [333, 333, 334]
    assert quotas([2]).tolist() == [1000]


def test_texts_of_a_mixture_are_spread_evenly():
    text, _ = mixture([100, 100], [0.9, 0.1]).places(np.arange(10_000))
    hundreds = text.reshape(-1, 100).sum(axis=1)
    assert hundreds.min() >= 2 and hundreds.max() <= 25


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)


def test_each_text_keeps_its_end_and_its_place(own_cache, own_folder):
    write(own_folder, a="a" * 100 + "\n", b="b" * 50)
    cfg = build(DataConfig, {"source": "mix", "sources": ["a.txt", {"path": "b.txt"}], "val_fraction": 0.2})
    assert cfg.sources == [SourceConfig("a.txt"), SourceConfig("b.txt")]
    data = prepare(cfg, TokenizerConfig())
    assert data.tokenizer.decode(data.train) == "a" * 80 + "\n" + "b" * 40
    assert data.tokenizer.decode(data.val) == "a" * 20 + "\n" + "b" * 10
    assert data.part_edges() == [0, 81, 121]
    assert data.manifest["label"] == "a.txt + b.txt"
    again = prepare(cfg, TokenizerConfig())
    assert again.parts == data.parts == [0, 1] and again.fingerprint == data.fingerprint


def test_weights_decide_what_is_read(own_cache, own_folder):
    write(own_folder, a="a" * 1000, b="b" * 9000)
    sources = [{"path": "a.txt", "weight": 3}, {"path": "b.txt", "weight": 1}]
    cfg = build(TrainConfig, {"data": {"source": "mix", "sources": sources}, "model": {"block_size": 8}})
    data = prepare(cfg.data, cfg.tokenizer)
    order = order_of(data, cfg)
    first = data.train[order.starts(np.arange(2000))]
    assert (first == data.tokenizer.encode("a")[0]).mean() == 0.75
    assert isinstance(order, MixedOrder)
    assert order.passes(2000) == pytest.approx([1500 / 113, 500 / 1013], rel=0.02)
    cfg.model.block_size = 901
    with pytest.raises(DataError, match=r"training part of a.txt has 901 tokens"):
        order_of(data, cfg)
    plain = build(TrainConfig, {"data": {"source": "mix", "sources": ["a.txt", "b.txt"]}})
    assert isinstance(order_of(data, plain), WindowOrder)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "needs data.sources"),
        (["a", {"path": "b", "weight": 1}], "give each of data.sources a weight"),
        ([{"path": "a", "weight": 0}], "more than 0"),
        ([{"path": "a", "weight": 1}, {"path": "b", "weight": 1e-9}], "weight of b is less than 0.001"),
        ([{"file": "a"}], "there is no 'file'"),
        ([{"weight": 1}], "each item needs path"),
        ("a", "a list is needed"),
        ([["a"]], "a text is needed"),
    ],
)
def test_sources_that_cannot_be(sources, message):
    with pytest.raises(ConfigError, match=message):
        build(DataConfig, {"source": "mix", "sources": sources})


def test_a_mixture_is_trained_and_goes_on(own_folder, capsys):
    write(own_folder, a="alpha beta gamma\n" * 300, b="delta epsilon zeta\n" * 300)
    words = ["data.sources=[{path: a.txt, weight: 0.7}, {path: b.txt, weight: 0.3}]", "model=tiny", "train.steps=4"]
    words += ["ui=plain", "runtime.threads=1", "hydra.run.dir=run", "tokenizer=byte"]
    assert small.gptforge("train", *words, "train.stop_after=2") == 75
    said = capsys.readouterr().err
    assert "a.txt + b.txt" in said and "a.txt 70% (" in said
    assert small.gptforge("train", "resume=run") == 0
    whole = [w.replace("run.dir=run", "run.dir=whole") for w in words]
    assert small.gptforge("train", *whole) == 0
    ends = [(own_folder / name / "checkpoints/step-000004/model.safetensors").read_bytes() for name in ("run", "whole")]
    assert ends[0] == ends[1]
    capsys.readouterr()
    assert small.gptforge("train", "resume=run", "data.sources=[a.txt]") == 4
    assert "data.sources" in capsys.readouterr().err
    assert small.gptforge("train", *words, "data=shakespeare") == 2
    assert "data.sources is used only with data=mix" in capsys.readouterr().err


def test_all_is_learnt_when_there_is_a_text_to_validate_on(own_cache, own_folder):
    write(own_folder, a="all of this is learnt\n" * 9, v="this is kept\n" * 5)
    tokenizer = TokenizerConfig(kind="byte")
    data = prepare(DataConfig(source="files", path="a.txt", val_path="v.txt"), tokenizer)
    assert data.tokenizer.decode(data.train) == (own_folder / "a.txt").read_text()
    assert data.tokenizer.decode(data.val) == (own_folder / "v.txt").read_text()
    assert data.manifest["split"] == "data.val_path" and "validated on v.txt" in data.notes
    assert data.fingerprint != prepare(DataConfig(source="files", path="a.txt"), tokenizer).fingerprint


def test_a_file_that_is_in_both_is_an_error(own_cache, own_folder):
    write(own_folder, a="all of this is learnt\n" * 9)
    (own_folder / "folder").mkdir()
    write(own_folder / "folder", v="this is kept\n" * 5, w="more\n" * 9)
    with pytest.raises(DataError, match=r"v.txt is in the text that is learnt and in the one") as e:
        prepare(DataConfig(source="files", path="folder", val_path="folder/v.txt"), TokenizerConfig())
    assert "data.exclude=['v.txt']" in str(e.value.fixes)
    (own_folder / "copy.txt").write_text((own_folder / "folder/w.txt").read_text())
    with pytest.raises(DataError, match=r"1 document is in the text that is learnt") as e:
        prepare(DataConfig(source="files", path="folder", val_path="copy.txt"), TokenizerConfig())
    assert "w.txt and" in e.value.where and "copy.txt" in e.value.where
    (own_folder / "link.txt").symlink_to(own_folder / "a.txt")
    with pytest.raises(DataError, match="is in two of the texts"):
        prepare(build(DataConfig, {"source": "mix", "sources": ["a.txt", "link.txt"]}), TokenizerConfig())


def test_files_are_called_by_the_text_that_they_are_of(own_cache, own_folder):
    (own_folder / "folder").mkdir()
    write(own_folder / "folder", v="this is it\n" * 5, w="more\n" * 9)
    write(own_folder, a="a" * 100, b="b" * 100)
    tree = {"source": "mix", "sources": ["pydoc", str(own_folder / "folder"), "a.txt"], "val_path": "b.txt"}
    source = find(build(DataConfig, tree))
    assert source.names == ["pydoc", "folder/v.txt", "folder/w.txt", "a.txt", "b.txt"]
    assert (source.parts, source.val_from) == ((0, 1, 3), 4)


def test_what_is_excluded_may_be_validated_on(own_cache, own_folder):
    (own_folder / "folder").mkdir()
    write(own_folder / "folder", v="this is kept\n" * 5, w="more\n" * 9)
    cfg = DataConfig(source="files", path="folder", val_path="folder/v.txt", exclude=["v.txt"])
    data = prepare(cfg, TokenizerConfig())
    assert len(data.val) == 65 and len(data.train) == 45
