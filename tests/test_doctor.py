"""gptforge doctor says what there is and what to do, and never fails."""

import json
import sys
from types import SimpleNamespace

import pytest

from gptforge import doctor
from gptforge.commands import doctor as command
from gptforge.config import DoctorConfig
from gptforge.doctor import checks


def found():
    return {check.name: check for check in checks()}


def test_every_part_of_the_machine_has_a_line():
    names = ["gptforge", "host", "cpu", "memory", "python", "torch", "hydra", "device", "bfloat16", "compiler"]
    report = found()
    assert set(names) | {"disk here", "disk cache", "cache", "temporary", "terminal"} == set(report)
    for check in report.values():
        assert check.value
        assert check.ok == (not check.advice)


def test_a_check_that_fails_is_a_warning_with_its_reason(monkeypatch):
    def broken():
        raise RuntimeError("no such sensor")

    monkeypatch.setattr(doctor, "_cpu", broken)
    check = found()["cpu"]
    assert not check.ok
    assert check.advice == "RuntimeError: no such sensor"


def test_what_is_missing_comes_with_what_to_do(monkeypatch, tmp_path):
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv("GPTFORGE_CACHE", str(file / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    report = found()
    assert "GPTFORGE_CACHE=" in report["cache"].advice
    assert "g++" in report["compiler"].advice
    assert "make room" in report["disk here"].advice


def test_a_cache_that_is_not_there_yet_is_fine_and_not_made(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTFORGE_CACHE", str(tmp_path / "not" / "yet"))
    assert found()["cache"].ok
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("json_wanted", [False, True])
def test_the_command_prints_to_stdout_and_succeeds(capsys, monkeypatch, json_wanted):
    monkeypatch.setattr(command, "checks", lambda: [doctor.Check("cpu", False, "slow", "buy another")])
    assert command.run(DoctorConfig(json=json_wanted), None) == 0
    out, err = capsys.readouterr()
    assert err == ""
    if json_wanted:
        assert json.loads(out) == [{"name": "cpu", "ok": False, "value": "slow", "advice": "buy another"}]
    else:
        assert out.split() == ["warning", "cpu", "slow", "->", "buy", "another"]


def test_on_a_terminal_it_is_a_table(capsys, monkeypatch):
    monkeypatch.setattr(command, "checks", lambda: [doctor.Check("cpu", True, "[bold]fast[/]")])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert command.run(DoctorConfig(), None) == 0
    assert "[bold]fast[/]" in capsys.readouterr().out
