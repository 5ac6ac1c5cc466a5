"""What people see, on terminals and pipes of every kind; a screen that goes away never ends a run."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest

from gptforge.logs import Plan, make_console_sink
from gptforge.logs.plain import PlainSink
from gptforge.logs.screen import Screen, encoding_of, fit, spark, visible, wrap
from gptforge.logs.view import View, sample_lines

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
STYLE = re.compile(r"\x1b\[[0-9;]*m")

# A whole run as the trainer tells it, with what is hard to show.
RUN = r"""
import sys
from gptforge.logs import Plan, make_console_sink
from gptforge.logs.fanout import Sinks
from gptforge.logs.files import MetricsFile, TextLog
from pathlib import Path
folder = Path(sys.argv[2])
metrics = MetricsFile(folder / "m.jsonl", folder / "m.csv")
sinks = Sinks(metrics, TextLog(folder / "log"), [make_console_sink(sys.argv[1])])
rows = [("device", "cpu", "no GPU found")]
rows.append(("model", "1.60M parameters – 6 layers × 192, a context of 128", "model=small"))
run_dir = "runs/2026-11-23_10-41-07_shakespeare_small"
sinks.start(Plan("training small on [bold]shakespeare[/]", rows, run_dir), 40, None, 0)
for step in range(1, 41):
    sinks.progress(step, step / 40, {"lr": 1e-3})
    values = {"step": step, "train_loss": 4.0 / step + 1, "lr": 1e-3, "grad_norm": 0.5, "tokens_per_second": 41234.0,
              "peak_share": 0.63, "data_wait": 0.004}
    if step % 20 == 0:
        values |= {"val_loss": 4.2 / step + 1, "val_bpb": 2.25}
    sinks.record(values)
    if step % 20 == 0:
        sinks.note("saved checkpoints/step-" + str(step))
        sinks.sample(step, "ROMEO:\n[red]What light…[/red] \x1b[2J\x07\t" + "x" * 150 + "\n\ud800 é" + "\nline" * 30)
sinks.warn("val_loss has not improved for 3 evaluations: the model overfits, and this line is long")
summary = {"status": "done", "best_val_loss": 1.105, "best_step": 40, "val_bpb": 2.25, "seconds": 182.0}
sinks.finish(summary, ["gptforge sample ckpt=" + run_dir])
sinks.close()
print("the run is whole", file=open(folder / "end", "w"))
"""


def too_wide(text):
    """Lines of more than 60 columns; only the command to copy may be longer."""
    return [line for line in text.splitlines() if len(line) > 60 and not line.startswith("next:")]


def environment(**changes):
    names = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "LC_ALL", "LC_CTYPE", "LANG", "PYTHONIOENCODING")
    env = {name: value for name, value in os.environ.items() if name not in (*names, "TTY_INTERACTIVE")}
    return env | {"LANG": "C.UTF-8", "TERM": "xterm-256color"} | changes


def piped(folder, ui="auto", **changes):
    """(stdout, stderr) of a run whose streams are pipes."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, ui, str(folder)], env=environment(**changes), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "end").exists()
    return done.stdout.decode(), done.stderr.decode()


def on_terminal(folder, ui="auto", columns=80, **changes):
    """(stdout, what the terminal received) of a run whose stderr is a terminal."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    received = []

    def read():
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-c", RUN, ui, str(folder)],
        env=environment(**changes), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, timeout=60,
    )  # fmt: skip
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0
    assert (folder / "end").exists()
    return done.stdout.decode(), b"".join(received).decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("ui", "changes"),
    [
        ("auto", {}),
        ("rich", {}),
        ("plain", {}),
        ("auto", {"FORCE_COLOR": "1"}),
        ("auto", {"TTY_COMPATIBLE": "1", "FORCE_COLOR": "3"}),
        ("auto", {"TERM": "dumb", "NO_COLOR": "1"}),
    ],
)
def test_a_pipe_gets_short_lines_without_control_codes(tmp_path, ui, changes):
    out, err = piped(tmp_path, ui, **changes)
    assert out == ""
    assert not CONTROL.search(err)
    assert max(map(len, err.splitlines())) <= 100
    assert "  device  cpu  (no GPU found)" in err
    assert "step 20/40  50%  loss 1.2000  val 1.2100 (best)  bits/byte 2.250  41.2k tok/s" in err
    assert "[red]What light…[/red]" in err
    assert "warning: val_loss has not improved" in err
    assert "best val loss  1.1050 at step 40" in err
    assert err.endswith("next:   gptforge sample ckpt=runs/2026-11-23_10-41-07_shakespeare_small\n")


def test_60_columns_in_the_c_locale_are_ascii_and_fit(tmp_path):
    _, err = piped(tmp_path, COLUMNS="60", LC_ALL="C")
    assert err.isascii()
    assert not CONTROL.search(err)
    assert too_wide(err) == []
    assert "What light..." in err and "1.60M parameters - 6 layers x 192" in err


def test_json_is_one_object_a_line_on_stdout(tmp_path):
    out, err = piped(tmp_path, "json", LC_ALL="C")
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events[:2]] == ["start", "metrics"]
    assert events[0]["plan"][0] == {"what": "device", "value": "cpu", "reason": "no GPU found"}
    assert sum(e["event"] == "metrics" for e in events) == 40
    assert events[-1]["event"] == "finish" and events[-1]["best_step"] == 40 and len(events[-1]["next"]) == 1


def test_quiet_says_warnings_and_the_result(tmp_path):
    out, err = piped(tmp_path, "quiet")
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["warning", "done"]


def test_a_terminal_gets_a_live_area_that_is_gone_at_the_end(tmp_path):
    out, shown = on_terminal(tmp_path)
    assert out == ""
    assert "\x1b[?25l" in shown and shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back
    text = STYLE.sub("", shown)
    assert "━" in text and "elapsed" in text and "step 1/40" in text
    assert "What light…" in text and "[red]" in text  # no markup
    assert "\x1b[2J\x07" not in text and "\x07" not in text  # no orders from a sample
    assert "best val loss" in text and "loss curve" in text
    assert "\x1b[32m" in shown or "\x1b[1;32m" in shown
    # Whatever is printed after the live area was cleared is never drawn over.
    assert "\x1b[1A" not in shown[shown.rindex("\x1b[?25h") + 40 :]


def test_no_color_means_no_colour(tmp_path):
    _, shown = on_terminal(tmp_path, NO_COLOR="1")
    codes = {code for style in STYLE.findall(shown) for code in style[2:-1].split(";")}
    assert codes <= {"", "0", "1", "2", "3"}  # bold, dim and italic are no colours


def test_60_columns_fit(tmp_path):
    _, shown = on_terminal(tmp_path, columns=60)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n")
    assert too_wide(text) == []


def test_an_ascii_terminal_gets_ascii(tmp_path):
    _, shown = on_terminal(tmp_path, LC_ALL="C")
    assert shown.isascii()
    assert "best val loss" in shown


@pytest.mark.parametrize("changes", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_be_drawn_on_gets_plain_lines(tmp_path, changes):
    _, shown = on_terminal(tmp_path, columns=60, **changes)
    assert not CONTROL.search(shown)
    assert too_wide(shown) == []


@pytest.mark.parametrize(("ui", "closed"), [("plain", "stderr"), ("quiet", "stderr"), ("json", "stdout")])
def test_a_pipe_closed_at_the_other_end_does_not_end_the_run(tmp_path, ui, closed):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", RUN, ui, str(tmp_path)], env=environment(), **{closed: writing})
    os.close(writing)
    assert done.returncode == 0  # not 120, which a failing flush at exit would make of it
    assert (tmp_path / "end").exists()
    assert "is off for the rest of the run" in (tmp_path / "log").read_text()


def test_a_terminal_that_goes_away_does_not_end_the_run(tmp_path):
    ours, theirs = os.openpty()
    os.close(ours)
    done = subprocess.run([sys.executable, "-c", RUN, "rich", str(tmp_path)], env=environment(), stderr=theirs)
    os.close(theirs)
    assert done.returncode == 0
    assert (tmp_path / "end").exists()


def test_rich_s_own_answer_to_a_closed_pipe_is_off(monkeypatch):
    from gptforge.logs.live import RichSink

    class Gone:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    sink = RichSink(Screen(Gone()))
    with pytest.raises(BrokenPipeError):  # and not SystemExit
        sink.note("saved")
    before = sys.stderr
    with pytest.raises(BrokenPipeError):
        sink.progress(1, 0.5, {})
    with pytest.raises(BrokenPipeError):
        sink.close()
    sink.close()
    assert sys.stderr is before


def test_a_process_without_streams_has_a_sink_that_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    make_console_sink("auto").start(Plan("", [], ""), None, None, 0)


class Lines:
    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_plain_lines_are_thinned_but_evaluations_are_all_there(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    now = [0.0]
    stream = Lines()
    sink = PlainSink(Screen(stream), clock=lambda: now[0])
    sink.start(Plan("training", [], "runs/x"), 100, None, 0)
    for step in range(1, 101):
        now[0] += 1
        sink.progress(step, step / 100, {})
        sink.record({"step": step, "train_loss": 2.0} | ({"val_loss": 3.0} if step in (50, 51, 52) else {}))
    steps = [int(n) for n in re.findall(r"^step (\d+)/100", stream.text, re.M)]
    assert {1, 50, 51, 52} <= set(steps)
    assert len(steps) <= 100 / 5 + 4
    assert stream.text.count("(best)") == 1


def test_time_left_follows_from_the_fraction_since_the_first_step():
    now = [100.0]
    view = View(clock=lambda: now[0])
    view.start(Plan("", [], ""), 1000, 500)
    view.progress(501, 0.501, {})
    assert view.left() is None
    now[0] += 10
    view.progress(601, 0.601, {})
    assert view.left() == pytest.approx(39.9)
    view.progress(1000, 1.0, {})
    assert view.left() is None


def test_a_continued_run_knows_its_best_from_before():
    view = View(history=lambda: [{"step": 50, "val_loss": 1.5, "train_loss": 1.4}])
    view.start(Plan("", [], ""), 100, 50)
    assert view.record({"step": 60, "val_loss": 1.6}) is False
    assert view.best == (1.5, 50)
    assert view.record({"step": 70, "val_loss": 1.4}) is True


def test_an_evaluation_has_both_losses():
    view = View()
    view.start(Plan("", [], ""), 100, 0)
    fields = view.line({"step": 1, "val_loss": 1.6, "train_eval_loss": 1.5, "val_bpb": 2.3}, True)
    assert fields[2:] == [("val", "1.6000 (best)"), ("train", "1.5000"), ("bits/byte", "2.300")]


def test_a_loss_that_is_not_finite_can_be_shown():
    view = View()
    view.start(Plan("", [], ""), None, 0)
    view.record({"step": 1, "train_loss": float("nan"), "val_loss": float("inf")})
    assert ("loss", "nan") in view.line(view.latest, False)
    assert view.best is None and view.losses == []
    assert view.dashboard()[0] == ("val", "inf")


def test_stand_ins_where_the_encoding_lacks_a_character():
    assert fit("a…é·█", "ascii") == "a...?-#"
    assert fit("a…é", "latin-1") == "a...é"
    assert fit("a…é", "utf-8") == "a…é"
    assert visible("a\x1b[2J\r\nb\tc\x9b\ud800") == "a\ufffd[2J\nb    c\ufffd\ufffd"


def test_the_c_locale_is_believed_unless_python_was_told_otherwise(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    assert encoding_of(Lines()) == "ascii"
    monkeypatch.setenv("PYTHONUTF8", "1")
    assert encoding_of(Lines()) == "utf-8"
    monkeypatch.delenv("PYTHONUTF8")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert encoding_of(Lines()) == "utf-8"


def test_sparklines():
    assert spark([], 10, "utf-8") == ""
    assert spark([1.0, 1.0], 10, "utf-8") == "▅▅"
    assert spark([8.0, 4.5, 1.0], 10, "utf-8") == "█▅▁"
    assert spark([9.0, 8.0, 1.0], 2, "ascii") == "# "
    assert len(spark([1e308, -1e308, 0.0], 10, "utf-8")) == 3


def test_fields_are_never_cut():
    fields = [("loss", "1.0"), ("", "x" * 30), ("val", "2.0")]
    assert wrap(fields, 20) == [[fields[0]], [fields[1]], [fields[2]]]
    assert wrap(fields, 100) == [fields]


def test_the_beginning_of_a_sample_is_shown():
    assert sample_lines("\n\na\n\nb\n", 10) == ["a", "", "b"]
    assert sample_lines("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert sample_lines("a\n" * 40, 10) == ["a"] * 12 + ["…"]
