"""Attention and its masks against plain loops and a softmax that is written out."""

import math

import pytest
import torch

from gptforge.config import ModelConfig
from gptforge.config.model import AttentionConfig, RopeConfig
from gptforge.model.attention import Attention, Context
from gptforge.model.masks import causal_mask, token_positions
from gptforge.model.parts import rotary_table, rotate

CPU = torch.device("cpu")


def attention(**options) -> Attention:
    cfg = ModelConfig(n_head=4, n_embd=24, bias=True, attention=AttentionConfig(**options))
    layer = Attention(cfg, layer=0)
    generator = torch.Generator().manual_seed(0)
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=generator)
    return layer


def reference(layer: Attention, x: torch.Tensor, visible, rope_theta: float | None, eps: float | None):
    """The same by one softmax per head and row: visible(i, j) says whether i may see j."""
    T, d, group = x.size(0), layer.head_dim, layer.n_head // layer.n_kv_head
    flat = x @ layer.qkv.weight.T + layer.qkv.bias
    q, k, v = flat.split([layer.n_head * d, layer.n_kv_head * d, layer.n_kv_head * d], dim=-1)
    outputs = []
    for head in range(layer.n_head):
        rows = slice(head * d, (head + 1) * d)
        kv_rows = slice(head // group * d, (head // group + 1) * d)
        qh, kh, vh = q[:, rows], k[:, kv_rows], v[:, kv_rows]
        if eps is not None:
            qh, kh = (t / torch.sqrt(t.square().mean(-1, keepdim=True) + eps) for t in (qh, kh))
        if rope_theta is not None:
            table = rotary_table(torch.arange(T), d, RopeConfig(theta=rope_theta))
            qh, kh = (rotate(t[:, None], table)[:, 0] for t in (qh, kh))
        output = torch.zeros(T, d)
        for i in range(T):
            seen = [j for j in range(T) if visible(i, j)]
            weights = torch.softmax(torch.stack([qh[i] @ kh[j] / math.sqrt(d) for j in seen]), dim=0)
            output[i] = sum(w * vh[j] for w, j in zip(weights, seen, strict=True))
        outputs.append(output)
    return torch.cat(outputs, dim=-1) @ layer.proj.weight.T + layer.proj.bias


@pytest.mark.parametrize("rope", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"n_kv_head": 2}, {"n_kv_head": 1, "qk_norm": True}, {"head_dim": 10}, {"window": 3}, {"qk_norm": True}],
    ids=str,
)
def test_attention_is_a_softmax_over_what_is_visible(options: dict, rope: bool):
    layer = attention(**options).eval()
    T, window = 7, options.get("window")
    x = torch.randn(2, T, 24, generator=torch.Generator().manual_seed(1))
    table = rotary_table(torch.arange(T), layer.head_dim, RopeConfig(theta=100.0)) if rope else None
    with torch.no_grad():
        y = layer(x, Context(table, causal_mask(T, T, window, None, CPU), None))
        for row in range(2):
            expected = reference(
                layer, x[row], lambda i, j: j <= i and (window is None or i - j < window),
                rope_theta=100.0 if rope else None, eps=layer.qk_norm_eps,
            )  # fmt: skip
            torch.testing.assert_close(y[row], expected, rtol=1e-4, atol=1e-5)


def test_attention_dropout_acts_in_training_only():
    layer = attention(dropout=0.5)
    x = torch.randn(1, 6, 24)
    context = Context(None, None, None)
    assert not torch.equal(layer(x, context), layer(x, context))
    layer.eval()
    assert torch.equal(layer(x, context), layer(x, context))


def test_fused_weight_holds_queries_then_keys_then_values():
    layer = attention(n_kv_head=2, head_dim=10)
    assert layer.qkv.weight.shape == ((4 + 2 + 2) * 10, 24)
    assert layer.proj.weight.shape == (24, 40)


@pytest.mark.parametrize(
    ("queries", "keys", "window"), [(5, 5, None), (1, 5, None), (1, 1, None), (5, 5, 5), (1, 5, 9)]
)
def test_no_mask_where_kernels_need_none(queries: int, keys: int, window: int | None):
    assert causal_mask(queries, keys, window, None, CPU) is None


@pytest.mark.parametrize(("queries", "keys", "window"), [(3, 7, None), (3, 7, 2), (7, 7, 4), (1, 7, 3), (7, 7, 1)])
def test_mask_by_its_definition(queries: int, keys: int, window: int | None):
    mask = causal_mask(queries, keys, window, None, CPU)
    expected = [
        [j <= i and (window is None or i - j < window) for j in range(keys)] for i in range(keys - queries, keys)
    ]
    assert mask.tolist() == expected


def test_positions_and_mask_of_packed_documents():
    documents = torch.tensor([[4, 4, 4, 9, 9, 1], [0, 0, 0, 0, 0, 0]])
    assert token_positions(6, 0, documents, CPU).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]
    mask = causal_mask(6, 6, 2, documents, CPU)
    assert mask.shape == (2, 1, 6, 6)
    assert mask[0, 0, 3].tolist() == [False, False, False, True, False, False]
    assert mask[0, 0, 2].tolist() == [False, True, True, False, False, False]


def test_positions_go_on_after_earlier_tokens():
    assert token_positions(3, 5, None, CPU).tolist() == [5, 6, 7]
