"""gptforge runs rm, prune and tag: what goes, what stays, and that nobody else's is touched."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from gptforge import tidy
from gptforge.checkpoint import commit, point
from gptforge.config.saved import as_saved
from gptforge.errors import UsageError
from gptforge.history import entries, tags
from gptforge.jsonfile import write_json
from gptforge.runs import Call, Run, held


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def made(name: str, status: str = "done", steps: tuple[int, ...] = (2, 4, 6), best: int | None = 4) -> Run:
    """A run with checkpoints as `gptforge train` leaves it, but for what is in them."""
    run = Run.create(as_saved(small.config(), {"model": "tiny"}), name, Call(directory=Path("runs", name)))
    write_json(run.summary, {"status": status, "steps": max(steps, default=0), "val_loss": 2.0})
    run.metrics.write_text('{"step": 1, "val_loss": 2.0}\n')
    for step in steps:
        commit(run, step, {"model.safetensors": bytes(1000 * step)})
        point(run, "latest", step)
        if step == best:
            point(run, "best", step)
    return run


def names() -> list[str]:
    return sorted(entry.name for entry in entries(Path("runs")))


def ended(*words: str) -> int:
    return small.gptforge("runs", *words)


class Answering(io.StringIO):
    """A person at a terminal."""

    def isatty(self) -> bool:
        return True


def asked(monkeypatch, answer: str) -> Answering:
    """Puts a person there who answers; what they see."""
    monkeypatch.setattr(sys, "stdin", Answering(answer))
    monkeypatch.setattr(sys, "stderr", seen := Answering())
    return seen


# rm -------------------------------------------------------------------------------------


def test_removed_runs_are_gone_and_others_stay(capsys):
    for name in ("a", "b", "c"):
        made(name)
    size = sum(p.stat().st_size for n in "ab" for p in Path("runs", n).rglob("*") if p.is_file())
    assert ended("rm", "a", "runs/b/", "a", "--yes", "--json") == 0
    told = capsys.readouterr()
    assert names() == ["c"] and sorted(p.name for p in Path("runs").iterdir()) == [".index.json", "c", "latest"]
    assert [one["name"] for one in json.loads(told.out)["removed"]] == ["a", "b"]
    assert sum(one["bytes"] for one in json.loads(told.out)["removed"]) == size and "removed 2 of 2 runs" in told.err


def test_without_a_terminal_and_yes_nothing_goes(capsys, monkeypatch):
    made("a")
    assert ended("rm", "a") == 2
    assert "remove 1 run, " in (err := capsys.readouterr().err) and "--yes" in err
    monkeypatch.setattr(sys, "stdin", Answering("y\n"))  # whose question nobody would see
    assert ended("rm", "a") == 2
    assert names() == ["a"]


@pytest.mark.parametrize(("answer", "stays"), [("y\n", []), ("yes\n", []), ("\n", ["a"]), ("n\n", ["a"]), ("", ["a"])])
def test_a_person_is_asked(monkeypatch, answer, stays):
    made("a")
    Path("runs/a/notes.txt").touch()
    seen = asked(monkeypatch, answer)
    assert ended("rm", "a") == 0 and names() == stays
    assert "remove 1 run, " in seen.getvalue() and "[y/N]" in seen.getvalue()
    assert "with notes.txt that gptforge did not make" in seen.getvalue()
    assert ("nothing was removed" in seen.getvalue()) == bool(stays)


def test_latest_is_mended():
    for number in (1, 2, 3):
        made(f"2026-01-0{number}_00-00-00_x")
    Path("runs/2026-01-02_00-00-00_x/config.json").write_text("{")  # nobody wants to go on with it
    assert ended("rm", "latest", "--yes") == 0
    assert Run.find("latest").path.name == "2026-01-01_00-00-00_x"
    assert ended("rm", "2026-01-02_00-00-00_x", "--yes") == 0 and Run.find("latest")
    assert ended("rm", "latest", "--yes") == 0 and not Path("runs/latest").exists()


def test_a_run_that_lost_its_config_one_of_a_sweep_and_a_sweep_can_go(capsys):
    made("a").config.unlink()
    made("b")
    made("sweep_x/0")
    made("sweep_x/1")
    write_json(Path("runs/sweep_x/sweep.json"), {})
    assert ended("rm", "a", "sweep_x/0", "--yes") == 0
    assert names() == ["b", "sweep_x/1"]
    Path("runs/sweep_x/1/notes.txt").write_text("mine")
    for checkpoint in Path("runs/sweep_x/1/checkpoints").iterdir():
        if checkpoint.is_dir():
            (checkpoint / "config.json").write_text("{}")
    Run(Path("runs/sweep_x/1")).point_latest()
    with Run(Path("runs/sweep_x/1")).locked():
        assert ended("rm", "sweep_x", "--yes") == 7 and "sweep_x/1 is in use" in capsys.readouterr().err
    with held(Path("runs/sweep_x")):
        assert ended("rm", "sweep_x", "--yes") == 7 and names() == ["b", "sweep_x/1"]
    capsys.readouterr()
    assert ended("rm", "sweep_x", "runs/sweep_x/1", "--yes", "--json") == 0 and names() == ["b"]
    told = capsys.readouterr()
    assert "a sweep of 1 run, with 1/notes.txt that gptforge did not make" in told.err
    assert [one["name"] for one in json.loads(told.out)["removed"]] == ["sweep_x"]
    assert Run.find("latest").path.name == "b" and not list(Path("runs").glob(".*removed*"))


def test_a_running_run_stays_and_so_do_those_named_with_it(capsys):
    made("a")
    run = made("b", "running")
    holding = "from gptforge.runs import Run; from pathlib import Path; import sys\n"
    holding += "with Run(Path('runs/b')).locked():\n    print('here', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdin is not None and process.stdout.readline()
        assert ended("rm", "a", "b", "--yes") == 7 and "is in use" in capsys.readouterr().err
        with pytest.raises(tidy.LockedError):  # as if it had begun after it was looked at
            tidy.remove(Run(run.path.resolve()))
        assert ended("prune", "keep=none", "--yes") == 0
        process.stdin.close()
    assert names() == ["a", "b"] and run.steps() == [2, 4, 6]
    assert not list(Path("runs").rglob(".tmp-removed-*"))


@pytest.mark.parametrize(
    "word", ["runs/a/checkpoints/step-000004", "runs/a/config.json", "runs/a/checkpoints", "a/checkpoints/latest"]
)
def test_a_part_of_a_run_is_not_the_run(word, capsys):
    run = made("a")
    assert ended("rm", word, "--yes") in (2, 4)
    assert run.steps() == [2, 4, 6] and "gptforge:" in capsys.readouterr().err


def test_what_is_more_than_a_run_stays(monkeypatch, capsys):
    made("a")
    made("a/inner")
    assert ended("rm", "a", "--yes") == 2 and "another run is in" in capsys.readouterr().err
    made("b")
    Path("runs/b/.git").mkdir()
    assert ended("rm", "b", "--yes") == 2
    run = made("c").path.resolve()
    monkeypatch.chdir(run / "checkpoints")
    assert ended("rm", str(run), "--yes") == 2 and (run / "config.json").exists()
    assert ended("rm", "..", "--yes") == 2 and (run / "config.json").exists()
    monkeypatch.chdir(run.parents[1])
    for word in ("nowhere", ".", "/", "", "runs"):
        assert ended("rm", word, "--yes") == 4


def test_links_are_not_followed(capsys):
    outside = Path("../outside")
    outside.mkdir()
    (outside / "precious").write_text("mine")
    run = made("a")
    (run.path / "samples").symlink_to(outside.resolve())
    (run.checkpoints / "step-000008").symlink_to(outside.resolve())
    Path("runs/link").symlink_to(run.path.resolve())
    assert ended("rm", "link", "--yes") == 4 and "is a link" in capsys.readouterr().err
    assert ended("prune", "keep=none", "--yes") == 0
    assert run.steps() == [8] and (outside / "precious").read_text() == "mine"
    assert ended("rm", "a", "--yes") == 0 and (outside / "precious").read_text() == "mine"
    assert not Path("runs/a").exists()
    run = made("b")
    shutil.copytree(run.checkpoints, outside / "checkpoints")
    shutil.rmtree(run.checkpoints)
    run.checkpoints.symlink_to((outside / "checkpoints").resolve())
    assert ended("prune", "keep=none", "--yes") == 0 and len(list((outside / "checkpoints").glob("step-*"))) == 3
    (run.path / ".lock").unlink(missing_ok=True)
    (run.path / ".lock").symlink_to((outside / "made").resolve())
    assert ended("rm", "b", "--yes") == 5 and not (outside / "made").exists()


def test_a_killed_removal_leaves_no_half_run(monkeypatch):
    made("a")
    made("b")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            ended("rm", "a", "--yes")
    assert names() == ["b"] and len(list(Path("runs").glob(".tmp-removed-a-*"))) == 1
    assert ended("rm", "b", "--yes") == 0
    assert not list(Path("runs").glob(".tmp-*"))


def test_a_rename_that_fails_leaves_everything(monkeypatch, capsys):
    made("a")
    made("b")

    def failing(*_):
        raise PermissionError(13, "Permission denied", "runs/b")

    monkeypatch.setattr(tidy.os, "rename", failing)
    assert ended("rm", "b", "--yes") == 5 and "removed 0 of 1 run" in capsys.readouterr().err
    assert names() == ["a", "b"] and Path("runs/latest").read_text() == "b\n"


# prune ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "status", "best", "stays"),
    [
        ("best", "done", 4, [4]), ("best", "done", None, [6]), ("latest", "done", 4, [6]), ("none", "done", 4, []),
        ("best", "stopped", 4, [4, 6]), ("latest", "stopped", 4, [6]), ("none", "failed", 4, []),
        ("best", "running", 4, [4, 6]),  # which nobody runs: it has died
    ],
)  # fmt: skip
def test_what_stays(keep, status, best, stays):
    run = made("a", status, best=best)
    assert ended("prune", f"keep={keep}", "--yes") == 0
    assert run.steps() == stays and run.metrics.exists() and run.config.exists()
    assert run.pointer("latest") == (stays[-1] if stays else None)
    assert run.pointer("best") == (best if best in stays else None)
    assert not list(run.path.rglob(".tmp-*"))


def test_the_filter_chooses_and_what_goes_is_said(capsys):
    keeps, goes = made("good"), made("bad")
    (goes.checkpoints / "set-aside-1").mkdir()
    (goes.checkpoints / "set-aside-1" / "file").write_bytes(bytes(500))
    write_json(goes.summary, {"status": "done", "val_loss": 3.0})
    size = sum(p.stat().st_size for n in ("step-000002", "step-000006") for p in (goes.checkpoints / n).iterdir())
    assert ended("prune", "filter=val_loss>2.5", "--dry") == 0
    told = capsys.readouterr()
    assert told.out.startswith("bad (done): keeps 4; goes 2, 6; ") and len(told.out.splitlines()) == 1
    assert "this would remove 3 checkpoints of 1 runs" in told.err and goes.steps() == [2, 4, 6]
    assert ended("prune", "filter=val_loss>2.5") == 2 and goes.steps() == [2, 4, 6]
    capsys.readouterr()
    assert ended("prune", "filter=val_loss>2.5", "--yes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == size + 500 and found["pruned"] == ["bad"]
    assert found["runs"] == [{"name": "bad", "status": "done", "keeps": [4], "goes": [2, 6], "bytes": size + 500}]
    assert goes.steps() == [4] and keeps.steps() == [2, 4, 6] and not list(goes.checkpoints.glob("set-aside*"))
    assert ended("prune", "filter=val_loss>2.5", "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().err


def test_a_person_is_asked_before_pruning(monkeypatch):
    run = made("a")
    seen = asked(monkeypatch, "n\n")
    assert ended("prune") == 0 and run.steps() == [2, 4, 6] and "nothing was removed" in seen.getvalue()
    asked(monkeypatch, "y\n")
    assert ended("prune") == 0 and run.steps() == [4]


def test_a_run_whose_kept_checkpoint_is_damaged_is_left_alone(capsys):
    run, other = made("a"), made("b")
    (run.checkpoint(4) / "model.safetensors").write_bytes(b"x")
    assert ended("prune", "--yes") == 4
    assert run.steps() == [2, 4, 6] and other.steps() == [4]
    assert "a is left as it is" in capsys.readouterr().err
    assert ended("prune", "keep=none", "--yes") == 0 and run.steps() == []


def test_a_killed_prune_is_finished_by_the_next(monkeypatch):
    run = made("a")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            ended("prune", "keep=latest", "--yes")
    assert run.steps() == [4, 6] and run.pointer("best") is None and run.pointer("latest") == 6
    assert ended("prune", "keep=latest", "--yes") == 0
    assert run.steps() == [6] and not list(run.checkpoints.glob(".tmp-*"))


@pytest.mark.parametrize(("word", "code"), [("keep=all", 2), ("nowhere", 3), ("filter=lrr<3", 2)])
def test_what_cannot_be_pruned_is_told(word, code):
    made("a")
    assert ended("prune", word, "--yes") == code


# tag ------------------------------------------------------------------------------------


def test_tags_are_added_taken_away_and_set(capsys):
    run = made("a")
    for words, expected in (
        (["a", "good", "base-line"], ["good", "base-line"]),
        (["a", "good", "new", "remove=[base-line]"], ["good", "new"]),
        (["a"], ["good", "new"]),
        (["a", "tags=[x,y]"], ["x", "y"]),
        (["a", "tags=z"], ["z"]),
        (["latest", "ü", "tags=[]"], ["ü"]),
        (["a", "tags=[]"], []),
    ):
        assert ended("tag", *words) == 0
        assert tags(run) == expected and capsys.readouterr().out == f"a: {', '.join(expected) or 'no tags'}\n"
    assert ended("tag", "a", "x", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "a", "tags": ["x"]}
    made("b")
    assert ended("filter=tags=x", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["a"]


@pytest.mark.parametrize("word", ["tags=[a b]", "add=['']", "add=['x,y']", "remove=[gone]", "add=['\\x1b']"])
def test_what_cannot_be_a_tag_is_told(word, capsys):
    run = made("a")
    assert ended("tag", "a", word) == 2 and not (run.path / "tags.json").exists()
    assert "\x1b" not in capsys.readouterr().err
    assert ended("tag", "nowhere", "x") == 4


@given(words=st.lists(st.text(max_size=60), max_size=4))
def test_any_words_become_tags_or_one_message(words, tmp_path_factory):
    run = Run(tmp_path_factory.getbasetemp() / "tagged")
    run.path.mkdir(exist_ok=True)
    try:
        found = tidy.tagged(run, words, [], [])
    except UsageError:
        assert any(not tidy.TAG.fullmatch(word) for word in words)
    else:
        assert found == list(dict.fromkeys(words)) == tags(run)
        assert not any(c.isspace() or c in ",=[]" for word in found for c in word)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_that_cannot_be_written_has_no_new_tags():
    made("a").path.chmod(0o500)
    assert ended("tag", "a", "x") == 5
