"""Every token is scored once, as single probabilities say, whatever the batch."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import writing
from gptforge.data.batch import IGNORE
from gptforge.data.loader import eval_batches, n_eval_windows
from gptforge.evals import score as score_module
from gptforge.evals.score import TOP, Scores, score, tokens_before
from gptforge.model import Transformer

BLOCK, VOCAB = writing.BLOCK, writing.VOCAB


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are slowed down by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ids(n: int, vocab: int = VOCAB, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab, n).astype(np.uint16)


def scores(model: Transformer, tokens: np.ndarray, batch: int = 4, stride: int | None = None) -> Scores:
    return score(model, eval_batches(tokens, model.cfg.block_size, batch, stride=stride), contextlib.nullcontext)


@torch.no_grad()
def one_by_one(model: Transformer, tokens: np.ndarray, stride: int) -> tuple[list[float], list[int], list[int]]:
    """Nats, rank and context of each token, from windows that are walked through by hand, one after another."""
    nats, ranks, contexts = [], [], []
    begin = 0
    while len(nats) < len(tokens) - 1:
        window = tokens[begin : begin + BLOCK].astype(np.int64)
        logits = model(torch.from_numpy(window)[None])[0].double()
        for i in range(len(window)):
            label = begin + i + 1
            if label == len(nats) + 1 and label < len(tokens):
                own = logits[i, tokens[label]]
                nats.append(-logits[i].log_softmax(0)[tokens[label]].item())
                ranks.append(int((logits[i] > own).sum()))
                contexts.append(i + 1)
        begin += stride
    return nats, ranks, contexts


@pytest.mark.parametrize("length", [2, 16, 17, 18, 33, 100])
@pytest.mark.parametrize("stride", [1, 3, 5, 15, 16])
def test_sliding_windows_equal_brute_force(length, stride):
    model, tokens = writing.make(), ids(length)
    found = scores(model, tokens, batch=3, stride=stride)
    nats, ranks, contexts = one_by_one(model, tokens, stride)
    np.testing.assert_allclose(found.nats, nats, rtol=1e-5, atol=1e-6)
    assert found.hits.tolist() == [[rank < k for k in TOP] for rank in ranks]
    assert tokens_before(length - 1, BLOCK, stride).tolist() == contexts
    assert all(context > BLOCK - stride for context in contexts[BLOCK:])
    assert found.nats.dtype == np.float64


@given(n=st.integers(2, 300), block=st.integers(1, 40), batch=st.integers(1, 9), data=st.data())
def test_every_label_is_there_once_and_in_order(n, block, batch, data):
    stride = data.draw(st.integers(1, block))
    tokens = np.arange(n, dtype=np.uint16)
    batches = list(eval_batches(tokens, block, batch, stride=stride))
    labels = torch.cat([b.labels[b.labels != IGNORE] for b in batches])
    inputs = torch.cat([b.inputs[b.labels != IGNORE] for b in batches])
    assert labels.tolist() == list(range(1, n)) and inputs.tolist() == list(range(n - 1))
    assert sum(len(b.inputs) for b in batches) == n_eval_windows(n, block, stride)
    before = tokens_before(n - 1, block, stride)
    assert before.min() >= 1 and before.max() <= block
    assert all(b == a + 1 or b == block - stride + 1 for a, b in pairwise(before.tolist()))


@pytest.mark.parametrize("stride", [BLOCK, 5])
def test_the_batch_size_changes_nothing(stride):
    model, tokens = writing.make(), ids(1500)
    one, *others = [scores(model, tokens, batch, stride) for batch in (1, 3, 8, 64)]
    for other in others:
        assert abs(other.nats.mean() - one.nats.mean()) < 1e-7
        assert (other.hits == one.hits).all()


class Trembling(Transformer):
    """Its last bits depend on the shape of the batch, as those of matrix products do on some machines."""

    def logits(self, hidden):
        logits = super().logits(hidden)
        shape = torch.Generator().manual_seed(len(hidden))
        return logits + 2e-6 * torch.randn(logits.shape, generator=shape)


def test_calls_that_are_too_close_are_made_in_one_shape(monkeypatch):
    model = Trembling(writing.make().cfg, VOCAB)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.tok_emb.weight[1::2] = model.tok_emb.weight[:-1:2]  # pairs of tokens that are equally likely
    tokens = ids(1000)
    assert all((scores(model, tokens, batch).hits == scores(model, tokens, 1).hits).all() for batch in (3, 8, 64))
    monkeypatch.setattr(score_module, "CLOSE", 0.0)
    assert any((scores(model, tokens, batch).hits != scores(model, tokens, 1).hits).any() for batch in (3, 8, 64))


def test_of_equally_likely_tokens_the_lower_id_is_first():
    model = writing.make()
    with torch.no_grad():
        model.tok_emb.weight.zero_()
    tokens = ids(500)
    found = scores(model, tokens)
    np.testing.assert_allclose(found.nats, np.log(VOCAB), rtol=1e-12)
    assert found.hits.tolist() == [[label < 1, label < 5] for label in tokens[1:].tolist()]


def test_large_logits_whose_neighbours_are_further_apart_than_what_counts_as_close():
    model = writing.make()
    with torch.no_grad():
        model.tok_emb.weight *= 1e5
    tokens = ids(200)
    found, (_, ranks, _) = scores(model, tokens), one_by_one(model, tokens, BLOCK)
    assert found.hits.tolist() == [[rank < k for k in TOP] for rank in ranks]


def test_the_head_in_portions_gives_the_same(monkeypatch):
    model, tokens = writing.make(), ids(300)
    whole = scores(model, tokens)
    monkeypatch.setattr(score_module, "LOGITS_AT_ONCE", 7 * VOCAB)
    parts = scores(model, tokens)
    np.testing.assert_allclose(parts.nats, whole.nats, rtol=1e-5, atol=1e-6)
    assert (parts.hits == whole.hits).all()


def test_it_tells_how_far_it_is():
    told: list[int] = []
    score(writing.make(), eval_batches(ids(100), BLOCK, 2), contextlib.nullcontext, told.append)
    assert sum(told) == 99 and len(told) == 4
