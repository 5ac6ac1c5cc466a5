"""The recipes in containers/ say the same, copy what they need, and their shell parts are sound.

No container engine is needed: what can be known without building an image is looked up in the recipes, and the
install script runs against an environment that only writes down what pip was asked for.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from gptforge import compose
from gptforge.arguments import Grammar, parse, split_command
from gptforge.config import SCHEMAS
from gptforge.usage import COMMANDS
from recipes import filled, flags_and_words, instructions, is_ignored, pairs, sections, settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "containers" / "Dockerfile"
DEFINITION = ROOT / "containers" / "gptforge.def"
SCRIPT = ROOT / "containers" / "install.sh"
PAGE = ROOT / "docs" / "containers.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
STEPS = ["torch", "packages", "gptforge"]
NEEDS = {  # what a step of the install script reads
    "torch": {"constraints.txt", "install.sh"},
    "packages": {"pyproject.toml"},
    "gptforge": {"README.md", "LICENSE", "NOTICE", "conf", "src"},
}

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def linter(name: str) -> str:
    """The path of a linter, from beside this Python or the PATH; the test is skipped where it is not installed."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if path is None:
        pytest.skip(f"{name} is not installed: pip install -c constraints.txt '.[dev]' (x86-64 Linux)")
    return path


def copied() -> dict[str, str]:
    """What the Dockerfile copies: path in the repository -> path in the image, relative to /opt/source."""
    found = {}
    for name, rest in instructions(DOCKERFILE):
        if name == "COPY":
            *sources, target = flags_and_words(rest)[1].split()
            for source in sources:
                found[source] = Path(source).name if target == "./" else target
    return found


def shell_parts() -> dict[str, str]:
    """Every piece of shell in the recipes, as a script of its own."""
    found = {"install.sh": SCRIPT.read_text(encoding="utf-8")}
    runs = [flags_and_words(rest)[1] for name, rest in instructions(DOCKERFILE) if name == "RUN"]
    found |= {f"RUN {i}": f"#!/bin/sh\n{run}\n" for i, run in enumerate(runs, 1)}
    parts = sections(DEFINITION)
    defaults = pairs(parts["arguments"])
    names = ("post", "environment", "runscript", "test")
    return found | {f"%{name}": f"#!/bin/sh\n{filled(parts[name], defaults)}" for name in names}


def test_what_is_copied_is_there_and_is_not_ignored() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for name in copied():
        assert (ROOT / name).exists(), name
        files = [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*")
        paths = [path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts]
        assert paths and not [path for path in paths if is_ignored(path, patterns)]
    for path in (".git/config", ".venv/bin/python", "runs/x/config.json", "tests/small.py", "docs/config.md", ".env"):
        assert is_ignored(path, patterns), path
    for path in ("src/gptforge/__pycache__/cli.cpython-312.pyc", "src/gptforge.egg-info/PKG-INFO"):
        assert is_ignored(path, patterns), path


@pytest.mark.parametrize("name", sorted(copied()))
def test_what_is_copied_is_in_the_repository(name: str) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout, or git is not installed")
    done = subprocess.run(["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout.strip(), f"git does not know {name}"


def test_both_recipes_copy_the_same() -> None:
    lines = [line.split() for line in sections(DEFINITION)["files"].splitlines()]
    assert {source: target.removeprefix("/opt/source/") for source, target in lines} == copied()


def test_what_the_wheel_is_made_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["force-include"]}
    needed |= {package.split("/")[0] for package in wheel["packages"]}
    assert needed <= set(copied())


def test_each_step_finds_its_files_and_is_a_layer_of_its_own() -> None:
    """A later COPY must not be needed by an earlier step, nor an earlier one be made anew for a change of the code."""
    there: set[str] = set()
    steps = []
    for name, rest in instructions(DOCKERFILE):
        if name == "COPY":
            there |= {Path(source).name for source in flags_and_words(rest)[1].split()[:-1]}
        if name == "RUN" and (match := re.search(r"bash install\.sh (\w+)", rest)):
            steps.append(match[1])
            assert there == set.union(*(NEEDS[step] for step in steps)), match[1]
    assert steps == STEPS
    assert re.findall(r"bash install\.sh (\w+)", sections(DEFINITION)["post"]) == STEPS


def test_both_recipes_have_the_same_defaults() -> None:
    defaults = settings(DOCKERFILE, "ARG")
    assert pairs(sections(DEFINITION)["arguments"]) == defaults
    assert "From: {{ BASE }}" in sections(DEFINITION)["header"] and ("FROM", "${BASE}") in instructions(DOCKERFILE)
    in_script = dict(re.findall(r"^(\w+)=\$\{\1:-(.*)\}$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE))
    virtual = in_script.pop("VENV")
    assert in_script == {key: value for key, value in defaults.items() if key != "BASE"}
    assert settings(DOCKERFILE, "ENV")["VENV"] == virtual
    post = sections(DEFINITION)["post"]
    assert f"export VENV={virtual}\n" in post
    for key in in_script:
        assert f'{key}="{{{{ {key} }}}}"' in post


def test_the_base_has_a_python_that_gptforge_allows() -> None:
    match = re.fullmatch(r"python:(\d+\.\d+)-slim-[a-z]+", settings(DOCKERFILE, "ARG")["BASE"])
    assert match is not None and match[1] in SpecifierSet(PROJECT["project"]["requires-python"])


def test_extras_are_those_of_the_readme_and_all_exist() -> None:
    extras = settings(DOCKERFILE, "ARG")["EXTRAS"].split()
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"`pip install -c constraints\.txt \.`, or `'\.\[([\w,]+)\]'`", readme)
    assert set(named.split(",")) <= set(extras)


def test_the_tools_of_the_script_are_pinned() -> None:
    tools = re.findall(r"^ +tools ([\w-]+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert tools == ["uv", "hatchling"] and set(tools) <= set(PINS)


def test_the_image_starts_gptforge_as_somebody_who_is_not_root() -> None:
    found = dict(instructions(DOCKERFILE))  # the last of each name, which is the one in force
    assert found["USER"] == "1000:1000" and found["ENTRYPOINT"] == '["gptforge"]'
    assert PROJECT["project"]["scripts"]["gptforge"] == "gptforge.cli:main"
    env = settings(DOCKERFILE, "ENV")
    assert env["PATH"].split(":")[0] == f"{env['VENV']}/bin"
    assert sections(DEFINITION)["runscript"] == 'exec gptforge "$@"\n'
    assert f'export PATH="{env["VENV"]}/bin:$PATH"\n' in sections(DEFINITION)["environment"]


def test_anybody_may_write_the_cache_and_nobody_the_folder_of_runs() -> None:
    env = settings(DOCKERFILE, "ENV")
    made = next(rest for name, rest in instructions(DOCKERFILE) if name == "RUN" and "useradd" in rest)
    assert f"install -d -m 1777 {env['GPTFORGE_CACHE']}" in made and env["HOME"] == env["GPTFORGE_CACHE"]
    assert dict(instructions(DOCKERFILE))["WORKDIR"] == "/work" and "VOLUME" not in dict(instructions(DOCKERFILE))
    assert "/work" in made and "chmod" not in made and "chown" not in made


def test_a_compiler_stays_in_the_image() -> None:
    for text in (DOCKERFILE.read_text(encoding="utf-8"), sections(DEFINITION)["post"]):
        assert "apt-get install --yes --no-install-recommends g++" in text
        assert not re.search(r"apt-get.* (purge|remove|autoremove)", text)


@needs_bash
@pytest.mark.parametrize("part", sorted(shell_parts()))
def test_shell_is_shell(part: str, tmp_path: Path) -> None:
    path = tmp_path / "part.sh"
    path.write_text(shell_parts()[part], encoding="utf-8")
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("part", sorted(shell_parts()))
def test_shellcheck_finds_nothing(part: str, tmp_path: Path) -> None:
    path = tmp_path / "part.sh"
    path.write_text(shell_parts()[part], encoding="utf-8")
    done = subprocess.run([linter("shellcheck"), "--norc", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    command = [linter("hadolint"), "--no-color", "--failure-threshold", "style", str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


FAKE_PYTHON = """#!/usr/bin/env bash
# A Python whose pip writes down what it is asked for, and whose torch was built with $FAKE_CUDA.
case "$1 ${2:-}" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/uv" ;;
    "-m pip") shift 2; echo "pip $*" >> "$LOG"
        while [ $# -gt 0 ]; do [ "$1" = --requirement ] && cat "$2" >> "$LOG"; shift; done ;;
    "pip install") echo "uv $*" >> "$LOG" ;;
    "-W ignore") echo "${FAKE_CUDA:-}" ;;
    *) exec "$REAL_PYTHON" "$@" ;;
esac
"""


@pytest.fixture
def install(tmp_path: Path):
    """Runs the install script with a Python that only writes down what pip and uv are asked for."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text(FAKE_PYTHON, encoding="utf-8")
    (tools / "python3").chmod(0o755)
    log = tmp_path / "log"
    log.touch()

    def run(step: str, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        fixed = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "VENV": str(tmp_path / "venv"), "LOG": str(log)}
        fixed |= {"REAL_PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            ["bash", str(SCRIPT), step], cwd=ROOT, env=fixed | env, capture_output=True, text=True, timeout=60
        )
        assert not list(tmp_path.glob("tmp.*")), "the script leaves something behind"
        return done, log.read_text(encoding="utf-8").splitlines()

    return run


PIP = "pip install --disable-pip-version-check --constraint constraints.txt "
UV = "uv pip install --python VENV/bin/python --constraint constraints.txt --no-deps --torch-backend "


@needs_bash
@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, [PIP + "--quiet uv", UV + "cpu torch", PIP + "torch"]),
        ({"TORCH": "cuda", "FAKE_CUDA": "13.0"}, [PIP + "torch"]),
        ({"TORCH": "cu126", "FAKE_CUDA": "12.6"}, [PIP + "--quiet uv", UV + "cu126 torch", PIP + "torch"]),
        ({"TORCH_INDEX": "file:///t"}, [PIP + "--no-deps --index-url=file:///t torch", PIP + "torch"]),
        ({"INDEX": "file:///m", "TORCH": "cuda", "FAKE_CUDA": "13.0"}, [PIP + "--index-url=file:///m torch"]),
        (  # the last one given is pip's
            {"INDEX": "file:///m", "TORCH_INDEX": "file:///t"},
            [PIP + "--index-url=file:///m --no-deps --index-url=file:///t torch", PIP + "--index-url=file:///m torch"],
        ),
    ],
    ids=["cpu", "cuda", "a version of cuda", "torch from a mirror", "all from a mirror", "two mirrors"],
)
def test_torch_comes_from_where_it_was_asked_for(install, env: dict[str, str], wanted: list[str], tmp_path) -> None:
    done, asked = install("torch", **env)
    assert done.returncode == 0, done.stderr
    assert [line.replace(str(tmp_path / "venv"), "VENV") for line in asked] == wanted


@needs_bash
@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"TORCH": "gpu"}, 2, "TORCH=gpu is none of: cpu, cuda, or a version of CUDA"),
        ({"FAKE_CUDA": "13.0"}, 3, "TORCH=cpu, but torch came with CUDA 13.0"),
        ({"TORCH": "cuda"}, 3, "TORCH=cuda, but torch came without CUDA"),
    ],
    ids=["no such build", "cuda for cpu", "cpu for cuda"],
)
def test_another_torch_than_was_asked_for_is_an_error(install, env: dict[str, str], code: int, said: str) -> None:
    done, _ = install("torch", **env)
    assert done.returncode == code and said in done.stderr


@needs_bash
def test_a_step_that_does_not_exist_is_an_error(install) -> None:
    done, asked = install("everything")
    assert done.returncode == 2 and "torch|packages|gptforge" in done.stderr and not asked


@needs_bash
def test_packages_are_those_of_the_project(install) -> None:
    assert install("torch")[0].returncode == 0
    done, asked = install("packages", EXTRAS="bpe clean")
    assert done.returncode == 0, done.stderr
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    assert asked[3].startswith(PIP + "--requirement ")
    assert asked[4:] == project["dependencies"] + extras["bpe"] + extras["clean"]
    names = {Requirement(line).name.lower() for line in asked[4:]}
    assert names <= {name.lower() for name in PINS}, "a package of the image has no pin"
    done, _ = install("packages", EXTRAS="nothing")
    assert done.returncode != 0 and "nothing" in done.stderr


def commands_of_the_page() -> list[list[str]]:
    """The docker, podman and apptainer commands of docs/containers.md, as words."""
    text = PAGE.read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    found = [shlex.split(line, comments=True) for line in lines.splitlines()]
    return [words for words in found if words and words[0] in ("docker", "podman", "apptainer", "srun")]


def test_the_page_builds_what_is_there() -> None:
    builds = [words for words in commands_of_the_page() if words[1] == "build"]
    assert {words[0] for words in builds} == {"docker", "apptainer"}
    known = set(settings(DOCKERFILE, "ARG"))
    for words in builds:
        given = [words[i + 1].split("=")[0] for i, word in enumerate(words) if word == "--build-arg"]
        assert set(given) <= known
        recipe = words[words.index("-f") + 1] if words[0] == "docker" else words[-1]
        assert (ROOT / recipe).is_file() and (words[0] == "apptainer" or words[-1] == ".")


def test_the_page_runs_what_gptforge_understands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the image's name is a command line of gptforge."""
    monkeypatch.chdir(ROOT)
    images = {"gptforge", "gptforge:cuda", "gptforge.sif"}
    ran = [words for words in commands_of_the_page() if "run" in words[:3] and images & set(words)]
    assert len(ran) >= 5
    for words in ran:
        begin = next(i for i, word in enumerate(words) if word in images)
        command, rest = split_command(words[begin + 1 :], SCHEMAS)
        assert command in SCHEMAS, words
        rest = [re.sub(r"=/data/.*|=texts$", "=README.md", word) for word in rest]
        dirs = [compose.conf_dir()]
        grammar = Grammar(command, SCHEMAS[command], compose.options(command, dirs), COMMANDS[command].positionals)
        compose.compose(command, parse(rest, grammar), dirs)
