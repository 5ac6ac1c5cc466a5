"""Curves in a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from gptforge.report.plot import HEIGHT, plot

NUMBERS = st.floats(-1e29, 1e29, allow_nan=False)
CURVES = st.lists(st.tuples(st.integers(0, 10**9).map(float), NUMBERS), max_size=40, unique_by=lambda p: p[0]).map(
    sorted
)


def cells(lines, letter):
    """(row, column) of a letter inside the picture."""
    body = [line.partition("|")[2] for line in lines[:HEIGHT]]
    return [(n, m) for n, row in enumerate(body) for m, c in enumerate(row) if c == letter]


def test_a_falling_curve_falls_and_has_a_value_in_each_column():
    found = cells(plot([("a", [(0, 4.0), (50, 2.0), (100, 1.0)])], 60), "a")
    columns = sorted(column for _, column in found)
    assert columns == list(range(max(columns) + 1))
    rows = [row for row, _ in sorted(found, key=lambda cell: cell[1])]
    assert rows == sorted(rows) and rows[0] < rows[-1]


def test_curves_in_one_place_take_turns():
    lines = plot([("A", [(0, 2.0), (9, 1.0)]), ("B", [(0, 2.0), (9, 1.0)])], 40)
    a, b = cells(lines, "A"), cells(lines, "B")
    assert abs(len(a) - len(b)) <= 1 and not {column for _, column in a} & {column for _, column in b}


def test_the_higher_of_two_is_drawn_higher():
    lines = plot([("A", [(0, 3.0), (9, 3.0)]), ("B", [(0, 1.0), (9, 1.0)])], 40)
    assert max(row for row, _ in cells(lines, "A")) < min(row for row, _ in cells(lines, "B"))


def test_a_spike_does_not_flatten_the_rest():
    points = [(float(n), 2.0 - n / 100) for n in range(100)]
    points[50] = (50.0, 1e6)
    rows = {row for row, _ in cells(plot([("a", points)], 80), "a")}
    assert len(rows) > 4


def test_the_axes_name_their_ends():
    lines = plot([("a", [(0, 4.0), (1000, 1.0)])], 60)
    assert lines[-1].split() == ["0", "500", "1,000"]
    assert float(lines[0].split()[0]) >= 4.0 and float(lines[HEIGHT - 1].split()[0]) <= 1.0


def test_no_points_no_lines():
    assert plot([], 60) == plot([("a", [])], 60) == []


@given(curves=st.lists(CURVES, max_size=4), width=st.integers(0, 200))
def test_any_curve_fits_into_the_width(curves, width):
    lines = plot(list(zip("abcd", curves, strict=False)), width)
    assert bool(lines) == any(curves)
    for line in lines:
        assert line.isascii() and len(line) <= max(width, 20 + len(line.partition("|")[0]) + 1, 50)
