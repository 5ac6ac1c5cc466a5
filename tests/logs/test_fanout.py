"""A sink that fails is dropped with a word about it; the metrics file alone may end a run."""

from datetime import datetime

import pytest

from gptforge.logs import MetricsFile, Plan, SampleFiles, Sink, Sinks, TextLog, open_sinks, read_metrics

PLAN = Plan("training", [("device", "cpu", "no GPU found"), ("dtype", "float32", "")], "runs/x")


class Recorder(Sink):
    def __init__(self):
        self.heard = []

    def record(self, values):
        self.heard.append(values)

    def warn(self, text):
        self.heard.append(text)


class Broken(Sink):
    def __init__(self, error):
        self.error = error
        self.closed = 0

    def record(self, values):
        raise self.error

    def warn(self, text):
        raise self.error

    def close(self):
        self.closed += 1


def sinks(folder, *others):
    return Sinks(MetricsFile(folder / "metrics.jsonl", folder / "metrics.csv"), TextLog(folder / "train.log"), others)


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("ascii", "…", 0, 1, "no"),
        BrokenPipeError(32, "Broken pipe"),
        OSError(28, "No space left on device"),
        ValueError("I/O operation on closed file"),
        ZeroDivisionError(),
    ],
)
def test_a_failing_sink_is_dropped_and_the_others_go_on(tmp_path, error):
    broken, also_broken, recorder = Broken(error), Broken(error), Recorder()
    all_sinks = sinks(tmp_path, broken, also_broken, recorder)
    for step in (1, 2):
        all_sinks.record({"step": step})
    all_sinks.close()
    assert [heard for heard in recorder.heard if isinstance(heard, dict)] == [{"step": 1}, {"step": 2}]
    assert broken.closed == also_broken.closed == 1
    assert (tmp_path / "train.log").read_text().count("Broken is off for the rest of the run") == 2
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


def test_an_interrupt_is_no_ui_fault(tmp_path):
    all_sinks = sinks(tmp_path, Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        all_sinks.record({"step": 1})
    all_sinks.close()


def test_a_metrics_file_that_cannot_be_written_ends_the_run(tmp_path):
    all_sinks = sinks(tmp_path)

    def full(values):
        raise OSError(28, "No space left on device")

    all_sinks.metrics.record = full
    with pytest.raises(OSError, match="No space"):
        all_sinks.record({"step": 1})
    all_sinks.close()
    all_sinks.close()


def test_the_log_has_everything_with_its_time(tmp_path):
    log = TextLog(tmp_path / "train.log", now=lambda: datetime(2026, 11, 23, 10, 41, 7))
    log.start(PLAN, 100, None, 0)
    log.record({"step": 1, "train_loss": 4.17})
    log.sample(1, "two\nlines")
    log.note("saved\nin two lines")
    log.warn("careful \ud800")
    log.finish({"status": "done"}, ["gptforge sample ckpt=runs/x"])
    log.close()
    assert (tmp_path / "train.log").read_text(encoding="utf-8").splitlines() == [
        "2026-11-23 10:41:07 start   training, step 0 of 100 steps, in runs/x",
        "2026-11-23 10:41:07 plan    device: cpu (no GPU found)",
        "2026-11-23 10:41:07 plan    dtype: float32",
        "2026-11-23 10:41:07 metrics step=1 train_loss=4.17",
        "2026-11-23 10:41:07 sample  step 1, 9 characters",
        "2026-11-23 10:41:07 note    saved",
        "    in two lines",
        "2026-11-23 10:41:07 warning careful \\ud800",
        "2026-11-23 10:41:07 finish  status=done",
        "2026-11-23 10:41:07 next    gptforge sample ckpt=runs/x",
    ]


def test_a_log_that_was_dropped_can_still_be_told(tmp_path):
    log = TextLog(tmp_path / "train.log")
    log.close()
    log.line("error", "the real reason goes elsewhere")


def test_samples_are_kept_as_they_were_written(tmp_path):
    SampleFiles(tmp_path / "samples").sample(500, "ROMEO:\r\n[b]é\x1b[2J")
    assert (tmp_path / "samples" / "step-000500.txt").read_bytes() == "ROMEO:\r\n[b]é\x1b[2J".encode()


def test_a_run_has_its_files(tmp_path, capsys):
    all_sinks = open_sinks(tmp_path, "quiet")
    all_sinks.start(PLAN, 2, None, 0)
    all_sinks.progress(1, 0.5, {})
    all_sinks.record({"step": 2, "train_loss": 4.0, "val_loss": 4.1})
    all_sinks.sample(2, "text")
    all_sinks.warn("it overfits")
    all_sinks.finish({"status": "done", "best_val_loss": 4.1, "best_step": 2}, [])
    all_sinks.close()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "loss.svg", "metrics.csv", "metrics.jsonl", "samples", "samples/step-000002.txt", "train.log",
    ]  # fmt: skip
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "warning: it overfits\ndone: best val loss 4.1000 at step 2, runs/x\n"
