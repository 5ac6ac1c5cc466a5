"""Derivatives written by hand are right, and values those of torch."""

import pytest
import torch
import torch.nn.functional as F

from gptforge.model.elementwise import relu2, turned, unit_rms
from gptforge.model.parts import rotary_table

GENERATOR = torch.Generator()


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR.manual_seed(7), dtype=torch.float64).to(dtype).requires_grad_()


def angles(dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = rotary_table(torch.arange(5), dim, 100.0)
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
