"""Curves as PNG: what is drawn can be opened, whatever the numbers and names are; what cannot be is said first."""

import builtins
import io
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import small
from gptforge.errors import UsageError, UserError
from gptforge.report import png

VALUES = st.lists(st.floats(-1e30, 1e30) | st.just(0.0), min_size=0, max_size=6)


def opened(drawn: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(drawn))
    image.load()
    assert image.format == "PNG" and image.size == (1440, 864)
    return image.convert("RGB")


def colours(image: Image.Image) -> set[str]:
    return {"#{:02x}{:02x}{:02x}".format(*colour) for _, colour in image.getcolors(1 << 24)}


@settings(max_examples=15, deadline=None)
@given(st.lists(VALUES, max_size=4), st.text(max_size=100))
def test_any_numbers_and_names_can_be_drawn(rows, name):
    curves = [png.Curve(name, list(enumerate(values)), "#2a6fc9") for values in rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a sign that the font lacks, a box is drawn
        opened(png.draw(curves, name, "step", "loss"))


def test_curves_have_their_colours_and_few_that_stick_out_do_not_flatten_the_rest():
    falling = [(float(x), 3.0 - x / 50) for x in range(100)]
    image = opened(png.draw([png.Curve("a", [*falling, (100.0, 500.0)], "#c8551b")], "t", "step", "loss"))
    rows = [y for y in range(image.height) for x in range(0, image.width, 4) if image.getpixel((x, y)) == (200, 85, 27)]
    assert max(rows) - min(rows) > image.height / 3


def test_a_run_and_a_sweep(run, capsys):
    assert small.gptforge("report", "runs/one", "png=pictures/one.png") == 0
    found = colours(opened(Path("pictures/one.png").read_bytes()))
    assert {"#2a6fc9", "#c8551b"} <= found and "pictures/one.png" in capsys.readouterr().err
    Path("taken").write_text("a file")
    assert small.gptforge("report", "runs/one", "png=taken/one.png") == 5
    assert "taken" in capsys.readouterr().err


def test_names_that_are_no_png_are_refused_before_anything_is_written(run):
    with pytest.raises(UsageError, match=r"png=curves\.png"):
        png.check("curves.jpg")
    Path("runs/one/report.html").unlink()
    assert small.gptforge("report", "runs/one", "png=curves") == 2
    assert not Path("runs/one/report.html").exists()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *more, **named):
        if name.startswith("matplotlib"):
            raise ImportError
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"gptforge\[plot\]"):
        png.check("a.png")
