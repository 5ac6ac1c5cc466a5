"""Several processes behave like one: to signals, to failures, and when they are left alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small
from abreast import DDP, failing
from gptforge import launch
from gptforge.config import TrainConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, ResourceError
from gptforge.runs import Run
from gptforge.runtime import Machine, choose
from gptforge.train.decisions import as_before, micro_batch_size

RUN = "run"
ENDLESS = {"train__steps": 100_000, "eval__every": 10_000, "checkpoint__every": 10_000}


@pytest.fixture
def here(own_folder):
    small.write_text()
    return own_folder


# What is asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said", "fix"),
    [
        ({"train__batch_size": 7, "train__grad_accum": None}, "batch_size=7 cannot be shared evenly by 2", "=8"),
        ({"train__batch_size": 9, "train__grad_accum": 2}, "batch_size=9 cannot be shared evenly by 2", "=8"),
        ({"train__batch_size": 6, "train__grad_accum": 2}, "not a multiple of train.grad_accum=2 x 2 proc", "=8"),
        ({"train__micro_batch_size": 4}, "micro_batch_size=4 x train.grad_accum=2 x 2 processes is not", "=16"),
        ({"runtime__device": "mps"}, "cannot share the GPU", "runtime.device=cpu"),
        ({"parallel__kind": "none"}, "only with parallel=ddp", "parallel.kind=ddp"),
    ],
)
def test_what_cannot_be_is_one_config_error(keys, said, fix):
    with pytest.raises(ConfigError) as e:
        small.config(**DDP | keys)
    assert said in str(e.value) and fix in str(e.value) and len(str(e.value).splitlines()) <= 3


def test_processes_are_counted_or_asked_for(monkeypatch):
    def count(gpus: int, **keys) -> int:
        monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: gpus)
        return launch.processes(small.config(**{"parallel__kind": "ddp", "train__grad_accum": None} | keys))

    assert count(4) == 4 and count(4, parallel__nproc=2) == 2 and count(0, parallel__nproc=2) == 2
    assert count(4, parallel__kind="none") == 1 and count(0, parallel__nproc=1) == 1
    assert count(1, parallel__nproc=4, runtime__device="cpu") == 4
    with pytest.raises(ConfigError, match=r"parallel\.nproc=2 for two processes"):
        count(0)
    with pytest.raises(ConfigError, match="none to count"):
        count(4, runtime__device="cpu")
    with pytest.raises(ConfigError, match="this machine has 2 GPUs"):
        count(2, parallel__nproc=4)
    with pytest.raises(ConfigError, match=r"cannot be shared evenly by 3.*\n.*train.batch_size=9"):
        count(3)


def test_an_unknown_number_is_said_on_the_command_line(here, capsys):
    assert small.gptforge("train", "model=tiny", "data=text.txt", "parallel=ddp", "runtime.device=cpu") == 2
    assert "parallel.nproc=2" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_cores_and_memory_are_divided():
    machine = Machine(("cpu",), "", None, 6, 8 * 10**6, "CPU", processes=4)
    cfg = build(TrainConfig, {"train": {"batch_size": 64}, "parallel": {"kind": "ddp", "nproc": 4}})
    runtime = choose(cfg.runtime, machine)
    assert (runtime.threads.value, runtime.threads.reason) == (1, "6 physical cores for 4 processes")
    assert machine.memory_of("cpu") == 2 * 10**6
    cfg = build(TrainConfig, {"model": {"n_layer": 1, "n_embd": 32, "block_size": 64}, "train": {"batch_size": 64}})
    sizes = [
        micro_batch_size(cfg, runtime, Machine(("cpu",), "", None, 6, 4 * 10**6, "CPU", processes=n), 64, n).value
        for n in (1, 2, 4)
    ]
    assert sizes[0] > sizes[1] > sizes[2] >= 1 and all(
        64 // n % size == 0 for n, size in zip((1, 2, 4), sizes, strict=True)
    )


def test_info_counts_for_one_of_the_processes(here, capsys):
    words = ["info", "model=tiny", "vocab_size=64", "train.batch_size=12", "json=true"]
    assert small.gptforge(*words, "parallel=ddp", "nproc=3") == 0
    assert json.loads(capsys.readouterr().out)["micro_batch_size"] == 4


def test_what_was_decided_for_other_processes_is_decided_anew():
    saved = {key: {"value": 1, "reason": ""} for key in ("dtype", "compile", "threads", "micro_batch_size")}
    saved |= {"device": {"value": "cpu", "reason": ""}, "processes": {"value": 2, "reason": ""}}
    cfg = small.config(runtime__threads=None, train__grad_accum=None)
    machine = Machine(("cpu",), "", None, 2, 10**9, "CPU")
    assert {"threads", "micro_batch_size"} <= as_before(cfg, saved, machine, 2).keys()
    assert as_before(cfg, saved, machine, 1).keys() == {"device", "dtype", "compile"}


# Failures ----------------------------------------------------------------------------------------------------


def run_failing(how: str) -> int:
    began = time.monotonic()
    try:
        return launch.run(failing, (how, small.config(**DDP, ui="plain"), RUN), 2)
    finally:
        assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("how", "code", "said", "kept"),
    [
        ("user", 3, "gptforge: data error: the tape is torn\n  try:   mend it\n", "the tape is torn"),
        ("bug", 1, "gptforge: internal error: ZeroDivisionError: nobody thought of it", "ZeroDivisionError"),
        ("nan", 6, "gptforge: numerical error: the loss is nan in step 1", "the loss is nan in step 1"),
    ],
)
def test_a_failure_of_one_ends_all_with_its_message(here, how, code, said, kept, capfd):
    assert run_failing(how) == code
    told = capfd.readouterr().err
    assert said in told and told.count("gptforge: ") == 1 and "Traceback" not in told
    assert small.summary(RUN)["status"] == "failed" and kept in small.summary(RUN)["error"] + small.log(RUN)
    with Run(Path(RUN)).locked():
        pass


def test_a_killed_process_ends_all(here, capfd):
    with pytest.raises(ResourceError, match="process 1 of 2 was ended by SIGKILL"):
        run_failing("killed")
    assert "gptforge: " not in capfd.readouterr().err
    with Run(Path(RUN)).locked():
        pass


# Signals -----------------------------------------------------------------------------------------------------


def started(*words: str) -> subprocess.Popen[str]:
    """A run of two processes that would not end, after its first steps, and in a process group of its own."""
    process = small.start(*small.typed(small.config(**ENDLESS, **DDP), RUN), *words, start_new_session=True)
    wait_for(lambda: Path(RUN, "metrics.jsonl").exists() and len(small.records(RUN)) > 2, process)
    return process


def wait_for(condition, process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    """The processes that train (Linux)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(") ")
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(rest.split()[1]) == pid and b"spawn_main" in command:
            found.add(int(name.split()[0]))
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_ctrl_c_saves_once_and_leaves_nobody(here):
    process = started("ui=plain")
    workers = children(process.pid)
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    # "a signal" where the process that speaks hears of it from the other one, before it comes to itself
    assert len(re.findall("stopped by (?:SIGINT|a signal) after step", said)) == 1 and "Traceback" not in said
    assert "gptforge train resume=" in said
    assert small.summary(RUN)["status"] == "stopped"
    assert Run(Path(RUN)).steps()[-1] == small.summary(RUN)["steps"] == small.records(RUN)[-1]["step"]
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@linux
def test_a_killed_parent_leaves_nobody(here):
    process = started()
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=60)  # until all have let go of stderr
    wait_for(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], seconds=10)
    assert small.summary(RUN)["status"] == "stopped"
    assert Run(Path(RUN)).steps()[-1] == small.summary(RUN)["steps"]


@linux
def test_the_second_signal_ends_all_at_once(here):
    process = started()
    workers = children(process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # so that they cannot end by themselves
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "stopped at once" in said and "Traceback" not in said
    wait_for(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], seconds=10)


@pytest.mark.parametrize("moment", [2.0, 4.0])
def test_a_signal_while_they_are_being_started(here, moment):
    process = small.start(*small.typed(small.config(**ENDLESS, **DDP), RUN), start_new_session=True)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode == 75 if Path(RUN).exists() else process.returncode in (75, 130, -2), said


# Started by torchrun -----------------------------------------------------------------------------------------


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gptforge"]
    env = dict(os.environ) | {"OMP_NUM_THREADS": "1", "TMPDIR": os.getcwd()}  # torchrun leaves a folder there
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, env=env)


TYPED = ["train", "model=tiny", "data=text.txt", "model.block_size=16", "sample.max_new_tokens=5", "train.steps=4"]


def test_torchrun_is_taken_at_its_word(here):
    done = torchrun(*TYPED, "parallel=ddp", "ui=plain")
    assert done.returncode == 0, done.stderr
    (run,) = Path("runs").glob("*_tiny")
    assert small.summary(run)["status"] == "done"
    decisions = json.loads((run / "decisions.json").read_text())
    assert decisions["processes"] == {"value": 2, "reason": "as torchrun started them"}
    assert done.stderr.count("what will run, and why") == 1


def test_torchrun_without_ddp_is_refused(here):
    done = torchrun(*TYPED)
    assert done.returncode != 0 and "torchrun has started 2 processes, but parallel=none" in done.stderr
    assert not Path("runs").exists()
