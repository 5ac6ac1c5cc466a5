"""The loss of each token of a passage: right, by the weights of the run, and without a trace in the training."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

import small
from gptforge.config import ModelConfig
from gptforge.data.loader import eval_batches
from gptforge.evals.loss import evaluate
from gptforge.evals.passage import LENGTH, passage
from gptforge.model import Transformer
from gptforge.tokenizers.byte import ByteTokenizer

TEXT = "The naïve café — 語. " * 30


@pytest.fixture
def tokenizer():
    return ByteTokenizer()


def model_of(block_size: int, vocab_size: int, **changes) -> Transformer:
    cfg = ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=block_size, **changes)
    model = Transformer(cfg, vocab_size)
    model.init_weights(torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize(("block_size", "n"), [(1, 100), (16, 100), (400, 600), (64, 2), (64, 40)])
def test_the_losses_are_those_of_an_evaluation(tokenizer, block_size, n):
    ids = tokenizer.encode(TEXT)[:n]
    model = model_of(block_size, tokenizer.vocab_size)
    pieces = passage(model, ids, tokenizer, contextlib.nullcontext)["pieces"]
    predicted = min(block_size, LENGTH, n - 1)
    assert len(pieces) == predicted + 1 and pieces[0]["nats"] is None
    sizes = torch.from_numpy(tokenizer.token_bytes())
    batches = eval_batches(ids[: predicted + 1], predicted, 1)
    whole = evaluate(model, batches, sizes, contextlib.nullcontext)
    assert sum(piece["nats"] for piece in pieces[1:]) / predicted == pytest.approx(whole.loss, rel=1e-5)
    assert whole.tokens == predicted


def test_pieces_are_the_text_and_no_character_is_lost(tokenizer):
    ids = tokenizer.encode("a—b")
    found = passage(model_of(8, tokenizer.vocab_size), ids, tokenizer, contextlib.nullcontext)
    assert [piece["text"] for piece in found["pieces"]] == ["a", "<e2>", "<80>", "<94>", "b"]


def test_documents_are_not_seen_beyond(tokenizer):
    ids = tokenizer.encode("abcabcabcabc")
    model = model_of(11, tokenizer.vocab_size)
    model.tok_emb.weight.data.normal_(generator=torch.Generator().manual_seed(2))
    apart, together = (
        [p["nats"] for p in passage(model, ids, tokenizer, contextlib.nullcontext, starts)["pieces"]]
        for starts in (np.array([0, 6]), None)
    )
    assert apart[1:6] == pytest.approx(together[1:6]) and apart[8:] != pytest.approx(together[8:])


def test_it_is_one_forward_pass_without_dropout_and_leaves_no_trace(tokenizer):
    model = model_of(16, tokenizer.vocab_size, dropout=0.5)
    model.train()
    passes = []
    model.register_forward_hook(lambda *arguments: passes.append(model.training))
    before = torch.get_rng_state()
    ids = tokenizer.encode(TEXT)
    first, second = (passage(model, ids, tokenizer, contextlib.nullcontext) for _ in range(2))
    assert passes == [False, False] and first == second
    assert torch.equal(torch.get_rng_state(), before) and model.training
    assert all(p.grad is None for p in model.parameters())


def test_losses_that_are_no_numbers_are_none(tokenizer):
    model = model_of(8, tokenizer.vocab_size)
    model.final_norm.weight.data.fill_(torch.nan)
    pieces = passage(model, tokenizer.encode(TEXT), tokenizer, contextlib.nullcontext)["pieces"]
    assert [piece["nats"] for piece in pieces] == [None] * 9


# In a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run_of(own_folder, monkeypatch):
    from gptforge.train import trainer

    monkeypatch.setattr(trainer, "measured_peak", lambda runtime: 1e12)
    small.write_text()
    return own_folder


def test_it_is_predicted_by_the_weights_that_are_kept(run_of):
    trainer = small.trainer(small.config(train__steps=6, optimizer__ema_decay=0.9, optimizer__lr=0.05))
    trainer.fit()
    kept = [p["nats"] for p in trainer.evaluator.passage()["pieces"][1:]]
    with trainer.parts.best_weights():
        data, tokenizer = trainer.parts.dataset, trainer.parts.tokenizer
        average = passage(trainer.parts.model, data.val, tokenizer, trainer.autocast)
    trained = passage(trainer.parts.model, data.val, tokenizer, trainer.autocast)
    assert kept == [p["nats"] for p in average["pieces"][1:]] != [p["nats"] for p in trained["pieces"][1:]]
    assert len(kept) == 32


def test_a_model_of_one_s_own_has_none(run_of):
    trainer = small.trainer(small.config(train__steps=1))
    trainer.parts.model = nn.Linear(2, 2)
    assert trainer.evaluator.passage() is None
