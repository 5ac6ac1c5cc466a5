import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptforge.data.batch import IGNORE, Batch
from gptforge.data.loader import TrainLoader, eval_batches, n_eval_windows
from gptforge.data.order import WindowOrder, permuted


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@example(1, 0)
@example(4, 1)
@example(1024, 2)
@example(1025, 3)
def test_permuted_is_a_bijection(n, key):
    assert sorted(permuted(np.arange(n), n, key).tolist()) == list(range(n))


def test_permuted_mixes_and_needs_no_table():
    n = 10**15
    places = permuted(np.arange(1000), n, 7)
    assert len(set(places.tolist())) == 1000 and places.min() >= 0 and places.max() < n
    assert 0.45 < places.mean() / n < 0.55
    assert (np.diff(places) > 0).mean() == pytest.approx(0.5, abs=0.06)
    # Every first place is about equally likely.
    firsts = np.bincount([int(permuted(np.array([0]), 8, key)[0]) for key in range(2000)], minlength=8)
    assert firsts.min() > 180 and firsts.max() < 330


@st.composite
def texts(draw):
    block_size = draw(st.integers(1, 40))
    return draw(st.integers(block_size + 1, block_size + 300)), block_size


@given(texts(), st.integers(0, 5), st.integers(0, 1000), st.booleans())
@example((2, 1), 0, 0, True)
@example((65, 64), 0, 0, True)
@example((66, 64), 0, 0, False)
@example((129, 64), 3, 1, False)
def test_every_token_is_seen_in_every_epoch(text, seed, epoch, shuffle):
    n_tokens, block_size = text
    order = WindowOrder(n_tokens, block_size, seed, shuffle)
    n = order.windows_per_epoch
    starts = order.starts(np.arange(epoch * n, (epoch + 1) * n))
    assert starts.min() >= 0 and starts.max() + block_size < n_tokens
    labels = (starts[:, None] + np.arange(1, block_size + 1)).ravel()
    assert set(labels.tolist()) == set(range(1, n_tokens))
    assert len(labels) <= n_tokens - 1 + 2 * block_size  # and little of it twice
    if not shuffle:
        assert (np.diff(starts) >= 0).all()


def test_order_is_a_pure_function():
    a, b = (WindowOrder(1000, 16, seed=3) for _ in range(2))
    some = np.array([500, 3, 64, 63, 10**12, 3])
    assert a.starts(some).tolist() == [b.start(i) for i in some.tolist()]
    assert a.starts(np.arange(200)).tolist() != WindowOrder(1000, 16, seed=4).starts(np.arange(200)).tolist()


def test_epochs_differ_in_order_and_offset():
    order = WindowOrder(10_000, 64, seed=1)
    n = order.windows_per_epoch
    epochs = [order.starts(np.arange(e * n, (e + 1) * n)) for e in range(20)]
    assert len({tuple(e.tolist()) for e in epochs}) == 20
    assert len({order.offset(e) for e in range(20)}) > 10
    assert all(1 <= order.offset(e) <= 63 for e in range(200))


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="10 tokens hold no window"):
        WindowOrder(10, 10, 0)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_train_batches(dtype):
    tokens = np.arange(1000).astype(dtype)
    order = WindowOrder(1000, 16, seed=0)
    loader = TrainLoader(tokens, 16, 8, order)
    assert loader.windows_per_epoch == order.windows_per_epoch
    batch = loader.batch(5)
    assert batch.inputs.shape == batch.labels.shape == (8, 16)
    assert batch.inputs.dtype == batch.labels.dtype == torch.int64 and batch.inputs.is_contiguous()
    assert torch.equal(batch.labels, batch.inputs + 1) and batch.learnt == 128
    assert batch.inputs[:, 0].tolist() == order.starts(np.arange(40, 48)).tolist()


def test_rows_of_a_step_do_not_depend_on_how_it_is_cut():
    tokens = np.random.default_rng(0).integers(0, 60, 700).astype(np.uint16)
    loader = TrainLoader(tokens, 10, 12, WindowOrder(700, 10, seed=0))
    for step in (0, 5, 6, 1000):  # 5 and 6 lie across the end of an epoch
        whole = loader.batch(step)
        for size in (1, 5, 12):
            parts = [loader.batch(step, slice(i, i + size)) for i in range(0, 12, size)]
            assert torch.equal(torch.cat([p.inputs for p in parts]), whole.inputs)
            assert torch.equal(torch.cat([p.labels for p in parts]), whole.labels)


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 9))
@settings(max_examples=50)
def test_evaluation_has_each_label_once(n_tokens, block_size, batch_size):
    tokens = np.arange(n_tokens).astype(np.uint16)
    batches = list(eval_batches(tokens, block_size, batch_size))
    assert all(len(b.inputs) == batch_size for b in batches[:-1])
    inputs, labels = (torch.cat([getattr(b, name) for b in batches]) for name in ("inputs", "labels"))
    assert inputs.shape == labels.shape == (n_eval_windows(n_tokens, block_size), block_size)
    learnt = labels != IGNORE
    assert labels[learnt].tolist() == list(range(1, n_tokens))
    assert torch.equal(inputs[learnt] + 1, labels[learnt]) and (inputs[~learnt] == 0).all()


def test_evaluation_of_some_windows_is_spread_evenly():
    tokens = np.arange(1001).astype(np.uint16)
    starts = [int(i) for b in eval_batches(tokens, 10, 4, limit_windows=5) for i in b.inputs[:, 0]]
    assert starts == [0, 200, 400, 600, 800]
    assert sum(len(b.inputs) for b in eval_batches(tokens, 10, 4, limit_windows=500)) == 100
    with pytest.raises(ValueError, match="no label"):
        next(eval_batches(tokens[:1], 10, 4))


def test_batch_to_a_device_moves_all_of_it():
    ids = torch.zeros(2, 3, dtype=torch.int64)
    moved = Batch(ids, ids, documents=ids, extra={"weight": torch.ones(2)}).to("meta")
    assert moved.documents is not None
    assert {t.device.type for t in (moved.inputs, moved.labels, moved.documents, moved.extra["weight"])} == {"meta"}
    assert Batch(ids, ids).to("cpu").documents is None


@given(st.integers(1, 4), st.integers(1, 41), st.sampled_from([1, 2, 4]))
def test_a_batch_in_pieces_has_the_same_tokens_in_their_order(rows, length, pieces):
    ids = torch.arange(rows * length).view(rows, length)
    cut = Batch(ids, ids + 1, documents=ids // 3, extra={"weight": ids + 0.5}).cut(pieces)
    assert cut.inputs.shape == cut.labels.shape == (rows * pieces, -(-length // pieces))
    learnt = cut.labels != IGNORE
    assert cut.learnt == rows * length
    assert torch.equal(cut.inputs[learnt], ids.flatten())
    assert torch.equal(cut.labels[learnt], ids.flatten() + 1)
    assert cut.documents is not None
    assert torch.equal(cut.documents[learnt], ids.flatten() // 3) and (cut.documents[~learnt] == -1).all()
    assert torch.equal(cut.extra["weight"][learnt], ids.flatten() + 0.5)
