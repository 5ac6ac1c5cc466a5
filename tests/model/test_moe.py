"""Experts: who is chosen with which weight, that sorting changes nothing, and what of a router is state."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError
from gptforge.model import Transformer, param_roles, row_splits
from gptforge.model.grouped import grouped
from gptforge.model.moe import MoE, Router, places

WIDTH = 12


def config(**moe) -> ModelConfig:
    kind, layers = moe.pop("kind", "swiglu"), moe.pop("n_layer", 2)
    tree = {"n_layer": layers, "n_head": 4, "n_embd": 8, "block_size": 16, "mlp": {"kind": kind}}
    return build(ModelConfig, tree | {"moe": {"n_expert": 5, "top_k": 2, "width": WIDTH} | moe})


def filled(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    draw = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=draw) / 2)
    return module


# Who is chosen -----------------------------------------------------------------------------------------------


def router(moved: list[float] | None = None, **moe) -> Router:
    """Its logits for (1, 0) are 0, 1, 2, for (0, 1) the other way round; `moved` is its bias."""
    cfg = build(ModelConfig, {"n_embd": 2, "n_head": 1, "moe": {"n_expert": 3, "top_k": 2} | moe})
    made = Router(cfg)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]))
        if moved is not None:
            made.choice_bias.copy_(torch.tensor(moved))
    return made


def dealt(made: Router) -> list[dict[int, float]]:
    """Of the two tokens: each chosen expert with its weight."""
    chosen, weights = made(torch.eye(2))
    pairs = zip(chosen.tolist(), weights.tolist(), strict=True)
    return [dict(sorted(zip(*pair, strict=True))) for pair in pairs]


def test_scores_by_hand():
    one, two = 1 / (1 + torch.e**-1), 1 / (1 + torch.e**-2)
    shares = [s / (one + two) for s in (one, two)]
    assert dealt(router()) == [pytest.approx({1: shares[0], 2: shares[1]}), pytest.approx({0: shares[1], 1: shares[0]})]
    raw = dealt(router(normalize=False, scale=2.5))
    assert raw[0] == pytest.approx({1: 2.5 * one, 2: 2.5 * two})
    e = torch.e
    assert dealt(router(score="softmax"))[0] == pytest.approx({1: 1 / (1 + e), 2: e / (1 + e)})
    whole = dealt(router(score="softmax", normalize=False))[1]
    assert whole == pytest.approx({0: e**2 / (1 + e + e**2), 1: e / (1 + e + e**2)})


def test_a_bias_chooses_and_does_not_weigh():
    one, two = 1 / (1 + torch.e**-1), 1 / (1 + torch.e**-2)
    assert dealt(router([0.0, -9.0, 0.0], normalize=False))[0] == pytest.approx({0: 0.5, 2: two})
    assert dealt(router([0.3, 0.0, 0.0], normalize=False))[0] == pytest.approx({0: 0.5, 2: two})  # 0.8 above 0.73
    assert dealt(router([0.2, 0.0, 0.0], normalize=False))[0] == pytest.approx({1: one, 2: two})
    assert router(bias=False).choice_bias is None


def test_scores_that_are_all_but_zero_are_divided_all_the_same():
    made = router()
    _, weights = made(torch.full((1, 2), -200.0))
    assert weights.isfinite().all()


def test_the_router_computes_in_float32_whatever_the_rest_does():
    made = filled(Router(config()))
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    wanted = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(x)
    assert found[1].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


# What is computed --------------------------------------------------------------------------------------------


def one_at_a_time(moe: MoE, x: Tensor) -> Tensor:
    """Token by token and expert by expert, as it is written down."""
    result = []
    for row, chosen, weights in zip(x, *moe.router(x), strict=True):
        total = torch.zeros_like(row) if moe.shared is None else moe.shared(row)
        for n, weight in zip(chosen.tolist(), weights, strict=True):
            hidden = moe.fc.weight[n] @ row
            if moe.gate is None:
                hidden = moe.activation(hidden)
            else:
                hidden = F.silu(moe.gate.weight[n] @ row) * hidden
            total = total + weight * (moe.proj.weight[n] @ hidden)
        result.append(total)
    return torch.stack(result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["torch's products", "our own"])
@pytest.mark.parametrize(
    "moe",
    [
        {},
        {"n_expert": 7, "top_k": 3, "width": 9, "n_shared": 2},  # rows of 36 bytes
        {"n_expert": 3, "top_k": 3, "kind": "gelu", "score": "softmax", "bias": False, "normalize": False},
        {"top_k": 1, "kind": "relu2", "n_shared": 1, "scale": 1.7},
    ],
    ids=str,
)
def test_sorted_tokens_give_what_single_ones_give(moe, dtype):
    layer = filled(MoE(config(**moe))).to(dtype)
    if layer.router.choice_bias is not None:
        layer.router.choice_bias.zero_()[0] = -9  # an expert that nobody is sent to
    x = torch.randn(23, 8, dtype=dtype, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y, wanted = layer(x), one_at_a_time(layer, x)
    tight = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(y, wanted, **tight)
    upstream = torch.randn(y.shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
    inputs = [x, *layer.parameters()]
    mine = torch.autograd.grad(y, inputs, upstream)
    theirs = torch.autograd.grad(wanted, inputs, upstream, allow_unused=True)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, **tight)
    if layer.router.choice_bias is not None:
        assert not mine[2][0].any() and mine[2][1:].flatten(1).any(1).all()


def test_no_expert_is_too_full():
    """Every token to the same two experts: none is dropped."""
    layer = filled(MoE(config()))
    layer.router.choice_bias.copy_(torch.tensor([0.0, 9, 0, 9, 0]))
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    layer.load = torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(layer(x), one_at_a_time(layer, x), rtol=1e-4, atol=1e-5)
    assert layer.load.tolist() == [0, 40, 0, 40, 0]


def test_places_lead_to_the_experts_and_back():
    chosen = torch.tensor([[2, 0], [0, 3], [3, 2]])
    found = places(chosen, 5)
    assert found.order.tolist() == [1, 2, 0, 5, 3, 4] and found.ends.tolist() == [2, 2, 4, 6, 6]
    assert torch.equal(found.order[found.back], torch.arange(6))


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_products_of_groups_are_an_operator_as_torch_wants_one(width, dtype):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(11, 16, dtype=dtype, generator=draw, requires_grad=True)
    weights = torch.randn(4, width, 16, dtype=dtype, generator=draw, requires_grad=True)
    ends = torch.tensor([3, 3, 10, 11], dtype=torch.int32)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.gptforge.grouped.default, (x, weights, ends), test_utils=tests)
    groups = zip(x.split([3, 0, 7, 1]), weights, strict=True)
    wanted = torch.cat([rows @ matrix.t() for rows, matrix in groups])
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(grouped(x, weights, ends), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler has them about torch itself
def test_it_is_compiled_in_one_piece():
    model = filled(Transformer(config(n_layer=1, n_shared=1), 31)).train()
    for block in model.blocks:
        block.mlp.load = torch.zeros(5, dtype=torch.int64)
    ids = torch.randint(31, (2, 16), generator=torch.Generator().manual_seed(1))
    found = []
    for call in (model, torch.compile(model, backend="aot_eager", dynamic=False, fullgraph=True)):
        model.zero_grad()
        loss = call(ids, targets=ids)
        loss.backward()
        loads = [block.mlp.load.clone() for block in model.blocks]
        found.append([loss.detach(), *(p.grad for p in model.parameters()), *loads])
    for plain, compiled in zip(*found, strict=True):
        wanted = plain if plain.is_floating_point() else 2 * plain  # loads are counted on
        torch.testing.assert_close(compiled, wanted, rtol=1e-4, atol=1e-4)


# Its place in a model ----------------------------------------------------------------------------------------


def test_layers_roles_and_matrices():
    model = Transformer(config(first_dense=1, n_shared=1), 31)
    assert not isinstance(model.blocks[0].mlp, MoE) and isinstance(model.blocks[1].mlp, MoE)
    roles, splits = param_roles(model), row_splits(model)
    assert {roles[f"blocks.1.mlp.{name}.weight"] for name in ("gate", "fc", "proj", "shared.fc")} == {"matrix"}
    assert roles["blocks.1.mlp.router.weight"] == "router"
    assert splits["blocks.1.mlp.fc.weight"] == (WIDTH,) * 5 and splits["blocks.1.mlp.proj.weight"] == (8,) * 5
    assert "blocks.1.mlp.router.choice_bias" in model.state_dict() and "choice_bias" not in str(roles)
    assert not any("load" in name for name in model.state_dict())


def test_a_new_model_has_biases_of_zero_and_small_last_products():
    model = filled(Transformer(config(), 31))
    model.init_weights(torch.Generator().manual_seed(0))
    moe = model.blocks[0].mlp
    assert not moe.router.choice_bias.any()
    assert moe.fc.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert moe.proj.weight.std().item() == pytest.approx(0.01, rel=0.15)  # 0.02 / sqrt(2 n_layer)


def test_the_bias_stays_float32():
    router = filled(Router(config()))
    router.choice_bias[0] = 1.001  # 1 in bfloat16
    before = router.choice_bias.clone()
    router.bfloat16()
    assert router.weight.dtype == torch.bfloat16
    assert router.choice_bias.dtype == torch.float32 and torch.equal(router.choice_bias, before)
    assert router.to("meta").choice_bias.is_meta


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"moe": {"n_expert": 5, "top_k": 6}}, "model.moe.top_k=6 is more than the model.moe.n_expert=5"),
        ({"moe": {"n_expert": 5, "first_dense": 4}}, "model.moe.first_dense=4 leaves none of 4 layers"),
        ({"moe": {"n_expert": 5}, "bias": True}, "experts have no biases"),
    ],
)
def test_what_cannot_be_is_said(changes, said):
    with pytest.raises(ConfigError, match=said):
        build(ModelConfig, changes)
