"""What is told of a sweep while it runs: as lines, and drawn over on a terminal."""

import io
import json
import time

import pytest
from rich.console import Console

from gptforge.config import SweepConfig
from gptforge.logs.screen import Screen
from gptforge.sweep import board as boards
from gptforge.sweep.board import Board
from gptforge.sweep.live import LiveBoard
from gptforge.sweep.points import Point, Sweep


@pytest.fixture
def sweep(tmp_path):
    points = [Point(n, ["model=tiny", f"optimizer.lr={n}e-3"]) for n in range(4)]
    for n in (0, 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        saved = {"choices": {"model": "tiny", "data": "pydoc"}, "config": {"data": {}}}
        (folder / "config.json").write_text(json.dumps(saved))
        records = [{"step": 20, "seconds": 10.0, "val_loss": 2.5, "val_bpb": 3.1}, {"step": 40, "seconds": 20.0}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records) + '{"step": 4')
        (folder / "decisions.json").write_text('{"steps": {"value": 100}}')
        (folder / "summary.json").write_text('{"status": "running"}')
        points[n].status = "running"
    return Sweep(tmp_path, SweepConfig(n_jobs=2), points)


def at(monkeypatch, board, seconds):
    """The board's clock, so many seconds after it was made."""
    began = time.monotonic()
    monkeypatch.setattr(boards.time, "monotonic", lambda: began + seconds)
    return board


def test_rows_say_how_far_the_points_are(sweep, monkeypatch):
    board = at(monkeypatch, Board(sweep), 100)
    board.tick(sweep.points[:2])
    assert board.rows() == [
        ("0", "40/100", "2.5000", "30.0s", "optimizer.lr=0e-3"),
        ("1", "40/100", "2.5000", "30.0s", "optimizer.lr=1e-3"),
    ]
    # Each takes 50 s in all: 2 x 30 s are left of those that run, 2 x 50 s wait, and two run at a time
    assert board.state().endswith("about 1m20s left") and "0 of 4 points done, 2 running, 2 waiting" in board.state()


def test_lines_come_now_and_then(sweep, monkeypatch, capsys):
    board = Board(sweep)
    at(monkeypatch, board, 10).tick(sweep.points[:2])
    assert capsys.readouterr().err == ""
    at(monkeypatch, board, 40).tick(sweep.points[:2])
    assert "point 0 at step 40/100, 30.0s left; point 1" in capsys.readouterr().err


def test_what_happens_is_told_at_once(sweep, capsys):
    board = Board(sweep)
    point = sweep.points[0]
    board.began(point)
    board.held(point)
    board.held(point)
    board.warned(point, "warning: odd")
    point.status, point.results = "stopped", {"best_val_bpb": 3.1, "seconds": 20.0}
    board.ended(point, 20)
    point.status = "done"
    board.ended(point, None)
    point.status, point.error = "failed", "data error: a\n  try:   b"
    board.ended(point, None)
    assert capsys.readouterr().err.splitlines() == [
        "point 0 begins: optimizer.lr=0e-3",
        "point 0 is still in use by another process; it waits for that",
        "point 0: warning: odd",
        "point 0 is at step 20: 3.1000 bits/byte, 20.0s: optimizer.lr=0e-3",
        "point 0 done: 3.1000 bits/byte, 20.0s: optimizer.lr=0e-3",
        "point 0 failed: optimizer.lr=0e-3",
        "gptforge: data error: a",
        "  try:   b",
    ]


def test_the_table_is_drawn_below_the_lines(sweep, monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=70, color_system=None)
    board = at(monkeypatch, LiveBoard(sweep, Screen(stream), console), 100)
    board.tick(sweep.points[:2])
    board.line("a line\x1b[31m that stays")
    board.close()
    shown = stream.getvalue()
    assert "40/100" in shown and "optimizer.lr=1e-3" in shown and "2 waiting" in shown
    assert "a line\ufffd[31m that stays" in shown  # nobody's codes but rich's


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_terminal_that_has_gone_ends_nothing(sweep, monkeypatch):
    board = at(monkeypatch, LiveBoard(sweep, Screen(Gone())), 100)
    board.tick(sweep.points[:2])
    board.line("nobody reads this")
    board.close()
