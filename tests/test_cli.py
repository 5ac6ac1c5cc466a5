"""The command line as people meet it: a real process, its streams, its exit code, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptforge import __version__
from gptforge.config import SCHEMAS
from gptforge.config.schema import leaves
from gptforge.usage import COMMANDS

# main(), then what it has imported: a third stream of a kind
WATCHED = """
import sys
from gptforge.cli import main
try:
    main()
finally:
    sys.stderr.write("\\nloaded: " + " ".join(m for m in ("torch", "hydra") if m in sys.modules))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def gptforge(*words, stdin="", **env):
    command = [sys.executable, "-m", "gptforge", *words]
    return subprocess.run(
        command, capture_output=True, text=True, input=stdin, env={**os.environ, **env}, timeout=100, encoding="utf-8"
    )


def watched(*words):
    """(exit code, stdout, stderr, what was imported)"""
    done = subprocess.run([sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, timeout=100)
    said, _, loaded = done.stderr.rpartition("\nloaded: ")
    return done.returncode, done.stdout, said, loaded.split()


# Help --------------------------------------------------------------------------------


def test_alone_it_says_how_to_use_it(here):
    code, out, err, loaded = watched()
    assert (code, err, loaded) == (0, "", [])
    assert all(f"  {name} " in out for name in COMMANDS) and "gptforge train data=" in out
    assert gptforge("--help").stdout == gptforge("help").stdout == out
    assert gptforge("--version").stdout == f"gptforge {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command, here):
    code, out, err, loaded = watched(*command.split(), "--help")
    assert (code, err, loaded) == (0, "", [])
    assert out.startswith(f"usage: gptforge {command}") and COMMANDS[command].what in out
    for leaf in leaves(SCHEMAS[command]) if command in SCHEMAS else ():
        assert f"  {leaf.name}=" in out and leaf.type_name in out and leaf.doc in out
    if command == "train":
        assert "* model=small" in out and "  model=gpt2 " in out and "Shakespeare" in out


def test_help_before_a_command_of_two_words(here):
    assert gptforge("help", "tokenizer", "report").stdout == gptforge("tokenizer", "report", "--help").stdout != ""


def test_help_fits_a_terminal(here):
    assert max(map(len, gptforge("train", "--help").stdout.splitlines())) <= 120


def test_completion(here):
    assert "model=tiny" in gptforge("__complete", "train", "model=t").stdout
    assert "complete" in gptforge("completion", "bash").stdout
    assert gptforge("completion", "csh").returncode == 2


# What cannot be ------------------------------------------------------------------------

WRONG = {
    "unknown command": (["trian"], 2, ["no command 'trian'", "gptforge train"]),
    "half a command": (["tokenizer"], 2, ["tokenizer what?", "gptforge tokenizer report"]),
    "half a command's help": (["tokenizer", "--help"], 2, ["gptforge tokenizer report"]),
    "unknown second word": (["tokenizer", "repot"], 2, ["no command 'tokenizer repot'", "gptforge tokenizer report"]),
    "no command": (["model=tiny"], 2, ["gptforge train model=tiny"]),
    "unknown key": (["train", "train.stpes=5"], 2, ["no key 'train.stpes'", "train.steps=… (default null)"]),
    "wrong type": (["train", "train.steps=many"], 2, ["train.steps=many", "whole number", "on the command line"]),
    "out of range": (["train", "optimizer.lr=-1"], 2, ["optimizer.lr=-1", "more than 0", "default 0.003"]),
    "cross-field": (["train", "n_embd=130", "n_head=4"], 2, ["not divisible", "model.n_head=5"]),
    "tokenizer without its file": (["train", "tokenizer=hf"], 2, ["tokenizer.path=PATH"]),
    "file without its tokenizer": (["train", "tokenizer.path=a.json"], 2, ["tokenizer=hf tokenizer.path=a.json"]),
    "vocabulary size of a char": (["train", "vocab_size=512"], 2, ["tokenizer=bpe tokenizer.vocab_size=512"]),
    "vocabulary too small": (["train", "tokenizer=bpe", "vocab_size=258"], 2, ["at least 259"]),
    "two tokenizers": (["tokenizer", "report", "x", "tokenizer=bpe"], 2, ["the tokenizer is the checkpoint's"]),
    "cross-field, in a file": (["train", "model=medium", "n_head=5"], 2, ["conf/model/medium.yaml"]),
    "impossible steps": (["train", "train.steps=0"], 2, ["train.steps=0", "at least 1"]),
    "two lengths": (["train", "train.steps=9", "train.epochs=2"], 2, ["one length", "train.epochs=null"]),
    "unknown option": (["train", "model=smal"], 2, ["no model 'smal'", "model=small"]),
    "values without -m": (["train", "lr=1e-3,3e-4"], 2, ["several values", "-m optimizer.lr=1e-3,3e-4"]),
    "options without -m": (["train", "model=tiny,small"], 2, ["several values", "-m model=tiny,small"]),
    "grammar": (["train", "lr=[1"], 2, ["cannot be read", "quotes"]),
    "grammar in a sweep": (["train", "-m", "lr=[1"], 2, ["cannot be read", "quotes"]),
    "several": (["train", "lr=x", "seed=-1"], 2, ["2 problems", "optimizer.lr=x", "seed=-1"]),
    "-m where it is not": (["sample", "-m", "seed=1,2"], 2, ["sample has no -m"]),
    "--cfg of what": (["train", "--cfg"], 2, ["--cfg takes job or hydra or all"]),
    "a package that is not": (["train", "--cfg", "job", "-p", "nonsense"], 2, ["nonsense"]),
    "no folder": (["train", "--config-dir", "nowhere"], 2, ["no folder 'nowhere'"]),
    "saved config is missing": (["train", "config=none.json"], 4, ["missing", "none.json"]),
    "no such run": (["train", "config=x", "resume=y"], 2, ["leave one of the two out"]),
    "missing text": (["train", "data=missing"], 3, ["no file or folder 'missing'", "data=PATH"]),
    "missing path": (["train", "data=./missing.txt"], 3, ["no file or folder './missing.txt'"]),
    "missing run": (["train", "resume=latest"], 4, ["no run yet", "gptforge train"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_said_in_a_moment_and_leaves_nothing(name, here):
    words, expected, parts = WRONG[name]
    code, out, err, loaded = watched(*words)
    assert code == expected, err
    assert out == "" and len(err.splitlines()) <= 8 and "Traceback" not in err
    assert all(part in err for part in parts), err
    assert "torch" not in loaded
    assert list(here.iterdir()) == []


def test_a_missing_checkpoint(here):
    for words in (["missing"], ["ckpt=best"]):
        done = gptforge("sample", *words)
        assert done.returncode == 4 and done.stdout == "" and "checkpoint error" in done.stderr
    assert list(here.iterdir()) == []


def test_a_saved_config_that_is_not_sound(here):
    Path("a.json").write_text("{")
    Path("b.json").write_text('{"schema_version": 1, "config": {"seed": -1}}')
    for name, said in (("a.json", "cannot be read"), ("b.json", "at least 0")):
        done = gptforge("train", f"config={name}")
        assert done.returncode == 4 and said in done.stderr and name in done.stderr
    assert len(list(here.iterdir())) == 2


def test_an_unreadable_text_leaves_no_run(here):
    Path("a.txt").write_bytes(b"abc\xff")
    done = gptforge("train", "data=a.txt", "hydra.run.dir=run")
    assert done.returncode == 3 and "byte 3" in done.stderr
    assert [p.name for p in here.iterdir()] == ["a.txt"]


# What Hydra gives -----------------------------------------------------------------------


def test_the_composed_config_is_shown(here):
    done = gptforge("train", "model=tiny", "--cfg", "job")
    assert done.returncode == 0 and done.stderr == ""
    assert "n_embd: 64" in done.stdout and "hydra" not in done.stdout
    assert "lr: 0.003" in gptforge("train", "--cfg=job", "-p", "optimizer").stdout
    assert list(here.iterdir()) == []


def test_options_of_ones_own(here):
    for folder in ("mine", "conf"):
        Path(folder, "model").mkdir(parents=True)
    Path("mine/model/nano.yaml").write_text("# smaller than tiny\nn_layer: 1\n")
    Path("conf/model/pico.yaml").write_text("# smaller than nano\nn_layer: 3\n")
    for words, layers in ((["--config-dir", "mine", "model=nano"], 1), (["model=pico"], 3)):
        done = gptforge("train", *words, "--cfg", "job")
        assert done.returncode == 0 and done.stderr == "" and f"n_layer: {layers}" in done.stdout
    assert "model=nano               smaller than tiny" in gptforge("train", "--help", "-cd=mine").stdout
    Path("conf/model/tiny.yaml").write_text("n_layer: 9\n")
    done = gptforge("train", "model=tiny", "--cfg", "job")
    assert "conf/model/tiny.yaml is not read" in done.stderr and "n_layer: 2" in done.stdout
    Path("mine/model/nano.yaml").write_text("n_layer: 0\n")
    done = gptforge("train", "--config-dir", "mine", "model=nano")
    assert done.returncode == 2 and "model.n_layer in mine/model/nano.yaml" in done.stderr


# Streams and terminals --------------------------------------------------------------------


def test_bugs_are_one_line_and_a_traceback_only_when_asked(here):
    code = "import gptforge.cli as c; c.dispatch = lambda a: 1 / 0; c.main()"
    for env, seen in (({}, False), ({"GPTFORGE_DEBUG": "1"}, True)):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, timeout=60
        )
        assert done.returncode == 1 and "internal error: ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) is seen


@pytest.mark.parametrize("words", ["train --help", "train --cfg job", "--help"])
def test_a_reader_that_goes_away_is_no_error(words, here):
    line = f'set -o pipefail; "{sys.executable}" -m gptforge {words} | head -c 1'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout[1:], done.stderr) == (0, "", "")


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", ">&-"])
def test_closed_streams_change_no_exit_code(redirect, here):
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -m gptforge train lr=x {redirect}'], timeout=60)
    assert done.returncode == 2


def test_any_locale_will_do(here):
    for env in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}):
        done = gptforge("train", "modell.x=é漢\x1b[31m", **env)
        assert done.returncode == 2 and "no key" in done.stderr and "\x1b" not in done.stderr
        assert "Traceback" not in done.stderr
        assert gptforge("train", "--help", **env).returncode == 0
    assert gptforge("train", "lr=x", LC_ALL="C").stderr.isascii()


# A run ---------------------------------------------------------------------------------


def test_a_run_from_the_command_line_to_its_files(here):
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    words = ["model=tiny", "data=text.txt", "--steps", "2", "n_embd=16", "block_size=16", "batch_size=2"]
    words += ["sample.max_new_tokens=5", 'prompt="a, ${b}" = c', "hydra.run.dir=deep/my run"]
    done = gptforge("train", *words)
    assert done.returncode == 0, done.stderr
    run = here / "deep" / "my run"
    assert json.loads((run / "config.json").read_text())["config"]["prompt"] == '"a, ${b}" = c'
    assert (run / "overrides.txt").read_text().splitlines() == words
    assert sorted(p.name for p in here.iterdir()) == ["deep", "runs", "text.txt"]
    assert [p.name for p in (here / "runs").iterdir()] == ["latest"]
    again = gptforge("train", *words)
    assert again.returncode == 2 and "holds a run already" in again.stderr and "resume=" in again.stderr
    other = gptforge("train", f"config={run}", "seed=7", "hydra.run.dir=other", "model.n_head=3")
    assert other.returncode == 2 and "not divisible" in other.stderr and not (here / "other").exists()
    refused = gptforge("train", "resume=latest", "seed=7")
    assert refused.returncode == 4 and "seed: 1337 -> 7" in refused.stderr
