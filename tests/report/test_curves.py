"""Curves lose no extreme where they are thinned, stay in their picture, and say their numbers without a script."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.logs.series import reach, smoothed, thinned
from gptforge.report import curves
from gptforge.report.curves import Axis, Line, Picture, Reading

NUMBER = st.floats(-1e29, 1e29)
STEPS = st.lists(st.integers(1, 10**9), min_size=1, max_size=100, unique=True).map(sorted)


@st.composite
def rows(draw, values=NUMBER):
    steps = draw(STEPS)
    return [(float(x), draw(values)) for x in steps]


@given(rows(), st.integers(1, 12), st.booleans())
def test_thinned_points_keep_the_extremes_of_every_column(points, columns, logarithmic):
    kept = thinned(points, columns, logarithmic)
    assert len(kept) <= 4 * columns and set(kept) <= set(points) and kept == sorted(kept)
    if len(points) <= 4 * columns:
        assert kept == points
        return
    assert kept[0] == points[0] and kept[-1] == points[-1]
    place = math.log if logarithmic else float
    first, span = place(points[0][0]), place(points[-1][0]) - place(points[0][0])

    def column_of(point):
        """None at a border, where rounding decides."""
        share = (place(point[0]) - first) / span * columns
        return None if abs(share - round(share)) < 1e-6 else int(share)

    for column in range(columns):
        ys = [y for x, y in points if column_of((x, y)) == column]
        held = [y for x, y in kept if column_of((x, y)) in (column, None)]
        if ys:
            assert min(held) <= min(ys) and max(held) >= max(ys)
    assert {min(y for _, y in points), max(y for _, y in points)} <= {y for _, y in kept}


def test_a_spike_in_a_hundred_thousand_points_is_kept():
    points = [(float(n), 100.0 if n == 70_001 else math.sin(n)) for n in range(100_000)]
    kept = thinned(points, 500)
    assert (70_001.0, 100.0) in kept and len(kept) <= 2000


@given(rows(st.floats(-100, 100)), st.floats(-100, 100))
def test_a_smooth_curve_is_within_its_values_and_ends_with_them(points, top):
    smooth = smoothed(points, top)
    held = [min(y, top) for _, y in points]
    assert [x for x, _ in smooth] == [x for x, _ in points]
    assert all(min(held) - 1e-6 <= y <= max(held) + 1e-6 for _, y in smooth)
    assert smooth[0][1] == pytest.approx(held[0], abs=1e-6) and smooth[-1][1] == pytest.approx(held[-1], abs=1e-6)


def test_a_smooth_curve_of_many_points_has_few_and_is_right():
    points = [(float(n), 2.0 * n) for n in range(1, 50_001)]
    smooth = smoothed(points)
    assert len(smooth) <= 2002 and smooth[-1][0] == 50_000
    assert all(y == pytest.approx(2 * x) for x, y in smooth)
    assert smoothed([]) == []


# Axes ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30), st.booleans())
def test_a_linear_axis_holds_its_values_in_order(values, round_ends):
    axis = curves.linear(values, 5, round_ends=round_ends)
    places = [axis(v) for v in sorted(values)]
    assert places == sorted(places) and all(0 <= p <= 100 for p in places)
    assert axis.low <= min(values) + 1e-3 and axis.high >= max(values) - 1e-3
    assert all(len(text) <= 9 for _, text in axis.marks)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=30))
def test_a_logarithmic_axis_holds_its_values_in_order_and_has_numbers(values):
    axis = curves.logarithmic(values, 6)
    places = [axis(v) for v in sorted(values)]
    assert places == sorted(places) and all(0 <= p <= 100 for p in places)
    assert 1 <= len(axis.marks) <= 14
    for (a, _), (b, _) in itertools.pairwise(axis.marks):
        assert axis(a) <= axis(b)


def test_equal_ratios_are_equally_far_apart():
    axis = curves.logarithmic([1, 1000], 6)
    assert [round(axis(v), 6) for v in (1, 10, 100, 1000)] == [0, pytest.approx(100 / 3), pytest.approx(200 / 3), 100]
    assert {"1", "10", "100", "1k"} <= {text for _, text in axis.marks}


# The picture --------------------------------------------------------------------------------------------------


def drawn(points, logarithmic=False, most=None):
    places, reach = [x for x, _ in points], [y for _, y in points]
    make = curves.logarithmic if logarithmic else curves.linear
    x, y = make(places, 5), make(reach, 5)
    best = (points[0], "the first")
    read = lambda n: Reading(f"step {points[n][0]:.0f}", [(points[n], "val")])  # noqa: E731
    return Picture(x, y, [Line(points, "val", dots=True)], places, read, best).drawn("label <&>")


@given(rows(st.floats(1e-3, 1e6)), st.booleans())
def test_everything_is_inside_the_picture(points, logarithmic):
    svg = ET.fromstring(drawn(points, logarithmic))
    for mark in svg.iter():
        for name in ("x", "x1", "x2", "cx", "y", "y1", "y2", "cy"):
            if (value := mark.get(name)) is not None:
                assert value.endswith("%") and -0.01 <= float(value[:-1]) <= 100.01
        if mark.tag == "polyline":
            for place in mark.attrib["points"].split():
                assert all(0 <= int(v) <= curves.WIDE for v in place.split(","))
    assert not re.search(r"\b(nan|inf)\b", ET.tostring(svg, encoding="unicode").lower())


@given(rows(st.floats(1e-3, 1e6)))
def test_the_readings_cover_the_whole_width_without_a_gap(points):
    svg = ET.fromstring(drawn(points))
    bands = [group.find("rect").attrib for group in svg.iter("g")]
    assert 1 <= len(bands) <= curves.READINGS + 2
    end = 0.0
    for band in bands:
        assert float(band["x"][:-1]) == pytest.approx(end, abs=0.02)
        end = float(band["x"][:-1]) + float(band["width"][:-1])
    assert end == pytest.approx(100, abs=0.02)
    said = [group.find("text").text for group in svg.iter("g")]
    assert said[0] == f"step {points[0][0]:.0f}" and said[-1] == f"step {points[-1][0]:.0f}"


def test_few_points_are_seen_as_dots_and_many_are_a_line():
    few = [(float(n), 1.0 + n) for n in range(1, curves.FEW + 1)]
    assert drawn(few).count("<circle") == 2 * len(few) + 1  # of the line, of the readings, and the best
    many = [(float(n), 1.0 + n) for n in range(1, curves.FEW + 2)]
    assert drawn(many).count("<circle") == len(many) + 1


@given(st.integers(2, 5000), st.integers(2, 200), st.booleans())
def test_places_are_spread_evenly_with_both_ends(n, most, logarithmic):
    places = [float(i + 1) for i in range(n)]
    chosen = curves.spread(places, most, logarithmic)
    assert chosen == sorted(set(chosen)) and chosen[0] == 0 and chosen[-1] == n - 1
    assert len(chosen) <= most + 2
    if n > most and not logarithmic:
        gaps = [b - a for a, b in itertools.pairwise(chosen)]
        assert max(gaps) <= n / (most - 1) + 2


def test_a_loss_far_above_the_others_does_not_flatten_them():
    points = [(float(n), 2.0 + 1 / n) for n in range(1, 200)]
    low, high = reach([*points, (200.0, 1e6)], [])
    assert low == pytest.approx(2.0, abs=0.01) and high < 10
    assert Axis(low, high)(1e6) == 100
