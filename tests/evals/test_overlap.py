"""Passages that two texts share are counted as they would be by comparing them all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.evals import overlap
from gptforge.evals.overlap import passage_length, share_seen

TEXTS = st.lists(st.integers(0, 2), max_size=60)


@given(TEXTS, TEXTS, st.sampled_from([1, 2, 4, 8]), st.integers(1, 70))
def test_counts_what_a_set_counts(text, learnt, length, at_once):
    found_with = pytest.MonkeyPatch()
    found_with.setattr(overlap, "TOKENS_AT_ONCE", at_once)
    try:
        found = share_seen(np.array(text, dtype=np.uint16), np.array(learnt, dtype=np.uint16), length)
    finally:
        found_with.undo()
    passages = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
    known = {tuple(learnt[i : i + length]) for i in range(len(learnt) - length + 1)}
    assert found == (sum(p in known for p in passages) / len(passages) if passages else None)


def test_passages_have_about_fifty_bytes():
    assert [passage_length(n) for n in (1.0, 2.0, 4.0, 60.0)] == [64, 32, 16, 1]


def test_random_texts_share_nothing_and_a_copy_everything():
    tokens = np.random.default_rng(0).integers(0, 50_000, 200_000).astype(np.uint16)
    assert share_seen(tokens[:100_000], tokens[100_000:], 16) == 0
    assert share_seen(tokens[30_000:60_000], tokens, 16) == 1
    assert share_seen(tokens[90_000:110_000], tokens[:100_000], 16) == pytest.approx(0.5, abs=0.001)
