"""The distribution of t, and whether two groups of numbers differ by more than their noise."""

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptforge.report.noise import POOLED, WELCH, incomplete_beta, judged, t_below, t_quantile

# Of published tables of Student's distribution: degrees of freedom, share, t
TABLE = [
    (1, 0.975, 12.706), (2, 0.975, 4.303), (3, 0.975, 3.182), (4, 0.975, 2.776), (5, 0.975, 2.571), (9, 0.975, 2.262),
    (10, 0.95, 1.812), (20, 0.975, 2.086), (30, 0.975, 2.042), (120, 0.975, 1.980), (3, 0.995, 5.841), (8, 0.9, 1.397),
]  # fmt: skip


@pytest.mark.parametrize(("degrees", "share", "t"), TABLE)
def test_quantiles_are_those_of_the_tables(degrees, share, t):
    assert t_quantile(share, degrees) == pytest.approx(t, abs=5e-4)


@example(t=7.763783592707574e-10)
@given(t=st.floats(-1e6, 1e6))
def test_one_and_two_degrees_have_closed_forms(t):
    assert t_below(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert t_below(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


@given(share=st.floats(0.5, 0.9999), degrees=st.floats(0.5, 1e5))
def test_the_quantile_is_the_inverse(share, degrees):
    assert t_below(t_quantile(share, degrees), degrees) == pytest.approx(share, abs=1e-9)


@given(x=st.floats(0, 1), n=st.integers(1, 12), k=st.integers(1, 12))
def test_the_beta_function_of_whole_numbers_is_a_binomial_sum(x, n, k):
    total = n + k - 1
    exact = sum(math.comb(total, j) * x**j * (1 - x) ** (total - j) for j in range(n, total + 1))
    assert incomplete_beta(x, n, k) == pytest.approx(exact, abs=1e-12)


def test_welch_by_hand():
    """Means 2 and 11; variances 1 and 9 over 3 and 3: error sqrt(10/3); (10/3)^2 / ((1/3)^2/2 + 3^2/2) = 2.439."""
    found = judged([1, 2, 3], [8, 11, 14])
    assert found is not None and found.method == WELCH
    assert found.difference == 9 and found.degrees == pytest.approx(2.4390, abs=1e-4)
    reach = t_quantile(0.975, found.degrees) * math.sqrt(10 / 3)
    assert (found.low, found.high) == pytest.approx((9 - reach, 9 + reach)) and found.larger


def test_one_run_is_judged_by_the_spread_of_those_that_were_repeated():
    found = judged([1, 3], [9], [[4, 4, 7]])  # squares 2 and 6 over 1 + 2 degrees of freedom; error^2 8/3 * 3/2
    assert found is not None and (found.method, found.degrees, found.difference) == (POOLED, 3, 7)
    assert found.high - 7 == pytest.approx(t_quantile(0.975, 3) * 2)


@pytest.mark.parametrize(("first", "second"), [([1], [2]), ([1, 1], [2]), ([1, 1], [2, 2])])
def test_without_a_spread_nothing_is_judged(first, second):
    assert judged(first, second) is None


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw = random.Random(5)
    held = 0
    for _ in range(2000):
        first = [draw.gauss(1, 0.5) for _ in range(3)]
        second = [draw.gauss(1.3, 2) for _ in range(4)]
        found = judged(first, second, confidence=0.9)
        assert found is not None
        held += found.low <= 0.3 <= found.high
    assert 0.87 <= held / 2000 <= 0.94  # 0.9, and three times the error of so many draws


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5)


@given(first=NUMBERS, second=NUMBERS)
def test_any_numbers_are_judged_alike_both_ways(first, second):
    one, other = judged(first, second), judged(second, first)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.low <= one.difference <= one.high and one.larger == other.larger
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
