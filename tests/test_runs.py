"""Run directories: claimed once, named so that they are found, locked while used."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gptforge import runs
from gptforge.durable import write_text
from gptforge.errors import CheckpointError, LockedError, ResourceError, UsageError
from gptforge.jsonfile import read_json
from gptforge.runs import Call, Run, candidates, find_sweep, new_sweep_directory, redacted, run_name

CONFIG = {"schema_version": 1, "choices": {}, "config": {}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(name="a", **call):
    return Run.create(CONFIG, name, Call(**call))


def add_checkpoint(run, step):
    path = run.checkpoint(step)
    path.mkdir(parents=True)
    (path / runs.MANIFEST).write_text("{}")
    (path / "config.json").write_text("{}")
    return path


# Claiming ------------------------------------------------------------------------------


def test_a_new_run_is_named_and_is_the_latest():
    run = new("2026_x", typed=["model=tiny", "api_key=abc"])
    assert run.path == Path("runs/2026_x") and json.loads(run.config.read_text()) == CONFIG
    assert (run.path / "overrides.txt").read_text() == "model=tiny\napi_key=<redacted>\n"
    assert Path("runs/latest").read_text() == "2026_x\n" and Run.find("latest").path == run.path
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "overrides.txt"]


def test_starts_in_one_second_are_runs_of_their_own():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new("same").path, range(24)))
    assert len(set(made)) == 24 and all((path / "config.json").exists() for path in made)


def test_processes_that_start_together_are_runs_of_their_own(here):
    code = "from gptforge.runs import *; print(Run.create({}, 'same', Call()).path)"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({p.communicate()[0] for p in started}) == 4 and all(p.returncode == 0 for p in started)


def test_a_given_directory_is_claimed_by_one():
    def start(_):
        try:
            return new(directory=Path("given/here"))
        except UsageError as e:
            assert "holds a run already" in str(e) and "resume=given/here" in str(e)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(start, range(16)))
    assert len([run for run in made if run]) == 1
    assert sorted(p.name for p in Path("given/here").iterdir()) == ["config.json", "overrides.txt"]


def test_a_disk_without_links_will_do(monkeypatch):
    def link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert json.loads(new(directory=Path("d")).config.read_text()) == CONFIG
    with pytest.raises(UsageError, match="holds a run already"):
        new(directory=Path("d"))


def test_a_place_that_cannot_be_written():
    Path("runs").write_text("a file")
    with pytest.raises(ResourceError, match="run directory cannot be made"):
        new()
    with pytest.raises(ResourceError, match="run directory cannot be made"):
        new(directory=Path("runs/x"))
    with pytest.raises(ResourceError, match="sweep directory cannot be made"):
        new_sweep_directory().__enter__()


def test_names_are_sortable_and_plain():
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_shakespeare_small", run_name("shakespeare", "small"))
    assert re.fullmatch(r"[\w.-]{20,90}", run_name("a/b c" * 30, "é"))


def test_sweep_directories():
    with new_sweep_directory() as one, new_sweep_directory() as other:
        assert one != other
    with new_sweep_directory("a/b") as path:
        assert path == Path("a/b")
        with pytest.raises(LockedError, match=f"process {os.getpid()}"), new_sweep_directory("a/b"):
            pass
    with new_sweep_directory("a/b"):  # one that was left empty
        (path / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a sweep already"), new_sweep_directory("a/b"):
        pass
    with pytest.raises(UsageError, match="is not empty"), new_sweep_directory("."):
        pass
    with pytest.raises(KeyError), new_sweep_directory("c/d"):
        raise KeyError
    assert not Path("c/d").exists()
    with pytest.raises(KeyError), new_sweep_directory("c/d"):
        Path("c/d/multirun.yaml").write_text("what Hydra writes first")
        Path("c/d/points").mkdir()
        raise KeyError
    assert not Path("c/d").exists()
    with pytest.raises(KeyError), new_sweep_directory("c/d"):
        Path("c/d/x").write_text("")
        raise KeyError
    assert Path("c/d/x").exists()


def test_finding_a_sweep():
    with new_sweep_directory("runs/sweep_a") as path:
        (path / "sweep.json").write_text("{}")
    run = Run.create(CONFIG, "test", Call(directory=path / "0"))
    for name in ("sweep_a", "runs/sweep_a", "latest", str(run.path)):
        assert find_sweep(name) == path
    with pytest.raises(CheckpointError, match=r"is a sweep[\s\S]*gptforge train -m resume=runs/sweep_a"):
        Run.find("sweep_a")
    with pytest.raises(CheckpointError, match="resume=sweep_a"):
        find_sweep("sweep_b")
    (Path("runs") / "latest").unlink()  # no point of it has begun
    assert find_sweep("latest") == path
    alone = new(directory=Path("alone"))
    assert find_sweep("latest") == path
    with pytest.raises(CheckpointError, match=r"is no sweep[\s\S]*gptforge train resume=alone"):
        find_sweep(str(alone.path))


def test_going_on_is_noted():
    run = new(typed=["model=tiny"])
    run.update({**CONFIG, "config": {"ui": "plain"}}, Call(typed=["resume=latest"]))
    assert (run.path / "overrides.txt").read_text() == "model=tiny\nresume=latest\n"
    assert json.loads(run.config.read_text())["config"] == {"ui": "plain"}


# Finding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "latest",
        "runs/latest",
        "a",
        "runs/a/",
        "runs/a/config.json",
        "runs/a/checkpoints",
        "a/checkpoints/best",
        "a/checkpoints/step-000010",
        "a/best",
        "runs/a/latest",
    ],
)
def test_a_run_is_found_by_many_names(text, here):
    run = new()
    add_checkpoint(run, 10)
    write_text(run.checkpoints / "best", "step-000010\n")
    assert Run.find(text).path.resolve() == here / "runs" / "a"
    assert Run.find(str(here / "runs" / "a")).path == here / "runs" / "a"


@pytest.mark.parametrize("text", ["none", "runs/none", "", "x" * 5000, "a\0b", "/", ".", "latest/x", "runs"])
def test_what_is_no_run(text):
    with pytest.raises(CheckpointError):
        Run.find(text)
    with pytest.raises(CheckpointError):
        candidates(text)


def test_near_misses_are_named():
    new("2026-11-23_shakespeare_small")
    with pytest.raises(CheckpointError, match="2026-11-23_shakespeare_small"):
        Run.find("2026-11-23_shakespeare_smal")


def test_a_latest_that_is_gone():
    Path("runs").mkdir()
    for content in (b"gone\n", b"", b"\xff\xfe", b"../../..\n"):
        Path("runs/latest").write_bytes(content)
        with pytest.raises(CheckpointError):
            Run.find("latest")


def test_the_checkpoints_that_a_name_may_mean():
    run = new()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        candidates("latest")
    five, ten = add_checkpoint(run, 5), add_checkpoint(run, 10)
    (run.checkpoints / ".tmp-step-000020-1").mkdir()
    assert run.steps() == [5, 10]
    assert candidates("latest") == candidates("a") == candidates("runs/a/latest") == [ten, five]
    assert candidates(str(five)) == [five]
    with pytest.raises(CheckpointError, match="no best checkpoint yet"):
        candidates("best")
    write_text(run.checkpoints / "best", "step-000005\n")
    for text in ("best", "a/best", "runs/a/checkpoints/best"):
        assert [path.resolve() for path in candidates(text)] == [five.resolve()]
    write_text(run.checkpoints / "best", "\udc00".encode("utf-8", "replace").decode())
    with pytest.raises(CheckpointError, match="no best"):
        candidates("best")


# Locking -------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from gptforge.runs import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_used_by_one_process_at_a_time():
    run = new()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {holder.pid} on ") as e, run.locked():
        pass
    assert e.value.exit_code == 7
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with run.locked():
        assert f"process {os.getpid()} " in (run.path / ".lock").read_text()
        with pytest.raises(LockedError), run.locked():
            pass
    with run.locked():
        pass


# Small files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("model=tiny", True),
        ("train.tokens=5", True),
        ("tokenizer=char", True),
        ("tracker.api_key=abc", False),
        ("hf_token=abc=d", False),
        ("PASSWORD=x", False),
        ("--client-secret=x", False),
        ("secret", True),
    ],
)
def test_secrets_are_not_kept(word, kept):
    assert redacted(word) == (word if kept else f"{word.partition('=')[0]}=<redacted>")


def test_a_file_is_written_as_a_whole(monkeypatch):
    path = Path("x.json")
    write_text(path, "old")

    def replace(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in Path().iterdir()] == ["x.json"]


def test_threads_that_write_one_file_leave_one_of_their_texts():
    texts = [str(i) * 5000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(Path("x"), text), texts * 5))
    assert Path("x").read_text() in texts and len(list(Path().iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"x"', b"\xff", b"null"])
def test_json_that_is_none_of_ours(content):
    Path("x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the thing (cannot be read|holds no JSON object)") as e:
        read_json(Path("x.json"), "the thing")
    assert "x.json" in str(e.value)


def test_json_that_is_not_there():
    with pytest.raises(CheckpointError, match="the thing is missing"):
        read_json(Path("x.json"), "the thing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(Path(), "the thing")


# From anyone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "no number"),
        (b'{"a":' * 100_000, "too deep"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "too deep"),
        (b" " * 40_000_001 + b"{}", "bytes"),
        (b'{"a": [' + b"[]," * 1_100_000 + b"1]}", "values"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_json_that_nobody_of_us_has_written(content, said):
    Path("x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        read_json(Path("x.json"), "it")


@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "samples", "checkpoints", "samples/step-000001.txt"])
def test_a_run_with_a_link_out_of_it_is_not_written_to(name):
    run = new()
    Path("victim").write_text("precious")
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).symlink_to(Path("victim").absolute())
    with pytest.raises(CheckpointError, match="leads out of it"), run.locked():
        pass
    assert Path("victim").read_text() == "precious"


def test_a_link_within_a_run_does_no_harm():
    run = new()
    (run.path / "newest").symlink_to("config.json")
    with run.locked():
        pass


def test_what_looks_like_a_secret_is_left_out():
    for word in ("hf_token=x", "a.PASSWD=x", "my-api-key=x", "AWS_SECRET_ACCESS_KEY=x", "credentials=x"):
        assert redacted(word) == word.partition("=")[0] + "=<redacted>"
    for word in ("tokenizer=bpe", "sample.max_new_tokens=3", "prompt=password", "lr=1"):
        assert redacted(word) == word
    assert redacted("data=https://ali:sesame@x.org/a.txt") == "data=https://<redacted>@x.org/a.txt"
    error = CheckpointError("https:/a:b@c", where="http://a:b@c", fix=["ftp://a:b@c", "a://b/c@d"])
    assert "a:b" not in str(error) and "a://b/c@d" in str(error) and "a:b" not in error.what
