"""What runs say of themselves, whatever state they are in; and `gptforge runs`, which shows it."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small
from gptforge import history
from gptforge.config.saved import as_saved
from gptforge.history import entries
from gptforge.jsonfile import write_json
from gptforge.logs.screen import Screen
from gptforge.report.listing import SPARED, table
from gptforge.runs import Call, Run

SUMMARY = {"steps": 12, "val_loss": 2.5, "best_val_loss": 2.4, "val_bpb": 3.6, "parameters": 7000, "seconds": 1.5}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(name: str, status: str = "done", **changes) -> Run:
    """A run as `gptforge train` leaves it, but for its weights."""
    config = as_saved(small.config(**changes), {"model": "tiny", "data": "files"})
    run = Run.create(config, name, Call(directory=Path("runs", name)))
    write_json(run.summary, SUMMARY | {"status": status})
    return run


def told(name: str) -> history.Entry:
    (found,) = (entry for entry in entries(Path("runs")) if entry.name == name)
    return found


def test_a_real_run_tells_what_its_summary_says():
    small.write_text()
    small.trainer(small.config(), "runs/one").fit()
    found, summary = told("one"), small.summary("runs/one")
    assert (found.status, found.step, found.note) == ("done", 12, "")
    assert (found.best_val_loss, found.val_bpb) == (summary["best_val_loss"], summary["val_bpb"])
    assert abs(found.began - time.time()) < 100


@pytest.mark.parametrize("status", ["done", "stopped", "failed"])
def test_the_status_is_what_the_run_has_said(status):
    run = made("a", status)
    write_json(run.summary, SUMMARY | {"status": status, "error": "the disk is full" if status == "failed" else None})
    assert (told("a").status, told("a").note) == (status, "the disk is full" if status == "failed" else "")


def test_one_that_runs_is_told_from_one_that_died():
    run = made("a", "running")
    run.metrics.write_text('{"step": 11, "train_loss": 2.0, "seconds": 3}\n{"step": 12, "val_loss": 2, "val_b')
    write_json(run.decisions, {"steps": {"value": 40}})
    holding = "from gptforge.runs import Run; from pathlib import Path; import sys\n"
    holding += "with Run(Path('runs/a')).locked():\n    print('here', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        assert (told("a").status, told("a").step, told("a").steps) == ("running", 12, 40)
        process.kill()
    assert told("a").status == "dead"
    (run.path / ".lock").write_text("process 1 on elsewhere since yesterday\n")
    assert told("a").status == "dead"  # nobody has the lock


def test_the_newest_record_is_the_last_whole_line():
    run = made("a", "running")
    run.summary.unlink()
    run.metrics.write_text(
        '{"step": 3, "val_loss": 2.0, "val_bpb": 3.0}\n{"step": 4, "seconds": 9.0}\n{"step": 5, "sec'
    )
    assert (told("a").step, told("a").val_loss, told("a").seconds) == (4, 2.0, 9.0)
    later = ['{"step": %d, "train_loss": 2.0, "seconds": 9.0}\n' % step for step in range(5, 2000)]  # noqa: UP031
    run.metrics.write_text(
        run.metrics.read_text().rpartition("\n")[0] + '\n{"step": 4, "val_loss": 2.5}\n' + "".join(later)
    )
    assert (told("a").step, told("a").val_loss, told("a").best_val_loss) == (1999, 2.5, 2.0)


@pytest.mark.parametrize("file", ["config.json", "summary.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"config": 3, "choices": []}', '{"status": 7}', "\0"])
def test_a_broken_run_breaks_nothing(file, content):
    made("whole")
    made("broken").path.joinpath(file).write_text(content)
    assert told("whole").status == "done"
    assert told("broken").status == "broken" and told("broken").note


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400, "-1e999"])
def test_numbers_beyond_all_floats_are_not_known(number):
    run = made("a")
    run.summary.write_text('{"status": "done", "steps": N, "val_loss": N, "seconds": N}'.replace("N", number))
    assert told("a").status == "done"
    assert (told("a").val_loss, told("a").seconds) == (None, None)
    json.dumps(told("a").step, allow_nan=False)


def test_half_a_run_is_one():
    made("a").config.unlink()
    Path("runs/no-run").mkdir()
    Path("runs/no-run/notes.txt").touch()
    assert [(e.name, e.status) for e in entries(Path("runs"))] == [("a", "broken")]


def test_the_runs_of_a_sweep_are_there():
    for number in (0, 1, 10):
        made(f"sweep_x/{number}")
    write_json(Path("runs/sweep_x/sweep.json"), {})
    Path("runs/sweep_x/points").mkdir()
    assert {e.name for e in entries(Path("runs"))} == {"sweep_x/0", "sweep_x/1", "sweep_x/10"}


# The index ------------------------------------------------------------------------------


def test_what_is_known_is_not_read_again_and_what_changed_is(monkeypatch):
    made("a")
    made("b", "running")
    entries(Path("runs"))
    seen = []
    monkeypatch.setattr(history, "read", lambda name, run: seen.append(name) or history.Entry(name, "done", 0.0))
    entries(Path("runs"))
    assert seen == ["b"]
    write_json(Run(Path("runs/a")).path / "tags.json", {"tags": ["good"]})
    entries(Path("runs"))
    assert seen == ["b", "b", "a"] or seen == ["b", "a"]


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "other"])
def test_an_index_that_is_not_sound_is_made_anew(damage):
    made("a")
    before = entries(Path("runs"))
    path = Path("runs", history.INDEX)
    whole = path.read_text()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_text(whole[:50])
    elif damage == "changed":
        path.write_text(whole.replace("2.4", "0.1"))
    else:
        path.write_text('{"version": 99, "runs": []}')
    assert entries(Path("runs")) == before and path.read_text() == whole


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_has_none():
    made("a")
    Path("runs").chmod(0o500)
    assert len(entries(Path("runs"))) == 1


# The command ----------------------------------------------------------------------------


def shown(capsys, *words: str) -> list[dict]:
    assert small.gptforge("runs", "--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def test_filters_and_order(capsys):
    made("a", optimizer__lr=1e-3)
    made("b", "failed", optimizer__lr=1e-2)
    made("c", optimizer__lr=1e-1)
    assert [e["name"] for e in shown(capsys, "filter=status=done", "sort=-optimizer.lr")] == ["c", "a"]
    assert [e["name"] for e in shown(capsys, "filter=lr<0.05 name!=a")] == ["b"]
    assert [e["name"] for e in shown(capsys, "filter=model=tiny,name~A")] == ["a"]
    assert shown(capsys, "filter=val_loss<1") == []


def test_the_table_says_what_it_leaves_out(capsys):
    for name in ("a", "b", "c"):
        made(name)
    assert small.gptforge("runs", "limit=2") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("run") and len(said) == 4 and said[-1].startswith("and 1 more")
    assert small.gptforge("runs", "filter=status=failed") == 0
    assert "none of the 3 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("nowhere", "there is no folder 'nowhere'"),
        ("filter=stauts=done", "status"),
        ("filter=done", "'done' is no condition"),
        ("filter=val_loss<low", "which is no number"),
        ("filter=dropout=0", "may be any of 2 keys"),
        ("sort=lrr", "optimizer.lr"),
        ("limit=0", "must be at least 1"),
    ],
)
def test_what_cannot_be_is_told(capsys, word, says):
    made("a")
    assert small.gptforge("runs", word) in (2, 3)
    assert says in capsys.readouterr().err


def test_a_narrow_terminal_is_spared_what_says_least(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    made("2026-01-01_00-00-00_a-long-name")
    (entry,) = entries(Path("runs"))
    spared = []
    for columns in (200, 95, 85, 70, 60, 10):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = table(Screen(Terminal()), [entry])
        without = [name for name in SPARED if name not in lines[0]]
        assert without == list(SPARED[: len(without)]) and len(without) >= len(spared)
        assert all(len(line) <= columns for line in lines) or without == list(SPARED)
        spared = without
    assert spared == list(SPARED)
    monkeypatch.setenv("COLUMNS", "10")
    assert "began" in table(Screen(io.StringIO()), [entry])[0]  # a pipe gets all
