"""loss.svg is well-formed, self-contained and readable, whatever the losses are."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.logs import LossPicture, draw_loss
from gptforge.logs.picture import HEIGHT, WIDTH
from gptforge.logs.series import Average, shrunk, tick_texts, ticks

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [{"step": s, "train_loss": 1.5 + 2.7 / s} for s in range(1, 100)]
EVALUATED = [{"step": s, "val_loss": 1.6 + abs(s - 60) / 100} for s in range(20, 101, 20)]


def drawn(metrics, title="a run"):
    return ET.fromstring(draw_loss(metrics, title))


def texts(picture):
    return [element.text for element in picture.iter(f"{SVG}text")]


def places(picture):
    for line in picture.iter(f"{SVG}polyline"):
        for pair in line.get("points").split():
            yield tuple(map(float, pair.split(",")))


def test_it_has_lines_legend_labels_and_the_best():
    picture = drawn(FALLING + EVALUATED)
    assert [line.get("class") for line in picture.iter(f"{SVG}polyline")] == ["raw", "train", "val"]
    shown = texts(picture)
    assert {"a run", "step", "loss (nats per token)", "training, smoothed", "validation"} <= set(shown)
    assert "best 1.6 at step 60" in shown
    assert len(list(picture.iter(f"{SVG}circle"))) == len(EVALUATED) + 1


def test_it_needs_nothing_else_and_follows_the_reader_s_colours():
    text = draw_loss(FALLING, "a run")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|href|@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)


def test_text_is_escaped():
    title = "</title><script>&\"'\x00\x1b"
    assert "<script" not in draw_loss([], title)
    assert "</title><script>&\"'��" in texts(drawn([], title))


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [{"step": 1, "train_loss": 4.17}],
        [{"step": 1, "train_loss": 4.17, "val_loss": 4.17}],
        [{"step": 0, "val_loss": 0.0}],
        [{"step": 1, "train_loss": math.nan}, {"step": 2, "train_loss": math.inf}, {"step": 3, "val_loss": None}],
        [{"step": 1, "train_loss": 1e300}, {"step": 2, "train_loss": -1e308}],
        [{"step": s, "train_loss": 2.0} for s in range(5)],
        [{"step": s * 10**9, "train_loss": 1e25 * s} for s in range(5)],
        [{"train_loss": 3.0}],
        [*FALLING, {"step": 100, "train_loss": 1e25}, *EVALUATED],
        [{"step": s, "train_loss": 1 + 1 / s} for s in range(1, 20_001)],
    ],
)
def test_any_losses_can_be_drawn_inside_the_picture(metrics):
    picture = drawn(metrics)
    for x, y in places(picture):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert not re.search(r"\b(nan|inf)\b", ET.tostring(picture, encoding="unicode"))
    assert len(draw_loss(metrics, "")) < 100_000


def test_nothing_yet_is_said():
    assert "no losses yet" in texts(drawn([]))


def test_a_spike_does_not_flatten_the_rest():
    curve = [y for _, y in places(drawn([*FALLING, {"step": 100, "train_loss": 1e6}]))]
    assert max(curve) - min(curve) > HEIGHT / 3


def test_it_is_drawn_from_the_whole_file_and_replaced_at_once(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "val_loss": 4.0}\n{"step": 2, "val_loss": 3.5}\n{"ste')
    sink = LossPicture(tmp_path / "loss.svg", tmp_path / "metrics.jsonl", "a run")
    sink.record({"step": 2, "train_loss": 3.0})
    assert not (tmp_path / "loss.svg").exists()
    sink.record({"step": 2, "val_loss": 3.5})
    assert "best 3.5 at step 2" in (tmp_path / "loss.svg").read_text()
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 12))
def test_ticks_are_even_round_and_around_the_values(low, span, wanted):
    marks = ticks(low, low + span, wanted)
    step = marks[1] - marks[0]
    slack = 1e-6 * max(1.0, abs(low) + span)
    assert marks[0] <= low + slack and marks[-1] >= low + span - slack
    assert 2 <= len(marks) <= wanted + 3
    assert all(math.isclose(b - a, step, rel_tol=1e-3, abs_tol=slack) for a, b in itertools.pairwise(marks))


def test_ticks_of_a_usual_run():
    assert ticks(1.45, 4.2, 6) == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert tick_texts(ticks(1.45, 4.2, 6))[:2] == ["1.0", "1.5"]
    assert tick_texts(ticks(0, 2000, 8)) == ["0", "250", "500", "750", "1,000", "1,250", "1,500", "1,750", "2,000"]
    assert ticks(0, 3, 8, least=1) == [0, 1, 2, 3]


def test_the_average_is_right_from_the_first_value_on():
    average = Average()
    assert average.value is None
    assert average.add(4.0) == pytest.approx(4.0)
    assert average.add(4.0) == pytest.approx(4.0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(1, 50))
def test_a_shrunk_row_keeps_its_ends_and_range(values, size):
    short = shrunk(values, size)
    assert len(short) == min(len(values), size)
    assert all(min(values) - 1e-6 <= v <= max(values) + 1e-6 for v in short)
