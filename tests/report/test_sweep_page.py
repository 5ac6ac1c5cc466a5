"""The page of a sweep: what it says in every state, and that nothing of the user's becomes markup."""

import json

import pytest

from gptforge import cli
from gptforge.config import SweepConfig
from gptforge.report import sweep_page
from gptforge.sweep.points import Point, Sweep
from pages import HOSTILE, checked


def result(bits, steps=20):
    return {"best_val_bpb": bits, "val_bpb": bits, "best_val_loss": bits / 1.4, "seconds": 61.0, "steps": steps}


@pytest.fixture
def sweep(tmp_path):
    """Two learning rates with two seeds each, and one point that failed."""
    points = []
    for n, (lr, seed, bits) in enumerate([("1e-3", 1, 2.5), ("1e-3", 2, 2.7), ("3e-3", 1, 2.1), ("3e-3", 2, 2.2)]):
        words = ["model=tiny", f"optimizer.lr={lr}", f"seed={seed}"]
        points.append(Point(n, words, "done", 0, results=result(bits)))
        folder = tmp_path / "swept" / str(n)
        folder.mkdir(parents=True)
        records = [{"step": step, "val_bpb": bits + 20 / step, "val_loss": 1.0} for step in (5, 10, 20)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records) + '{"step": 2')
    error = "numerical error: the loss is nan\n  try:   less"
    points.append(Point(4, ["model=tiny", "optimizer.lr=1e30", "seed=1"], "failed", 6, error))
    made = Sweep(tmp_path / "swept", SweepConfig(n_jobs=2), points)
    made.write()
    return made


def test_what_the_page_says(sweep):
    page = checked(sweep_page.sweep_page(sweep, sweep.path))
    assert "experiment=best" not in page.text()  # there is none
    (sweep.path / "experiment").mkdir()
    (sweep.path / "experiment/best.yaml").write_text("")
    page = checked(sweep_page.sweep_page(sweep, sweep.path))
    assert page.headings() == ["Points", "Curves", "What made the difference", "What failed", "How it was run"]
    text = page.text()
    for said in (
        "4 of 5 done1 failed",
        "best, bits per byte, ± 0.07072.1500",
        "steps trained80",
        "The best: optimizer.lr=3e-3",
        "2, 3done2.15000.0707",
        "point 2, the best",
        "3 others",
        "Point 4: numerical error: the loss is nan optimizer.lr=1e30 seed=1",
        "n_jobs=2of the sweep",
        "model=tinyof all points",
        "gptforge train --config-dir",
        "retry=true",
    ):
        assert said in text, said
    assert "step 20: 3.1000 bits per byte" in text and "less" not in text
    (label,) = (svg["aria-label"] for svg in page.all("svg") if svg.get("class") == "plot")
    assert "4 points; the best, point 2, ends at 3.1" in label


def test_a_sweep_of_which_nothing_is_known_yet(tmp_path):
    made = Sweep(tmp_path, SweepConfig(), [Point(0, []), Point(1, [])])
    page = checked(sweep_page.sweep_page(made, made.path))
    assert page.headings() == ["Points"] and "0 of 2 done2 waiting" in page.text()
    assert f"gptforge train -m resume={tmp_path}" in page.text()


def test_curves_of_many_points_are_the_best(sweep, monkeypatch):
    monkeypatch.setattr(sweep_page, "MOST_CURVES", 2)
    text = checked(sweep_page.sweep_page(sweep, sweep.path)).text()
    assert "1 others" in text and "2 points with worse results are left out" in text


def test_what_somebody_wrote_is_text(sweep):
    for point in sweep.points:
        point.overrides.append(f"prompt={HOSTILE}{point.number}")
    sweep.points[4].error = HOSTILE
    page = checked(sweep_page.sweep_page(sweep, sweep.path))
    assert "</script><b>&amp;" in page.text()


def test_the_command_draws_it_anew(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.dispatch(["report", "swept"]) == 0
    assert capsys.readouterr().out == "swept/report.html\n"
    first = (sweep.path / "report.html").read_text()
    assert cli.dispatch(["report", "swept", "out=other.html"]) == 0
    assert (tmp_path / "other.html").read_text() == first and "<a href" not in first.partition("</nav>")[2]
    (sweep.path / "2" / "report.html").write_text("")
    assert cli.dispatch(["report", "swept", "out=other", "png=new/swept.png"]) == 0
    assert '<a href="swept/2/report.html">2</a>' in (tmp_path / "other").read_text()
    assert (tmp_path / "new" / "swept.png").read_bytes().startswith(b"\x89PNG")
    assert cli.dispatch(["report", "swept"]) == 0
    assert '<a href="2/report.html">2</a>' in (sweep.path / "report.html").read_text()


def test_a_page_that_cannot_be_written_is_a_warning(sweep, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep_page, "write", full)
    monkeypatch.setattr("gptforge.best.write", lambda sweep: None)
    assert cli.keep(sweep) is None
    assert "warning: the report cannot be written: No space left on device" in capsys.readouterr().err
