"""Norms, feed-forward layers and rotary positions."""

import math

import pytest
import torch
import torch.nn.functional as F

from gptforge.config import ModelConfig
from gptforge.config.model import MLPConfig, NormConfig, RopeConfig
from gptforge.model.parts import MLP, Linear, gelu, make_norm, relu2, rotary_table, rotate


@pytest.mark.parametrize(("kind", "width"), [("gelu", 64), ("relu2", 64), ("swiglu", 64)])
def test_default_width_of_mlp(kind: str, width: int):
    mlp = MLP(ModelConfig(n_embd=16, n_head=2, mlp=MLPConfig(kind=kind)))
    assert mlp.fc.out_features == mlp.proj.in_features == width
    assert (mlp.gate is not None) == (kind == "swiglu")


@pytest.mark.parametrize("kind", ["gelu", "relu2", "swiglu"])
def test_mlp_is_what_its_docstring_says(kind: str):
    torch.manual_seed(0)
    mlp = MLP(ModelConfig(n_embd=8, n_head=2, bias=True, mlp=MLPConfig(kind=kind, width=24)))
    for p in mlp.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(2, 3, 8)
    hidden = x @ mlp.fc.weight.T + mlp.fc.bias
    if kind == "gelu":
        hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    elif kind == "relu2":
        hidden = hidden.clamp(min=0) ** 2
    else:
        gate = x @ mlp.gate.weight.T + mlp.gate.bias
        hidden = gate * torch.sigmoid(gate) * hidden
    torch.testing.assert_close(mlp(x), hidden @ mlp.proj.weight.T + mlp.proj.bias, rtol=1e-4, atol=1e-4)


def test_activations_at_known_points():
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert relu2(x).tolist() == [0.0, 0.0, 9.0]
    torch.testing.assert_close(gelu(x), F.gelu(x), atol=1e-3, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norm(kind: str, bias: bool):
    norm = make_norm(ModelConfig(n_embd=16, bias=bias, norm=NormConfig(kind=kind, eps=1e-3)))
    assert sorted(name for name, _ in norm.named_parameters()) == (
        ["bias", "weight"] if bias and kind == "layernorm" else ["weight"]
    )
    x = 3 + 2 * torch.randn(4, 16)
    centred = x - x.mean(-1, keepdim=True) if kind == "layernorm" else x
    expected = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-3)
    torch.testing.assert_close(norm(x), expected)


def test_building_draws_nothing():
    before = torch.random.get_rng_state()
    Linear(4, 4)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("dim", [8, 4])
def test_rotary_scores_depend_on_the_distance_only(dim: int):
    q, k = torch.randn(2, 1, 1, 8)

    def score(query_at: int, key_at: int) -> torch.Tensor:
        at = rotary_table(torch.tensor([query_at, key_at]), dim, RopeConfig(theta=10_000.0))
        turned = rotate(torch.cat((q, k)), at)
        return turned[0].flatten() @ turned[1].flatten()

    torch.testing.assert_close(score(7, 3), score(104, 100), rtol=1e-4, atol=1e-5)
    assert not torch.isclose(score(7, 3), score(8, 3), atol=1e-6)


def test_rotary_keeps_lengths_position_zero_and_what_it_does_not_turn():
    x = torch.randn(5, 2, 8)
    turned = rotate(x, rotary_table(torch.arange(5), 6, RopeConfig(theta=100.0)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0])
    assert torch.equal(turned[..., 6:], x[..., 6:])


def test_rotary_turns_half_split_pairs_by_known_angles():
    x = torch.zeros(1, 1, 4)
    x[..., 1] = 1.0  # the first of pair 1, whose partner is dimension 3
    turned = rotate(x, rotary_table(torch.tensor([3]), 4, RopeConfig(theta=100.0)))
    angle = 3 / math.sqrt(100.0)
    torch.testing.assert_close(turned.flatten(), torch.tensor([0.0, math.cos(angle), 0.0, math.sin(angle)]))


def test_rotary_keeps_the_dtype():
    x = torch.randn(3, 2, 8, dtype=torch.bfloat16)
    assert rotate(x, rotary_table(torch.arange(3), 8, RopeConfig(theta=100.0))).dtype == torch.bfloat16
