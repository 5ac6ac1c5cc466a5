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
from gptforge.model import Transformer, param_roles
from gptforge.optim import build_optimizer, lr_multiplier
from gptforge.optim.build import BUILDERS, DECAYED
from gptforge.optim.schedule import SHAPES

KINDS = list(SHAPES)


def schedule(kind: str, **changes) -> ScheduleConfig:
    return build(ScheduleConfig, {"kind": kind, **changes})


def model(**changes) -> Transformer:
    built = Transformer(small.config(**changes).model, 29)
    built.init_weights(torch.Generator().manual_seed(0))
    return built


# Groups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"model__bias": True}, {"model__tie_embeddings": False}])
def test_matrices_decay_and_norms_and_biases_do_not(changes):
    transformer = model(**changes)
    named = dict(transformer.named_parameters())
    optimizer = build_optimizer(build(OptimizerConfig, {"weight_decay": 0.3}), named, param_roles(transformer))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    for name, parameter in named.items():
        assert decay[id(parameter)] == (0.3 if parameter.ndim == 2 else 0.0), name


def test_every_role_is_decided():
    wide = model(model__bias=True, model__tie_embeddings=False, model__position="learned")
    assert set(param_roles(wide).values()) == DECAYED | {"norm", "bias"}


def test_every_kind_of_config_can_be_built():
    kinds = OptimizerConfig.__dataclass_fields__["kind"].metadata["choices"]
    assert set(BUILDERS) == set(kinds)
    assert set(SHAPES) == set(ScheduleConfig.__dataclass_fields__["kind"].metadata["choices"])


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_is_that_of_torch(fused):
    cfg = build(OptimizerConfig, {"lr": 0.02, "betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 0.2})
    mine, theirs = model(model__bias=True), model(model__bias=True)
    optimizer = build_optimizer(cfg, dict(mine.named_parameters()), param_roles(mine))
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
    cfg = build(OptimizerConfig, {"lr": 0.1, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.5})
    optimizer = build_optimizer(cfg, {"w": weight}, {"w": "matrix"})
    weight.grad = torch.tensor([[-3.0]])
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) + 0.1, rel=1e-6)  # the first step is lr long


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
