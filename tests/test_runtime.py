"""What is chosen for a machine is a table; looking at this machine never fails."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from gptforge import runtime
from gptforge.config import RuntimeConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, ResourceError
from gptforge.runtime import Choice, Machine, Runtime, choose

PLAIN = Machine(("cpu",), False, None, 4, 8 * 10**9, "a CPU")
BF16 = replace(PLAIN, cpu_bf16=True)
OLD = replace(PLAIN, devices=("cuda", "cpu"), cuda_capability=(7, 5), can_compile=True)
NEW = replace(PLAIN, devices=("cuda", "cpu"), cuda_capability=(8, 0), can_compile=True)
HOPPER = replace(NEW, cuda_capability=(9, 0))
APPLE = replace(PLAIN, devices=("mps", "cpu"), cores=8)

TABLE = [
    # machine, asked for, device, dtype, compile, threads
    (PLAIN, {}, "cpu", "float32", False, 4),
    (BF16, {}, "cpu", "bfloat16", False, 4),
    (OLD, {}, "cuda", "float32", True, 4),
    (NEW, {}, "cuda", "bfloat16", True, 4),
    (HOPPER, {}, "cuda", "bfloat16", True, 4),
    (replace(NEW, can_compile=False), {}, "cuda", "bfloat16", False, 4),
    (APPLE, {}, "mps", "float32", False, 8),
    (NEW, {"device": "cpu"}, "cpu", "float32", False, 4),
    (replace(NEW, cpu_bf16=True), {"device": "cpu"}, "cpu", "bfloat16", False, 4),
    (APPLE, {"device": "cpu"}, "cpu", "float32", False, 8),
    (BF16, {"dtype": "float32"}, "cpu", "float32", False, 4),
    (PLAIN, {"dtype": "bfloat16"}, "cpu", "bfloat16", False, 4),
    (OLD, {"dtype": "bfloat16"}, "cuda", "bfloat16", True, 4),
    (NEW, {"compile": False}, "cuda", "bfloat16", False, 4),
    (PLAIN, {"compile": True, "threads": 2}, "cpu", "float32", True, 2),
]


@pytest.mark.parametrize(("machine", "asked", "device", "dtype", "compiled", "threads"), TABLE)
def test_what_is_chosen(machine, asked, device, dtype, compiled, threads):
    found = choose(build(RuntimeConfig, asked), machine)
    chosen = {"device": found.device, "dtype": found.dtype, "compile": found.compile, "threads": found.threads}
    wanted = {"device": device, "dtype": dtype, "compile": compiled, "threads": threads}
    assert {name: choice.value for name, choice in chosen.items()} == wanted
    for name, choice in chosen.items():
        assert choice.reason
        assert (choice.reason == "asked for") == (name in asked)
    assert found.torch_device == torch.device(device)
    assert found.torch_dtype == getattr(torch, dtype)


@pytest.mark.parametrize(("machine", "device"), [(PLAIN, "cuda"), (PLAIN, "mps"), (NEW, "mps"), (APPLE, "cuda")])
def test_a_device_that_is_not_there(machine, device):
    with pytest.raises(ConfigError, match=f"runtime.device={device}: this machine has") as caught:
        choose(build(RuntimeConfig, {"device": device}), machine)
    assert f"runtime.device={machine.devices[0]}" in str(caught.value)


# This machine ------------------------------------------------------------------------------------------------


def test_what_is_found_here():
    machine = runtime.probe()
    assert machine.devices[-1] == "cpu"
    assert ("cuda" in machine.devices) == torch.cuda.is_available() == (machine.cuda_capability is not None)
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory > 10**7
    assert choose(build(RuntimeConfig, {}), machine).device.value == machine.devices[0]


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="this torch cannot tell")
def test_bf16_is_looked_for_under_the_names_that_torch_has(monkeypatch):
    held = dict(torch.cpu.get_capabilities())
    names = {"x86_64": ("avx512_bf16", "amx_bf16"), "arm64": ("bf16",)}[
        held["architecture"].replace("aarch64", "arm64")
    ]
    assert all(name in held for name in names)
    assert runtime.cpu_has_bf16() == any(held[name] for name in names)
    for name in names:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {n: n == name for n in held})
        assert runtime.cpu_has_bf16()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {n: n not in names for n in held})
    assert not runtime.cpu_has_bf16()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not runtime.cpu_has_bf16()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not runtime.cpu_has_bf16()


def test_cores_are_those_this_process_may_use():
    assert runtime.physical_cores() >= 1
    if hasattr(os, "sched_setaffinity"):
        code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        code += "from gptforge.runtime import physical_cores\nprint(physical_cores())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "1"


def test_cores_where_the_system_does_not_say(monkeypatch):
    def closed(*arguments, **options):
        raise OSError

    monkeypatch.setattr(runtime, "open", closed, raising=False)
    assert runtime.physical_cores() >= 1
    assert runtime.available_memory() == 8 * 10**9


def test_tuning_the_allocator_changes_no_result(monkeypatch):
    before = (torch.ones(1000, 1000) @ torch.ones(1000, 1000)).sum()
    runtime.tune_allocator()
    runtime.tune_allocator()
    assert (torch.ones(1000, 1000) @ torch.ones(1000, 1000)).sum() == before
    for system in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        runtime.tune_allocator()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(runtime.platform, "libc_ver", lambda: ("musl", "1"))
    runtime.tune_allocator()


def made(dtype: str) -> Runtime:
    return Runtime(Choice("cpu", ""), Choice(dtype, ""), Choice(False, ""), Choice(1, ""))


def test_autocast_is_on_for_bfloat16_only():
    a = torch.ones(4, 4)
    with runtime.autocast(made("bfloat16")):
        assert (a @ a).dtype == torch.bfloat16
    with runtime.autocast(made("float32")):
        assert (a @ a).dtype == torch.float32


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        runtime.apply(made("float32"), deterministic=False)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_measured_peak_is_a_speed():
    assert 1e8 < runtime.measured_peak(made("float32"), seconds=0.05) < 1e15


def test_peak_memory_is_this_process():
    assert 10**7 < runtime.peak_memory(torch.device("cpu")) < 10**12


@pytest.mark.parametrize("allocate", ["cpu", "accelerator"])
def test_too_little_memory_says_what_to_type(allocate):
    with (
        pytest.raises(ResourceError, match="not enough memory") as caught,
        runtime.out_of_memory_as_error("train.micro_batch_size=4"),
    ):
        if allocate == "cpu":
            torch.empty(2**55)
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "train.micro_batch_size=4" in str(caught.value)


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), runtime.out_of_memory_as_error():
        raise RuntimeError("shapes")
