"""Random search: different points, within their ranges, the same for the same seed."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.gptforge_search.random_search import drawn

PARSER = OverridesParser.create()


def points(words, trials=20, seed=1):
    return [dict(o.split("=", 1) for o in point) for point in drawn(PARSER.parse_overrides(words), trials, seed)]


@given(st.integers(1, 50), st.integers(0, 99))
def test_points_are_drawn_from_what_was_typed(trials, seed):
    words = ["a=1", "b=x,y,z", "c=interval(0.5,2)", "d=tag(log,interval(1e-5,1e-2))", "e=range(1,4)", "f=choice(p,q)"]
    found = points(words, trials, seed)
    assert found == points(words, trials, seed) and len(found) == trials
    assert len({tuple(p.items()) for p in found}) == trials
    for p in found:
        assert p["a"] == "1" and p["b"] in "xyz" and p["e"] in "123" and p["f"] in "pq"
        assert 0.5 <= float(p["c"]) <= 2 and 1e-5 <= float(p["d"]) <= 1e-2


def test_seeds_differ_and_logarithms_are_even():
    found = points(["lr=tag(log,interval(1e-6,1e-2))"], 400)
    assert found != points(["lr=tag(log,interval(1e-6,1e-2))"], 400, seed=2)
    tenths = [math.log10(float(p["lr"])) for p in found]
    assert all(60 < sum(low <= t < low + 1 for t in tenths) < 140 for low in (-6, -5, -4, -3))
    evenly = [float(p["x"]) for p in points(["x=interval(0,1)"], 400)]
    assert 0.4 < sum(evenly) / 400 < 0.6


@pytest.mark.parametrize("word", ["n=int(interval(2,5))", "n=tag(log,int(interval(2,5)))"])
def test_whole_numbers(word):
    assert {p["n"] for p in points([word], 100)} == {"2", "3", "4", "5"}


def test_of_few_combinations_all_are_taken():
    assert len(points(["a=1,2", "b=1,2,3"], 20)) == 6
    assert len(points(["a=1,2", "b=1,2,3"], 5)) == 5
    assert points(["a=1"], 5) == [{"a": "1"}]


def test_a_small_range_ends_too():
    assert len(points(["n=int(interval(1,3))"], 50)) == 3
