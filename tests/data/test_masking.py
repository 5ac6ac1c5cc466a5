"""Hidden tokens: how many, what stands in their place, and that it depends on the number of a window alone."""

import numpy as np
import pytest
import torch

from gptforge.config import ObjectiveConfig
from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import TrainLoader, eval_batches
from gptforge.data.masking import MaskedLoader, Masking, masked, masking_of
from gptforge.data.order import WindowOrder, uniform
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.mask import with_mask

MASK, VOCAB, BLOCK = 50, 51, 64


def masking(rate=0.15, masked=0.8, random=0.1, key=7, mask=MASK) -> Masking:
    return Masking(mask, VOCAB, rate, masked, random, key)


def batch(rows: int, seed: int = 0) -> Batch:
    """As next-token prediction has it: each label is the input after."""
    drawn = torch.randint(MASK, (rows, BLOCK + 1), generator=torch.Generator().manual_seed(seed))
    return Batch(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous())


def test_shares_are_those_that_are_asked_for():
    plain = batch(2000)
    made = masking().applied(plain, np.arange(2000))
    asked = made.labels != IGNORE
    assert torch.equal(made.labels[asked], plain.labels[asked]) and (made.labels != MASK).all()
    assert torch.equal(made.inputs[~asked], plain.labels[~asked]), "what is not asked for is seen as it is"
    n = int(asked.sum())
    assert n / asked.numel() == pytest.approx(0.15, abs=0.004)
    there, wanted = made.inputs[asked], made.labels[asked]
    assert float((there == MASK).float().mean()) == pytest.approx(0.8, abs=0.01)
    # A random token is by chance the one that stood there
    assert float((there == wanted).float().mean()) == pytest.approx(0.1 + 0.1 / MASK, abs=0.01)
    other = there[(there != MASK) & (there != wanted)]
    assert other.unique().tolist() == list(range(MASK)), "any token but the mask"
    assert float(other.float().mean()) == pytest.approx((MASK - 1) / 2, abs=1.0)


def test_each_place_is_as_likely_as_another():
    asked = (masking().applied(batch(3000), np.arange(3000)).labels != IGNORE).float().mean(0)
    assert float(asked.std()) < 2.0 * (0.15 * 0.85 / 3000) ** 0.5


def test_the_mask_may_be_any_of_the_ids():
    plain = batch(100)
    plain.labels += plain.labels >= 7  # a text without it
    made = masking(mask=7).applied(plain, np.arange(100))
    assert ((made.inputs == 7) <= (made.labels != IGNORE)).all() and (made.inputs == 7).sum() > 600
    others = masking(rate=0.9, masked=0.0, random=1.0, mask=7).applied(plain, np.arange(100)).inputs.unique()
    assert others.tolist() == [i for i in range(VOCAB) if i != 7]


def test_a_window_has_at_least_one():
    made = masking(rate=1e-9).applied(batch(20), np.arange(20))
    assert (made.labels != IGNORE).sum(1).tolist() == [1] * 20


@pytest.fixture
def loader() -> MaskedLoader:
    tokens = np.arange(3000) % MASK
    return MaskedLoader(TrainLoader(tokens, BLOCK, 8, WindowOrder(3000, BLOCK, seed=3)), masking())


def test_processes_see_the_same_and_passes_do_not(loader):
    whole = loader.batch(5)
    parts = [loader.batch(5, slice(0, 3)), loader.batch(5, slice(3, 8))]
    for name in ("inputs", "labels"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert torch.equal(whole.labels, loader.batch(5).labels)
    assert not torch.equal(whole.labels == IGNORE, loader.batch(6).labels == IGNORE)
    assert whole.both_sides and whole.documents is None and whole.seen == 8 * BLOCK and whole.learnt < 200
    again = masking(key=8).applied(batch(8), np.arange(8))
    assert not torch.equal(again.labels, masking().applied(batch(8), np.arange(8)).labels), "a seed has its own"


def test_evaluation_has_every_token_and_hides_no_filling():
    tokens = np.arange(3 * BLOCK + 10) % MASK
    made = list(masked(eval_batches(tokens, BLOCK, 2), masking()))
    one_by_one = list(masked(eval_batches(tokens, BLOCK, 1), masking()))
    assert torch.equal(torch.cat([b.labels for b in made]), torch.cat([b.labels for b in one_by_one]))
    seen = torch.cat([torch.where(b.labels == IGNORE, b.inputs, b.labels).flatten() for b in made])
    assert torch.equal(seen[: len(tokens) - 1], torch.from_numpy(tokens[1:]))
    last = made[-1]
    assert made[0].documents is None and last.documents is not None
    filled = last.documents[-1] == -1
    assert filled.tolist() == [False] * 9 + [True] * (BLOCK - 9)
    assert (last.labels[-1][filled] == IGNORE).all()


def test_documents_are_those_of_the_tokens():
    starts = np.array([0, 10, 100])
    tokens = np.arange(200) % MASK
    (made,) = masked(eval_batches(tokens, 199, 1, documents=starts), masking())
    assert made.documents is not None
    assert made.documents[0].tolist() == np.searchsorted(starts, np.arange(1, 200), side="right").tolist()


def test_what_fills_a_cut_row_is_seen_by_nobody(loader):
    made = loader.batch(0)
    assert made.cut(4).documents is None, "64 tokens are four pieces of 16"
    pieces = made.cut(3)  # of 22, the last with two that fill it
    assert pieces.documents is not None
    assert pieces.documents[2].tolist() == [0] * 20 + [-1] * 2 and pieces.documents[0].tolist() == [0] * 22
    plain = batch(2).cut(3)
    assert plain.documents is None, "tokens that see those before alone need none"


def test_numbers_are_even_and_do_not_depend_on_each_other():
    drawn = uniform(5, np.arange(400), 300)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.003) and drawn.std() == pytest.approx(12**-0.5, abs=0.003)
    for one, other in (
        (drawn[:-1], drawn[1:]),
        (drawn[:, :-1], drawn[:, 1:]),
        (drawn, uniform(6, np.arange(400), 300)),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
    assert np.array_equal(uniform(5, np.array([7, 3]), 300), drawn[[7, 3]])


def test_evaluations_hide_the_same_whatever_the_seed_is():
    tokenizer, cfg = with_mask(ByteTokenizer()), ObjectiveConfig(kind="mlm")
    assert masking_of(cfg, tokenizer, None) == masking_of(cfg, tokenizer, None)
    keys = {masking_of(cfg, tokenizer, seed).key for seed in (None, 1, 2)}
    assert len(keys) == 3
    assert masking_of(cfg, tokenizer, 1).mask == 256 and masking_of(cfg, tokenizer, 1).vocab_size == 257
