"""gptforge doctor says what there is and what to do, and never fails."""

import json
import sys
from types import SimpleNamespace

import pytest

from gptforge import doctor, runtime
from gptforge.commands import doctor as command
from gptforge.config import DoctorConfig
from gptforge.doctor import checks
from gptforge.runtime import Machine


def found():
    return {check.name: check for check in checks()}


def test_every_part_of_the_machine_has_a_line():
    names = ["gptforge", "host", "cpu", "memory", "python", "torch", "hydra", "device", "bfloat16", "compiler"]
    report = found()
    assert set(names) | {"C compiler", "disk here", "disk cache", "cache", "temporary", "terminal"} == set(report)
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
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    report = found()
    assert "GPTFORGE_CACHE=" in report["cache"].advice
    assert "does not work on" in report["compiler"].value
    assert "needs" in report["compiler"].advice
    assert report["C compiler"].value.startswith("none (no C compiler")
    assert "install gcc" in report["C compiler"].advice
    assert "make room" in report["disk here"].advice


def test_a_cache_that_is_not_there_yet_is_fine_and_not_made(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTFORGE_CACHE", str(tmp_path / "not" / "yet"))
    assert found()["cache"].ok
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("devices", "obstacles", "ok", "said"),
    [
        (("cpu",), {}, True, "torch.compile works on cpu"),
        (("cuda", "cpu"), {"cpu": "no g++"}, True, "torch.compile works on cuda"),
        (("cuda", "cpu"), {"cuda": "no triton"}, False, "torch.compile does not work on cuda"),
        (("mps", "cpu"), {"mps": "not supported"}, True, "torch.compile does not work on mps"),  # nothing to be done
    ],
)
def test_it_says_whether_compiling_works(monkeypatch, devices, obstacles, ok, said):
    machine = Machine(devices, False, (8, 0), 2, 10**10, "a machine", obstacles=obstacles)
    monkeypatch.setattr(runtime, "probe", lambda: machine)
    check = found()["compiler"]
    assert (check.ok, check.advice) == (ok, "" if ok else obstacles[devices[0]])
    assert said in check.value


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
