"""What completion offers, and that three shells put it on the line."""

import dataclasses
import os
import shutil
import subprocess
import sys

import pytest

from gptforge.completion import SHELLS, candidates, script
from gptforge.config import SCHEMAS

COMMANDS = {**SCHEMAS, "completion": object}
GROUPS = {"model": ["gpt2", "small", "tiny"], "data": ["pydoc", "shakespeare"]}


def offered(*words):
    return candidates(list(words), GROUPS, COMMANDS)


def test_the_first_word_is_a_command():
    assert offered() == offered("") == list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    assert offered("tr") == ["train"]
    assert offered("xyz") == []


def test_a_command_may_have_two_words():
    assert offered("tok") == ["tokenizer"]
    assert offered("tokenizer", "") == offered("tokenizer", "rep") == ["report"]
    assert "ckpt=" in offered("tokenizer", "report", "") and offered("tokenizer", "report", "tex") == ["text="]
    assert offered("tokenizer", "x") == offered("tokenizer", "x", "") == offered("train", "report") == []


def test_a_command_of_one_word_may_go_on_with_a_second():
    assert offered("runs", "")[:3] == ["rm", "tag", "prune"] and "sort=" in offered("runs", "")
    assert offered("runs", "pr") == ["prune"] and offered("runs", "so") == ["sort="]
    assert "keep=best" in offered("runs", "prune", "keep=")


def test_runs_may_go_on_with_export():
    assert offered("runs", "ex") == ["export"] and {"export", "sort="} <= set(offered("runs", ""))
    assert offered("runs", "export", "t") == ["to="]


def test_then_come_groups_and_keys():
    everything = offered("train", "")
    assert everything[:2] == ["model=", "data="]
    assert {"optimizer.lr=", "train.steps=", "seed=", "sample.temperature="} <= set(everything)
    assert offered("train", "optimizer.l") == ["optimizer.lr="]
    assert "model=" in offered("train", "mod") and "model.n_layer=" in offered("train", "mod")
    assert offered("train", "model=small", "optimizer.l") == ["optimizer.lr="]


def test_a_key_with_a_name_of_its_own_may_be_typed_alone():
    assert offered("train", "temper") == ["temperature="]
    assert "kind=" not in offered("train", "kin")  # tokenizer.kind, model.mlp.kind, ...


def test_values_of_groups_choices_and_switches():
    assert offered("train", "model=") == ["model=gpt2", "model=small", "model=tiny"]
    assert offered("train", "model=t") == ["model=tiny"]
    assert offered("train", "ui=p") == ["ui=plain"]
    assert offered("train", "dry_run=") == ["dry_run=true", "dry_run=false"]
    assert offered("train", "runtime.compile=") == [f"runtime.compile={v}" for v in ("true", "false", "null")]
    assert offered("train", "deterministic=t") == ["deterministic=true"]


def test_keys_of_a_sweep_are_completed_with_m():
    assert offered("train", "-m", "n_j") == ["n_jobs="]
    assert offered("train", "-m", "search=") == ["search=grid", "search=random", "search=tpe"]
    assert offered("train", "n_j") == offered("sample", "-m", "n_j") == []


def test_a_sweep_is_completed_after_its_last_comma():
    assert offered("train", "-m", "model=tiny,s") == ["model=tiny,small"]
    assert offered("train", "-m", "model=tiny,") == ["model=tiny,gpt2", "model=tiny,small"]


def test_free_text_and_numbers_are_left_to_the_shell():
    assert offered("train", "prompt=a") == offered("train", "optimizer.lr=") == offered("train", "data=./") == []
    assert offered("sample", "ckpt=runs/") == offered("nonsense", "") == offered("train", "a=b=c") == []


def test_the_rest():
    assert offered("completion", "") == list(SHELLS)
    assert offered("train", "--h") == ["--help"]
    assert offered("completion", "bash", "") == []


def test_every_key_of_every_command_is_offered():
    for command, schema in SCHEMAS.items():
        assert {f"{f.name}=" for f in dataclasses.fields(schema) if not dataclasses.is_dataclass(f.type)} <= set(
            candidates([*command.split(), ""], {}, COMMANDS)
        )


def test_it_needs_neither_torch_nor_hydra():
    code = "import sys, gptforge.completion; print({'torch', 'hydra', 'omegaconf', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.fixture
def fake(tmp_path):
    """An environment whose gptforge notes the words it gets and answers from a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "gptforge"
    program.write_text(
        f'#!/bin/sh\nfor word in "$@"; do printf "<%s>" "$word"; done > "{tmp_path}/asked"\ncat "{tmp_path}/answer"\n'
    )
    program.chmod(0o755)
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(script(shell))
    (tmp_path / "answer").write_text("")
    return tmp_path, os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}


def need(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=need(shell)) for shell in SHELLS])
def test_the_script_is_valid(fake, shell):
    folder, env = fake
    done = subprocess.run([shell, "-n", str(folder / f"script.{shell}")], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def in_bash(fake, line, answer, breaks="$' \\t\\n\"\\'><=;|&(:'"):
    folder, env = fake
    (folder / "answer").write_text("\n".join(answer))
    code = f"""
        source {folder}/script.bash
        COMP_WORDBREAKS={breaks}
        COMP_LINE=$1 COMP_POINT=${{#1}}
        COMP_WORDS=($1) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _gptforge
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", code, "bash", line], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "asked").read_text(), done.stdout.split()


@need("bash")
def test_bash_asks_with_whole_words_and_gets_what_it_can_put_back(fake):
    assert in_bash(fake, "gptforge tr", ["train"]) == ("<__complete><tr>", ["train"])
    assert in_bash(fake, "gptforge train ", ["model=", "data="]) == ("<__complete><train><>", ["model=", "data="])
    asked, found = in_bash(fake, "gptforge train model=small data=s", ["data=shakespeare"])
    assert (asked, found) == ("<__complete><train><model=small><data=s>", ["shakespeare"])
    assert in_bash(fake, "gptforge train model=tiny,s", ["model=tiny,small"])[1] == ["tiny,small"]
    assert in_bash(fake, "gptforge train prompt=a", []) == ("<__complete><train><prompt=a>", [])


@need("bash")
def test_bash_that_does_not_break_words_at_the_sign_gets_them_whole(fake):
    assert in_bash(fake, "gptforge train data=s", ["data=shakespeare"], "$' \\t\\n'")[1] == ["data=shakespeare"]


@need("bash")
def test_bash_registers_the_function_with_file_names_as_the_fallback(fake):
    folder, env = fake
    code = f"source {folder}/script.bash; complete -p gptforge"
    done = subprocess.run(["bash", "--norc", "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "complete -o default -F _gptforge gptforge\n"


@need("zsh")
def test_zsh_offers_the_answer_and_else_file_names(fake):
    folder, env = fake
    # The parts of zsh's completion system that exist only while a key is handled, made to say what they are told.
    code = f"""
        compdef() {{ print -r -- "compdef $*" }}
        compadd() {{ print -r -- "compadd $*" }}
        compset() {{ print -r -- "compset $*" }}
        _files() {{ print -r -- files }}
        source {folder}/script.zsh
        words=(gptforge train model=t) CURRENT=3 PREFIX=model=t
        _gptforge
    """

    def answered(*lines):
        (folder / "answer").write_text("\n".join(lines))
        return subprocess.run(["zsh", "-f", "-c", code], env=env, capture_output=True, text=True).stdout.splitlines()

    assert answered("model=tiny", "model.n_layer=") == [
        "compdef _gptforge gptforge",
        "compadd -S  -- model.n_layer=",
        "compadd -- model=tiny",
    ]
    assert (folder / "asked").read_text() == "<__complete><train><model=t>"
    assert answered() == ["compdef _gptforge gptforge", "compset -P *=", "files"]


@need("fish")
def test_fish_offers_the_answer_and_else_file_names(fake):
    folder, env = fake
    (folder / "a file").write_text("")

    def completed(line, *lines):
        (folder / "answer").write_text("\n".join(lines))
        code = f"source {folder}/script.fish; complete --do-complete '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", code], env=env, cwd=folder, capture_output=True, text=True)
        return done.stdout.splitlines()

    assert completed("gptforge train model=t", "model=tiny") == ["model=tiny"]
    assert (folder / "asked").read_text() == "<__complete><train><model=t>"
    assert completed("gptforge train ", "model=", "data=") == ["data=", "model="]
    assert (folder / "asked").read_text() == "<__complete><train><>"
    assert any("a file" in line for line in completed("gptforge train data=a"))
