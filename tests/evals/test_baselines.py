"""The baselines measure what their notes say, in bits per byte of the tokens that the model predicts."""

import builtins
import gzip
import lzma
import math

import numpy as np
import pytest

from gptforge import assets
from gptforge.config.data import TokenizerConfig
from gptforge.evals.baselines import Baseline, baselines, default_order
from gptforge.tokenizers import build_tokenizer


@pytest.fixture(scope="module")
def plays() -> str:
    return assets.shakespeare(full=False).read_text(encoding="utf-8")[:220_000]


def found(text: str, learnt: str | None, kind: str = "char", order: int | None = None, most: int = 10**6):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), text + (learnt or ""))
    known = None if learnt is None else tokenizer.encode(learnt)
    return {b.name: b for b in baselines(tokenizer.encode(text), known, tokenizer, order, most)}


def test_by_hand():
    one = found("aab世", "aaab")
    assert one["uniform"].bits_per_byte == pytest.approx(3 * math.log2(3) / 5)  # a, b, 世 predicted: 1 + 1 + 3 bytes
    # Counted once more than they occur: a 4, b 2, 世 1 of 7
    assert one["unigram"].bits_per_byte == pytest.approx(-(math.log2(4 / 7) + math.log2(2 / 7) + math.log2(1 / 7)) / 5)


def test_better_predictors_need_fewer_bits(plays):
    one = found(plays[200_000:], plays[:200_000])
    order = ["5-gram", "xz, trained", "xz", "gzip", "unigram", "uniform"]
    assert set(one) == set(order)
    bits = [one[name].bits_per_byte for name in order]
    assert bits[0] < bits[1] < bits[2] < bits[4] < bits[5]
    assert bits[2] < bits[4] and bits[3] < bits[4]


def test_packers_measure_what_their_files_have(plays):
    text = plays[200_000:]
    one = found(text, None)
    assert set(one) == {"uniform", "gzip", "xz"}
    assert one["gzip"].bits_per_byte == 8 * len(gzip.compress(text.encode(), 9)) / len(text.encode())
    # Another size of window changes a header of some bytes
    assert one["xz"].bits_per_byte == pytest.approx(
        8 * len(lzma.compress(text.encode())) / len(text.encode()), rel=0.01
    )


def test_what_was_learnt_by_heart_costs_next_to_nothing(plays):
    one = found(plays[:20_000], plays)
    assert one["xz, trained"].bits_per_byte < 0.1 < one["xz"].bits_per_byte
    assert one["5-gram"].bits_per_byte < 2


def test_characters_and_bytes_cost_about_the_same(plays):
    """In a text of ASCII they are the same tokens, but for the size of the vocabulary."""
    chars, single = (found(plays[200_000:], plays[:200_000], kind) for kind in ("char", "byte"))
    assert chars["5-gram"].bits_per_byte == pytest.approx(single["5-gram"].bits_per_byte, rel=1e-2)
    assert chars["gzip"] == single["gzip"]
    assert single["uniform"].bits_per_byte == pytest.approx(8)


def test_only_the_last_training_tokens_are_learnt(plays):
    text, learnt = plays[200_000:], plays[:200_000]
    few = found(text, learnt, most=20_000)
    assert few["5-gram"].bits_per_byte > found(text, learnt)["5-gram"].bits_per_byte
    assert few["5-gram"].bits_per_byte == found(text, learnt[-20_000:], most=20_000)["5-gram"].bits_per_byte
    assert "from the last 20,000 training tokens" in few["5-gram"].note
    assert "from 200,000 training tokens" in found(text, learnt)["unigram"].note


def test_the_order_can_be_chosen(plays):
    assert "3-gram" in found(plays[:1000], plays[1000:3000], order=3)
    tokenizer = build_tokenizer(TokenizerConfig(kind="byte"))
    assert default_order(tokenizer) == 5
    tokenizer.kind = "bpe"
    assert default_order(tokenizer) == 3


def test_a_python_without_lzma(plays, monkeypatch):
    there = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "lzma":
            raise ImportError(name)
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert set(found(plays[:1000], plays[1000:3000])) == {"uniform", "unigram", "5-gram", "gzip"}


def test_two_tokens_are_enough():
    one = found("ab", "ab")
    assert all(isinstance(b, Baseline) and np.isfinite(b.bits_per_byte) for b in one.values())
