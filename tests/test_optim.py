"""Which parameters decay, what the learning rate does over a run, and that AdamW is AdamW."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import small
from gptforge.config import OptimizerConfig, ScheduleConfig
from gptforge.config.schema import build
from gptforge.model import Transformer, param_roles, row_splits
from gptforge.optim import Roles, WeightAverage, build_optimizer, each, lr_multiplier
from gptforge.optim.build import BUILDERS, DECAYED
from gptforge.optim.muon import Muon, orthogonalized
from gptforge.optim.schedule import SHAPES

KINDS = list(SHAPES)
EXPERTS = {"model__moe__n_expert": 3, "model__moe__width": 20}


def schedule(kind: str, **changes) -> ScheduleConfig:
    return build(ScheduleConfig, {"kind": kind, **changes})


def model(**changes) -> Transformer:
    built = Transformer(small.config(**changes).model, 29)
    built.init_weights(torch.Generator().manual_seed(0))
    return built


def optimizer_of(transformer: Transformer, dtype: torch.dtype = torch.float32, **changes):
    roles = Roles(param_roles(transformer), row_splits(transformer), dtype)
    return build_optimizer(build(OptimizerConfig, changes), dict(transformer.named_parameters()), roles)


# Groups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(BUILDERS))
@pytest.mark.parametrize("changes", [{}, {"model__bias": True}, {"model__tie_embeddings": False}, EXPERTS])
def test_matrices_decay_and_norms_and_biases_do_not(changes, kind):
    transformer = model(**changes)
    named = dict(transformer.named_parameters())
    optimizer = optimizer_of(transformer, kind=kind, weight_decay=0.3)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    for name, parameter in named.items():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name


def test_every_role_is_decided():
    wide = model(model__bias=True, model__tie_embeddings=False, model__position="learned")
    assert set(param_roles(wide).values()) | {"router"} == DECAYED | {"norm", "bias"}
    assert "router" in param_roles(model(**EXPERTS)).values()


def test_every_kind_of_config_can_be_built():
    kinds = OptimizerConfig.__dataclass_fields__["kind"].metadata["choices"]
    assert set(BUILDERS) == set(kinds)
    assert set(SHAPES) == set(ScheduleConfig.__dataclass_fields__["kind"].metadata["choices"])


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_is_that_of_torch(fused):
    mine, theirs = model(model__bias=True), model(model__bias=True)
    optimizer = optimizer_of(mine, kind="adamw", lr=0.02, betas=[0.8, 0.9], eps=1e-6, weight_decay=0.2)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim == 2], "weight_decay": 0.2},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.9), eps=1e-6, fused=fused)
    draw = torch.Generator().manual_seed(1)
    for _ in range(4):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=draw)
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0 if fused else 1e-5, atol=0 if fused else 1e-6)


def test_one_step_by_hand():
    weight = nn.Parameter(torch.tensor([[2.0]]))
    cfg = build(OptimizerConfig, {"kind": "adamw", "lr": 0.1, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.5})
    optimizer = build_optimizer(cfg, {"w": weight}, Roles({"w": "matrix"}, {}))
    weight.grad = torch.tensor([[-3.0]])
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) + 0.1, rel=1e-6)  # the first step is lr long


# Muon --------------------------------------------------------------------------------------------------------


def draws(model: nn.Module, times: int):
    """Gradients for a model, `times` times, set in place."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(times):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        yield


@pytest.mark.parametrize("rows, cols", [(8, 8), (16, 48), (64, 256)])
def test_singular_values_become_about_one(rows, cols):
    found = torch.linalg.svdvals(orthogonalized(torch.randn(3, rows, cols, generator=torch.Generator().manual_seed(2))))
    assert found.min() > 0.3 and found.max() < 1.3
    assert (found - 1).abs().mean() < 0.25


def test_directions_stay_and_only_their_strengths_change():
    u, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3)))
    v, _ = torch.linalg.qr(torch.randn(20, 12, generator=torch.Generator().manual_seed(4)))
    found = u.T @ orthogonalized((u @ torch.diag(torch.linspace(0.1, 3, 12)) @ v.T)[None])[0] @ v
    torch.testing.assert_close(found, found.diag().diag(), atol=1e-4, rtol=0)
    assert found.diag().min() > 0.5


def test_muon_is_that_of_torch():
    """Against torch.optim.Muon, which follows the authors' code, in its bfloat16; all shapes and four steps."""
    mine, theirs = model(), model()
    ours = Muon([p for n, p in mine.named_parameters() if param_roles(mine)[n] == "matrix"], 0.02, 0.9, 0.1)
    matrices = [p for n, p in theirs.named_parameters() if param_roles(theirs)[n] == "matrix"]
    reference = torch.optim.Muon(matrices, lr=0.02, momentum=0.9, weight_decay=0.1)
    before = [p.detach().clone() for p in matrices]
    for _ in zip(draws(mine, 4), draws(theirs, 4), strict=True):
        ours.step()
        reference.step()
    moved = [p for n, p in mine.named_parameters() if param_roles(mine)[n] == "matrix"]
    for a, b, old in zip(moved, matrices, before, strict=True):
        assert (a - b).norm() < 0.01 * (b - old).norm()  # rounding of bfloat16 products, summed in another order


def test_fused_matrices_are_made_orthogonal_one_by_one():
    fused, alone = model(), model()
    splits = row_splits(fused)
    name = "blocks.0.attn.qkv.weight"
    whole = fused.get_parameter(name)
    three = [nn.Parameter(piece.clone()) for piece in alone.get_parameter(name).detach().split(splits[name])]
    together = Muon([whole], 0.1, splits={whole: splits[name]}, dtype=torch.float32)
    apart = Muon(three, 0.1, dtype=torch.float32)
    grad = torch.randn(whole.shape, generator=torch.Generator().manual_seed(5))
    whole.grad = grad
    for piece, g in zip(three, grad.split(splits[name]), strict=True):
        piece.grad = g
    together.step()
    apart.step()
    torch.testing.assert_close(whole.detach(), torch.cat([p.detach() for p in three]))


def test_experts_are_made_orthogonal_one_by_one():
    """Lying and standing ones: 32 to 20 and back."""
    together = model(**EXPERTS)
    splits = row_splits(together)
    for name in ("blocks.0.mlp.fc.weight", "blocks.0.mlp.proj.weight"):
        whole = together.get_parameter(name)
        apart = [nn.Parameter(piece.clone()) for piece in whole.detach()]
        grad = torch.randn(whole.shape, generator=torch.Generator().manual_seed(5))
        whole.grad = grad
        for piece, g in zip(apart, grad, strict=True):
            piece.grad = g
        for told in ({whole: splits[name]}, None):  # what is known of the model says the same as the shape
            before = whole.detach().clone()
            Muon([whole], 0.1, splits=told, dtype=torch.float32).step()
            Muon(apart, 0.1, dtype=torch.float32).step()
            assert not torch.equal(whole, before)
            torch.testing.assert_close(whole.detach(), torch.stack([p.detach() for p in apart]))


def test_splits_cover_queries_keys_and_values():
    grouped = model(model__n_head=4, model__attention__n_kv_head=2)
    for name, rows in row_splits(grouped).items():
        assert sum(rows) == len(grouped.get_parameter(name)) and rows[1] == rows[2] == rows[0] // 2
    assert len(row_splits(grouped)) == len(grouped.blocks)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest():
    transformer = model(model__bias=True, model__tie_embeddings=False)
    hidden, rest = each(optimizer_of(transformer, kind="muon", muon_lr=0.5, lr=0.25))
    roles = param_roles(transformer)
    taken = {id(p) for group in hidden.param_groups for p in group["params"]}
    assert taken == {id(p) for n, p in transformer.named_parameters() if roles[n] == "matrix"}
    assert isinstance(rest, torch.optim.AdamW)
    assert {g["lr"] for g in hidden.param_groups} == {0.5} and {g["lr"] for g in rest.param_groups} == {0.25}


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match="shape"):
        Muon([nn.Parameter(torch.zeros(3))])


def test_each_group_follows_the_schedule_from_its_own_peak(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small.write_text()
    changes = {"optimizer__kind": "muon", "optimizer__muon_lr": 0.5, "optimizer__lr": 0.25}
    trainer = small.trainer(small.config(**changes, schedule__kind="linear", train__steps=100))
    trainer.state.step, trainer.state.progress = 55, 0.55  # after ten steps of warm-up, half-way down
    assert trainer._set_lr() == pytest.approx(0.125)
    assert sorted({g["lr"] for g in trainer.parts.optimizer.param_groups}) == pytest.approx([0.125, 0.25])


# Average -----------------------------------------------------------------------------------------------------


def test_the_average_is_that_of_its_formula():
    layer = nn.Linear(3, 2)
    average = WeightAverage(layer, 0.9)
    expected = layer.weight.detach().clone()
    for step in range(1, 200):
        with torch.no_grad():
            layer.weight.add_(0.1)
        decay = min(0.9, step / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
        average.update(step)
    torch.testing.assert_close(average.weights["weight"], expected)


def test_the_model_has_the_average_only_inside():
    layer = nn.Linear(3, 2)
    average = WeightAverage(layer, 0.5)
    first = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.fill_(7.0)
    kept = layer.weight
    with pytest.raises(RuntimeError), average.in_place():
        assert torch.equal(layer.weight, first) and layer.weight is kept
        raise RuntimeError
    assert torch.equal(layer.weight, torch.full_like(first, 7.0)) and torch.equal(average.weights["weight"], first)


# Schedule ----------------------------------------------------------------------------------------------------

shares = st.floats(0, 1)


def after_warm_up(kind: str, *points: float, end: float = 0.0, **changes) -> list[float]:
    return [lr_multiplier(schedule(kind, **changes), p, 1.0, end) for p in points]


@pytest.mark.parametrize("kind", KINDS)
@given(progress=shares, warm=st.floats(0.001, 5), end=st.floats(0, 0.99), low=shares, tail=st.floats(0.01, 1))
def test_never_below_its_floor_nor_above_the_peak(kind, progress, warm, end, low, tail):
    found = lr_multiplier(schedule(kind, min_lr_fraction=low, decay_fraction=tail), progress, warm, end)
    assert 0.0 <= found <= 1.0
    assert found == warm if warm < 1 else found >= low - 1e-12


@pytest.mark.parametrize("kind", KINDS)
@given(a=shares, b=shares, end=st.floats(0, 0.99), low=shares, tail=st.floats(0.01, 1))
def test_never_rises_after_the_warm_up(kind, a, b, end, low, tail):
    early, late = after_warm_up(kind, *sorted((a, b)), end=end, min_lr_fraction=low, decay_fraction=tail)
    assert early >= late - 1e-12


@pytest.mark.parametrize("kind", KINDS)
@given(low=shares, end=st.floats(0, 0.99), beyond=st.floats(0, 5))
def test_goes_from_the_peak_to_the_floor(kind, low, end, beyond):
    at = after_warm_up(kind, end, 1.0, 1.0 + beyond, end=end, min_lr_fraction=low)
    floor = 1.0 if kind == "constant" else low
    assert at == pytest.approx([1.0, floor, floor])


def lrs(monkeypatch, folder, progress, **changes) -> list[float]:
    """The learning rates of a run whose progress after each step is given."""
    monkeypatch.chdir(folder)
    small.write_text()
    trainer = small.trainer(small.config(**changes))
    found = []
    for step, share in enumerate(progress):
        trainer.state.step, trainer.state.progress = step, share
        found.append(trainer._set_lr())
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 5, 60, 2000])
def test_a_run_of_steps_rises_to_its_peak_and_falls(monkeypatch, tmp_path, kind, steps):
    progress = [step / steps for step in range(steps)]
    found = lrs(monkeypatch, tmp_path, progress, train__steps=steps, schedule__kind=kind, optimizer__lr=1.0)
    one_rise_then_a_fall(found)
    assert max(found) == 1.0 and found.index(1.0) == min(100, steps // 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [12, 99, 100, 101, 110, 5000])
def test_a_timed_run_rises_once_and_ends_low(monkeypatch, tmp_path, kind, n):
    progress = [step / n for step in range(n)]
    changes = {"train__steps": None, "train__time": "1h", "schedule__kind": kind, "optimizer__lr": 1.0}
    found = lrs(monkeypatch, tmp_path, progress, **changes)
    one_rise_then_a_fall(found)
    assert max(found) > 0.9 and (kind == "constant" or found[-1] < 0.6)
    assert found.index(max(found)) <= max(1, n / 10 + 1)


def one_rise_then_a_fall(values: list[float]) -> None:
    peak = values.index(max(values))
    assert all(a < b for a, b in itertools.pairwise(values[: peak + 1]))
    assert all(a >= b for a, b in itertools.pairwise(values[peak:]))


def test_shapes_at_known_points():
    assert after_warm_up("cosine", 0, 1 / 3, 0.5, 2 / 3, 1) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert after_warm_up("linear", 0, 0.25, 0.5, 1) == pytest.approx([1, 0.75, 0.5, 0])
    assert after_warm_up("linear", 0.2, 0.6, 1, end=0.2) == pytest.approx([1, 0.5, 0])
    assert after_warm_up("linear", 0.5, 1, min_lr_fraction=0.2) == pytest.approx([0.6, 0.2])
    assert after_warm_up("wsd", 0, 0.5, 0.8, 0.9, 1) == pytest.approx([1, 1, 1, 0.5, 0])
    half = {"decay_fraction": 0.5, "min_lr_fraction": 0.5}
    assert after_warm_up("wsd", 0.25, 0.5, 0.75, **half) == pytest.approx([1, 1, 0.75])
    assert after_warm_up("constant", 0, 0.5, 1) == [1, 1, 1]
