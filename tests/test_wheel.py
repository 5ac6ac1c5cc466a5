"""What is installed from the wheel works as the checkout does, from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_all_that_is_needed_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"gptforge/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "src").rglob("*.py"):
        assert path.relative_to(ROOT / "src").as_posix() in names
    assert {"gptforge/py.typed", "gptforge/sampling/fused.c"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gptforge", "hydra_plugins"}
    assert not any("__pycache__" in name or name.startswith("tests") for name in names)
    (entries,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "gptforge = gptforge.cli:main" in zipfile.ZipFile(wheel).read(entries).decode()


def test_it_works_from_any_folder(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words):
        command = [sys.executable, "-m", "gptforge", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    where = "import gptforge, gptforge.compose as c; print(gptforge.__file__); print(c.conf_dir())"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert found.stdout.splitlines() == [f"{installed}/gptforge/__init__.py", f"{installed}/gptforge/conf"]
    assert "model=gpt2-xl" in run("train", "--help").stdout
    shown = run("train", "model=tiny", "--cfg", "job")
    assert "n_embd: 64" in shown.stdout and shown.stderr == ""
    assert run("train", "model=tinny").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_as_the_current_folder_is_no_cause_for_warnings(installed):
    """./conf is then a copy of the options in the wheel."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "gptforge", "train", "--cfg", "job"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
