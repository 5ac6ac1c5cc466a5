"""Attention in blocks is attention: values, derivatives, and when it is used."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import small
from gptforge.model import Transformer, attention
from gptforge.model.blocked import blocked_attention, pays
from gptforge.model.cost import BLOCK_ROWS


def drawn(*shape: int, dtype: torch.dtype = torch.float64, n: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(n)]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3 * BLOCK_ROWS), st.sampled_from([4, 8]))
def test_values_and_derivatives_are_those_of_torch(batch, heads, tokens, width):
    mine, theirs = drawn(batch, heads, tokens, width), drawn(batch, heads, tokens, width)
    grad = torch.cos(torch.arange(mine[0].numel(), dtype=torch.float64)).view_as(mine[0])
    found, expected = blocked_attention(*mine), F.scaled_dot_product_attention(*theirs, is_causal=True)
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-11)


def test_in_bfloat16_as_near_as_the_fused_kernel():
    exact = F.scaled_dot_product_attention(*drawn(2, 4, 256, 32), is_causal=True)
    q, k, v = drawn(2, 4, 256, 32, dtype=torch.bfloat16)
    ours = (blocked_attention(q, k, v).double() - exact).norm() / exact.norm()
    fused = (F.scaled_dot_product_attention(q, k, v, is_causal=True).double() - exact).norm() / exact.norm()
    assert ours < 1.5 * fused


@pytest.mark.parametrize(
    ("queries", "keys", "dtype", "expected"),
    [
        ((1, 2, 64, 8), (1, 2, 64, 8), torch.bfloat16, True),
        ((1, 2, 64, 8), (1, 2, 64, 8), torch.float32, True),
        ((1, 2, 64, 8), (1, 2, 64, 8), torch.float64, False),
        ((1, 2, 1024, 8), (1, 2, 1024, 8), torch.bfloat16, True),
        ((1, 2, 1024, 8), (1, 2, 1024, 8), torch.float32, False),  # no faster there
        ((1, 2, 1, 8), (1, 2, 1, 8), torch.bfloat16, False),  # one token
        ((1, 2, 3, 8), (1, 2, 9, 8), torch.bfloat16, False),  # six more in the cache
        ((1, 2, 64, 8), (1, 1, 64, 8), torch.bfloat16, False),  # grouped heads
        ((1, 2, 5000, 8), (1, 2, 5000, 8), torch.bfloat16, False),  # too many pairs to keep
    ],
)
def test_where_it_pays(queries, keys, dtype, expected):
    meant = torch.empty(queries, dtype=dtype), torch.empty(keys, dtype=dtype)
    assert pays(*meant) is expected
    assert not pays(*(x.to("meta") for x in meant))


@pytest.mark.parametrize("changes", [{}, {"model__attention__dropout": 0.5}, {"model__attention__window": 7}])
def test_the_model_uses_it_in_training_under_autocast(monkeypatch, changes):
    calls = []
    monkeypatch.setattr(attention, "blocked_attention", lambda q, k, v: calls.append(1) or blocked_attention(q, k, v))
    model = Transformer(small.config(**changes).model, 29)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.zeros(2, 32, dtype=torch.int64), targets=torch.zeros(2, 32, dtype=torch.int64)).backward()
    assert len(calls) == (0 if changes else len(model.blocks))
