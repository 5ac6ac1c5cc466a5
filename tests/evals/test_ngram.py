"""Kneser-Ney agrees with another implementation and with the formulas written out, and its probabilities sum to 1."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from gptforge import assets
from gptforge.config.data import TokenizerConfig
from gptforge.evals import ngram
from gptforge.evals.ngram import FALLBACK, KneserNey
from gptforge.tokenizers import build_tokenizer

TEXTS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def probabilities(model: KneserNey, history: list[int]) -> np.ndarray:
    """p of every token of the vocabulary after some tokens."""
    return np.array([np.exp(-model.nats(np.array([*history, w]))[-1]) for w in range(model.vocab_size)])


@given(TEXTS, st.integers(1, 6), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_probabilities_sum_to_one_and_none_is_zero(text, order, history):
    found = probabilities(KneserNey(np.array(text), order, 6), history)
    assert found.sum() == pytest.approx(1, rel=1e-12)
    assert (found > 0).all()


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_agrees_with_nltk(order, discount):
    """nltk discounts no unigrams, and takes one discount for all counts."""
    words = assets.shakespeare(full=False).read_text(encoding="utf-8").split()[:1500]
    known = sorted(set(words))
    # What begins the text also follows something, as nltk does not expect a k-gram that follows nothing
    ids = [known.index(word) for word in words]
    ids += ids[:order]
    theirs = KneserNeyInterpolated(order, discount=discount)
    theirs.fit([list(everygrams([str(i) for i in ids], max_len=order))], [str(i) for i in range(len(known))])
    discounts = np.full((order, 3), discount)
    discounts[0] = 0
    ours = KneserNey(np.array(ids), order, len(known), discounts)
    drawn = np.random.default_rng(0)
    seen = [ids[i : i + order] for i in drawn.integers(0, len(ids) - order, 40)]
    unseen = drawn.integers(0, len(known), (20, order)).tolist()
    for *history, word in seen + unseen:
        wanted = theirs.score(str(word), [str(i) for i in history])
        if wanted:  # no unigram discount leaves nothing for what was never seen
            assert np.exp(-ours.nats(np.array([*history, word]))[-1]) == pytest.approx(wanted, rel=1e-9)


def by_the_formulas(text: list[int], order: int, vocab: int, discounts: np.ndarray, history: list[int], word: int):
    """Chen and Goodman 1999, equations of the interpolated form, over dictionaries."""
    if order == 0:
        return 1 / vocab
    longest = order == len(discounts)
    counts: dict[tuple, float] = defaultdict(float)
    if longest:
        for i in range(len(text) - order + 1):
            counts[tuple(text[i : i + order])] += 1
    else:
        for gram in {tuple(text[i : i + order + 1]) for i in range(len(text) - order)}:
            counts[gram[1:]] += 1
    history = history[len(history) - order + 1 :]
    lower = by_the_formulas(text, order - 1, vocab, discounts, history[1:], word)
    following = {gram[-1]: c for gram, c in counts.items() if list(gram[:-1]) == history}
    total = sum(following.values())
    if not total:
        return lower

    def discount(c: float) -> float:
        return discounts[order - 1][min(int(c), 3) - 1] if c else 0.0

    gamma = sum(discount(c) for c in following.values()) / total
    c = following.get(word, 0.0)
    return (c - discount(c)) / total + gamma * lower


@given(TEXTS, st.integers(1, 4), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_agrees_with_the_formulas(text, order, history):
    text = text * (1 + order // len(text))  # at least `order` tokens
    model = KneserNey(np.array(text), order, 6)
    discounts = np.array([level.discounts[1:] for level in model.levels])
    wanted = [by_the_formulas(text, order, 6, discounts, history, w) for w in range(6)]
    np.testing.assert_allclose(probabilities(model, history), wanted, rtol=1e-10)


def test_discounts_are_those_of_chen_and_goodman():
    counts = np.array([1] * 40 + [2] * 15 + [3] * 8 + [4] * 5 + [9] * 3)
    y = 40 / (40 + 2 * 15)
    wanted = [1 - 2 * y * 15 / 40, 2 - 3 * y * 8 / 15, 3 - 4 * y * 5 / 8]
    assert ngram._estimated(counts).tolist() == pytest.approx(wanted)
    assert ngram._estimated(np.array([5, 6, 7])).tolist() == list(FALLBACK)


def test_a_text_in_portions_has_the_same_probabilities(monkeypatch):
    rng = np.random.default_rng(0)
    model = KneserNey(rng.integers(0, 9, 3000), 4, 9)
    tokens = rng.integers(0, 9, 500).astype(np.uint16)
    whole = model.nats(tokens)
    monkeypatch.setattr(ngram, "TOKENS_AT_ONCE", 13)
    np.testing.assert_array_equal(model.nats(tokens), whole)
    assert len(whole) == 499


def test_more_context_predicts_shakespeare_better():
    text = assets.shakespeare(full=False).read_text(encoding="utf-8")
    tokenizer = build_tokenizer(TokenizerConfig(), text)
    ids = tokenizer.encode(text)[:300_000]
    losses = [KneserNey(ids[:270_000], order, tokenizer.vocab_size).nats(ids[270_000:]).mean() for order in range(1, 6)]
    assert losses == sorted(losses, reverse=True)
    assert 4.8 < losses[0] / np.log(2) < 5.0 and 1.9 < losses[4] / np.log(2) < 2.2
