"""Cores and GPUs, and how the jobs of a sweep share them."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge import hardware


def test_cores_are_those_this_process_may_use():
    assert hardware.physical_cores() >= 1
    if hasattr(os, "sched_setaffinity"):
        code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        code += "from gptforge.hardware import physical_cores\nprint(physical_cores())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"


def test_cores_where_the_system_does_not_say(monkeypatch):
    def closed(*arguments, **options):
        raise OSError

    monkeypatch.setattr(hardware, "open", closed, raising=False)
    assert hardware.physical_cores() >= 1


@pytest.mark.parametrize(
    ("visible", "found"),
    [("", []), ("-1", []), ("0", ["0"]), ("2, 5", ["2", "5"]), ("GPU-8a,MIG-7", ["GPU-8a", "MIG-7"])],
)
def test_gpus_are_those_that_are_visible(monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpus() == found


@pytest.mark.parametrize(
    ("script", "found"), [("printf '0\\n1\\n'", ["0", "1"]), ("echo no driver; exit 9", []), (None, [])]
)
def test_gpus_are_asked_of_the_driver(monkeypatch, tmp_path, script, found):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if script else str(tmp_path))
    if script:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    assert hardware.gpus() == found


@given(st.integers(0, 9), st.integers(1, 9))
def test_gpus_are_shared_out(n_gpus, n_jobs):
    names = [str(i) for i in range(n_gpus)]
    given = hardware.shares(names, n_jobs)
    assert len(given) == n_jobs
    used = [name for share in given for name in share]
    if n_gpus >= n_jobs:  # each has its own
        assert len(set(used)) == len(used) and {len(share) for share in given} == {n_gpus // n_jobs}
    elif n_gpus:  # each has one, and no GPU has two more jobs than another
        counts = [used.count(name) for name in names]
        assert all(len(share) == 1 for share in given) and max(counts) - min(counts) <= 1
    else:
        assert not used
