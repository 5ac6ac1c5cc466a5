"""Derivatives written by hand are right, and values those of torch."""

import pytest
import torch
import torch.nn.functional as F

from gptforge.config.model import RopeConfig
from gptforge.model.elementwise import dropped, relu2, turned, unit_rms
from gptforge.model.parts import Dropout, rotary_table

GENERATOR = torch.Generator()


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR.manual_seed(7), dtype=torch.float64).to(dtype).requires_grad_()


def angles(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = rotary_table(torch.arange(5), dim, RopeConfig(theta=100.0))
    return cos.double(), sin.double()


@pytest.mark.parametrize("layout", [lambda x: x, lambda x: x.transpose(0, 1)], ids=["in order", "transposed"])
@pytest.mark.parametrize(
    "function",
    [lambda x: unit_rms(x, 1e-2), lambda x: turned(x, *angles(6)), lambda x: turned(x, *angles(4)), relu2],
    ids=["unit_rms", "turned", "turned in part", "relu2"],
)
def test_the_derivative_is_that_of_small_differences(function, layout):
    assert torch.autograd.gradcheck(
        lambda x: layout(function(layout(x))), layout(drawn(5, 3, 6)).detach().requires_grad_()
    )


def test_unit_rms_is_that_of_torch():
    x = drawn(4, 6)
    torch.testing.assert_close(unit_rms(x, 1e-3), F.rms_norm(x, (6,), eps=1e-3))
    assert unit_rms(torch.zeros(2, 4), 1e-5).tolist() == [[0.0] * 4] * 2


def test_a_turn_keeps_lengths_and_turns_by_the_angle():
    x, (cos, sin) = drawn(5, 3, 6), angles(6)
    y = turned(x, cos, sin)
    torch.testing.assert_close(y.square().sum(-1), x.square().sum(-1))
    pair, found = torch.complex(x[..., :3], x[..., 3:]), torch.complex(y[..., :3], y[..., 3:])
    torch.testing.assert_close(found, pair * torch.complex(cos, sin))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtypes_stay_and_rounding_comes_last(dtype):
    x = drawn(5, 3, 6, dtype=dtype)
    cos, sin = (t.float() for t in angles(6))
    for y, exact in (
        (unit_rms(x, 1e-5), unit_rms(x.double(), 1e-5)),
        (turned(x, cos, sin), turned(x.double(), cos.double(), sin.double())),
    ):
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), exact, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_relu2_is_that_of_torch():
    x = drawn(4, 6)
    torch.testing.assert_close(relu2(x), F.relu(x).square())


@pytest.mark.parametrize("rate", [0.001, 0.2, 0.5, 0.9, 0.9999999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_drops_the_share_it_is_told(rate, dtype):
    torch.manual_seed(1)
    x = torch.ones(1001, 999, dtype=dtype, requires_grad=True)  # no multiple of four
    y = dropped(x, rate)
    share = (y == 0).double().mean().item()
    assert abs(share - rate) < 4 * (rate * (1 - rate) / x.numel()) ** 0.5 + 2**-16
    assert len(y.unique()) == 2
    assert y.max().item() * (1 - rate) == pytest.approx(1, rel=0.01) or rate > 1 - 2**-16
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, y)


def test_dropout_draws_from_the_generator_that_checkpoints_keep():
    layer, x = Dropout(0.3), torch.ones(7, 5)
    state = torch.get_rng_state()
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
