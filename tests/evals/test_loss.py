"""The loss over a whole text is one number that can be checked by hand."""

import contextlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import small
from gptforge.config.data import TokenizerConfig
from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import eval_batches
from gptforge.evals.loss import LossResult, evaluate
from gptforge.model import Transformer
from gptforge.tokenizers import build_tokenizer

TEXT = "Grüße, 世界! A few words 🙂 and more of them, ünd so weiter.\n" * 3


def model(vocab_size: int, **changes) -> Transformer:
    built = Transformer(small.config(model__init_std=0.3, **changes).model, vocab_size)
    built.init_weights(torch.Generator().manual_seed(0))
    return built


def losses(transformer: nn.Module, ids: np.ndarray, size: int, batch: int = 4) -> LossResult:
    sizes = torch.ones(300, dtype=torch.long)
    return evaluate(transformer, eval_batches(ids, size, batch), sizes, contextlib.nullcontext)


@torch.no_grad()
@pytest.mark.parametrize("length", [2, 32, 33, 34, 161, 200])
def test_is_the_sum_over_every_token_but_the_first(length):
    transformer = model(29).eval()
    ids = np.random.default_rng(0).integers(0, 29, length).astype(np.uint16)
    total = 0.0
    for first in range(0, length - 1, 32):  # in windows that do not overlap, as a sum of single probabilities
        window = torch.from_numpy(ids[first : first + 33].astype(np.int64))
        probabilities = transformer(window[None, :-1])[0].double().log_softmax(dim=-1)
        total -= sum(probabilities[t, window[t + 1]].item() for t in range(len(window) - 1))
    found = losses(transformer, ids, 32)
    assert found.tokens == found.bytes == length - 1
    assert found.loss == pytest.approx(total / (length - 1), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(total / (length - 1)), rel=1e-4)


def test_the_batch_size_changes_rounding_only():
    transformer = model(29)
    ids = np.random.default_rng(1).integers(0, 29, 2000).astype(np.uint16)
    found = [losses(transformer, ids, 32, batch) for batch in (1, 2, 7, 16, 1000)]
    assert len({(r.tokens, r.bytes) for r in found}) == 1
    assert max(r.loss for r in found) == pytest.approx(min(r.loss for r in found), rel=1e-5)
    assert found[2] == losses(transformer, ids, 32, 7)


class Even(nn.Module):
    """Thinks every token equally likely."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, inputs, documents=None, targets=None):
        logits = self.logits.expand(*inputs.shape, -1)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_bits_per_byte_by_hand(kind):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), TEXT)
    ids = tokenizer.encode(TEXT)
    sizes = torch.from_numpy(tokenizer.token_bytes())
    found = evaluate(Even(tokenizer.vocab_size), eval_batches(ids, 16, 3), sizes, contextlib.nullcontext)
    predicted = TEXT[1:].encode() if kind == "char" else TEXT.encode()[1:]
    assert len(predicted) > len(TEXT)  # there are characters of two, three and four bytes
    assert found.bytes == len(predicted)
    assert found.tokens == (len(TEXT) - 1 if kind == "char" else len(predicted))
    assert found.loss == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-6)
    bits = found.tokens * math.log2(tokenizer.vocab_size)
    assert found.bits_per_byte == pytest.approx(bits / len(predicted), rel=1e-6)
    if kind == "byte":
        assert found.bits_per_byte == pytest.approx(8.0)


def test_what_is_not_learnt_does_not_count():
    labels = torch.tensor([[3, IGNORE, 5], [IGNORE, IGNORE, 7]])
    sizes = torch.arange(10)
    found = evaluate(Even(10), [Batch(torch.zeros(2, 3, dtype=torch.long), labels)], sizes, contextlib.nullcontext)
    assert (found.tokens, found.bytes) == (3, 3 + 5 + 7)
    assert found.loss == pytest.approx(math.log(10))


def test_nothing_to_learn_is_no_crash():
    found = evaluate(Even(10), [], torch.ones(10), contextlib.nullcontext)
    assert (found.loss, found.tokens, found.bits_per_byte) == (0.0, 0, 0.0)
    assert LossResult(1e9, 1, 1).perplexity > 1e300  # and no overflow


@pytest.mark.parametrize("training", [True, False])
def test_random_numbers_dropout_and_gradients_are_left_alone(training):
    transformer = model(29, model__dropout=0.5)
    transformer.train(training)
    ids = np.random.default_rng(2).integers(0, 29, 300).astype(np.uint16)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = losses(transformer, ids, 32)
    assert losses(transformer, ids, 32) == first  # without dropout
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert transformer.training is training
    assert all(p.grad is None for p in transformer.parameters())


def test_giving_up_leaves_the_model_as_it_was():
    transformer = model(29).train()
    ids = np.zeros(300, dtype=np.uint16)
    asked = []

    def poll():
        asked.append(transformer.training)
        if len(asked) == 3:
            raise KeyboardInterrupt

    sizes = torch.ones(29)
    with pytest.raises(KeyboardInterrupt):
        evaluate(transformer, eval_batches(ids, 32, 1), sizes, contextlib.nullcontext, poll)
    assert asked == [False] * 3
    assert transformer.training
