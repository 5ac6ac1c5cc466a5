"""Figures can be checked by hand, and intervals hold the true value about as often as they say."""

import math

import numpy as np
import pytest

from gptforge.config.data import TokenizerConfig
from gptforge.evals.figures import (
    FEWEST_DOCUMENTS,
    MOST_UNITS,
    Scored,
    figures,
    intervals,
    token_sizes,
    units,
)
from gptforge.evals.score import Scores
from gptforge.tokenizers import build_tokenizer

TEXT = "Grüße, 世界! A few words 🙂 and more of them, ünd so weiter.\n" * 3


def scored(nats, sizes=None, hits=None) -> Scored:
    nats = np.asarray(nats, dtype=np.float64)
    hits = np.zeros((len(nats), 2), dtype=bool) if hits is None else np.asarray(hits)
    return Scored(Scores(nats, hits), np.ones((len(nats), 2), dtype=np.int64) if sizes is None else np.asarray(sizes))


def whole(one: Scored) -> dict[str, float]:
    return {name: float(value) for name, value in figures(one.sums(np.array([0]))[0]).items()}


def test_figures_by_hand():
    ln2 = math.log(2)
    one = scored([ln2, 3 * ln2, 2 * ln2, 2 * ln2], [[1, 1], [3, 1], [2, 1], [2, 1]], [[1, 1], [0, 1], [0, 0], [0, 1]])
    assert whole(one) == pytest.approx(
        {
            "loss": 2 * ln2,
            "perplexity": 4.0,
            "bits_per_byte": 1.0,
            "bits_per_character": 2.0,
            "accuracy_top1": 0.25,
            "accuracy_top5": 0.75,
        }
    )


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_bytes_and_characters_of_tokens(kind):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), TEXT)
    sizes = token_sizes(tokenizer)[tokenizer.encode(TEXT)]
    assert sizes.sum(0).tolist() == [len(TEXT.encode()), len(TEXT)]


def test_characters_and_bytes_are_comparable_in_bits_per_byte():
    """Two unigram models that know the same of a text: what a character costs is what its bytes cost together."""
    probabilities = {"a": 0.5, "é": 0.25, "世": 0.25}  # one, two and three bytes that no other character has
    text = "aé世aa世éa"
    found = {}
    for kind in ("char", "byte"):
        tokenizer = build_tokenizer(TokenizerConfig(kind=kind), text)
        # A byte model can do as well when each first byte has the character's probability and the others are certain.
        cost = {}
        for character, p in probabilities.items():
            ids = tokenizer.encode(character).tolist()
            cost |= dict.fromkeys(ids, 0.0) | {ids[0]: -math.log(p)}
        ids = tokenizer.encode(text)
        found[kind] = whole(scored([cost[i] for i in ids.tolist()], token_sizes(tokenizer)[ids]))
    bits = 4 * 1 + 4 * 2
    assert found["char"]["bits_per_byte"] == pytest.approx(bits / len(text.encode()))
    assert found["byte"]["bits_per_byte"] == pytest.approx(found["char"]["bits_per_byte"])
    assert found["byte"]["bits_per_character"] == pytest.approx(bits / 8)
    assert found["byte"]["bits_per_character"] == pytest.approx(found["char"]["bits_per_character"])
    assert found["byte"]["loss"] < found["char"]["loss"]  # which is why losses per token are not comparable


def test_nothing_is_divided_by_zero():
    assert whole(scored([1.0], [[0, 0]]))["bits_per_byte"] == pytest.approx(1 / math.log(2))
    assert whole(scored([1e9]))["perplexity"] > 1e300


def test_sums_over_stretches_are_the_whole():
    rng = np.random.default_rng(0)
    one = scored(rng.exponential(size=1000), rng.integers(0, 4, (1000, 2)), rng.random((1000, 2)) < 0.5)
    parts = one.sums(np.array([0, 1, 17, 500, 999]))
    np.testing.assert_allclose(parts.sum(0), one.sums(np.array([0]))[0], rtol=1e-13)
    assert parts[1, 0] == pytest.approx(math.fsum(one.scores.nats[1:17]), rel=1e-14)
    assert parts[:, 1].tolist() == [1, 16, 483, 499, 1]


# What is drawn -----------------------------------------------------------------------------------------------


def test_documents_are_drawn_where_there_are_enough():
    starts = np.arange(0, 10 * FEWEST_DOCUMENTS, 10)
    found = units(10 * FEWEST_DOCUMENTS - 1, starts, 4)
    assert found.what == f"{FEWEST_DOCUMENTS} documents"
    assert found.starts.tolist() == [0, *(starts[1:] - 1).tolist()]  # the first token is not scored


def test_else_blocks_of_windows():
    one = units(64 * 100, np.array([0]), 64)
    assert one.starts.tolist() == list(range(0, 6400, 5 * 64))  # 100 windows, 100^(1/3) is 4.6
    assert one.what == "20 blocks of 320 tokens (one document)"
    assert "3 documents are too few" in units(6400, np.array([0, 5, 9]), 64).what
    assert units(10, np.array([0]), 64).starts.tolist() == [0]


@pytest.mark.parametrize("n", [MOST_UNITS, MOST_UNITS + 1, 10 * MOST_UNITS])
def test_there_are_never_too_many_units(n):
    by_document = units(2 * n - 1, np.arange(0, 2 * n, 2), 8)
    assert len(by_document.starts) <= MOST_UNITS
    assert ("groups of neighbours" in by_document.what) == (n > MOST_UNITS)
    assert len(units(8 * n**2, np.array([0]), 8).starts) <= MOST_UNITS


# Intervals ---------------------------------------------------------------------------------------------------


def test_same_seed_same_intervals():
    sums = scored(np.random.default_rng(0).exponential(size=600)).sums(np.arange(0, 600, 20))
    assert intervals(sums, 500, 0.95, 1) == intervals(sums, 500, 0.95, 1) != intervals(sums, 500, 0.95, 2)
    low, high = intervals(sums, 500, 0.95, 1)["loss"]
    narrow = intervals(sums, 500, 0.5, 1)["loss"]
    assert low < narrow[0] < float(figures(sums.sum(0))["loss"]) < narrow[1] < high


def test_one_unit_has_no_interval():
    assert intervals(scored([1.0, 2.0]).sums(np.array([0])), 100, 0.95, 0) == {}
    assert intervals(scored([1.0, 2.0]).sums(np.array([0, 1])), 0, 0.95, 0) == {}


def test_drawing_in_portions_is_drawing(monkeypatch):
    sums = scored(np.random.default_rng(0).exponential(size=600)).sums(np.arange(0, 600, 20))
    whole = intervals(sums, 300, 0.9, 1)
    monkeypatch.setattr("gptforge.evals.figures.DRAWN_AT_ONCE", 7 * len(sums))
    assert intervals(sums, 300, 0.9, 1) == whole


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_intervals_hold_the_truth_as_often_as_they_say(confidence):
    """Documents of different lengths and difficulty; the loss of endlessly many is E[length * level] / E[length]."""
    rng = np.random.default_rng(7)
    held, n = 0, 400
    for i in range(n):
        lengths = rng.integers(1, 60, size=60)
        levels = 1.0 + rng.gamma(2.0, 0.5, size=60)
        nats = np.concatenate([rng.exponential(level, length) for level, length in zip(levels, lengths, strict=True)])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        low, high = intervals(scored(nats).sums(starts), 200, confidence, i)["loss"]
        held += low <= 2.0 <= high
    assert abs(held / n - confidence) < 0.07
    # Single tokens drawn as if they had nothing to do with each other promise far too much
    tokenwise = intervals(scored(nats).sums(np.arange(len(nats))), 200, confidence, 0)["loss"]
    assert tokenwise[1] - tokenwise[0] < 0.8 * (high - low)
