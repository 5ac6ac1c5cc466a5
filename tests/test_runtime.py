"""What is chosen for a machine is a table; looking at this machine never fails."""

import os
import sys
from dataclasses import replace

import pytest
import torch

from gptforge import runtime
from gptforge.config import RuntimeConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, ResourceError
from gptforge.runtime import Choice, Machine, Runtime, choose

NO_CXX = "torch.compile needs a C++ compiler: install g++, or set CXX"
PLAIN = Machine(("cpu",), "", None, 4, 8 * 10**9, "a CPU")
EPYC = replace(PLAIN, cpu_bf16="avx512_bf16", cpu_vendor="AuthenticAMD", cores=64, name="EPYC, avx512_bf16")
XEON = replace(PLAIN, cpu_bf16="amx_bf16", cpu_vendor="GenuineIntel", cores=32, name="Xeon, amx_bf16")
NO_AMX = replace(XEON, cpu_bf16="avx512_bf16", name="Xeon in a virtual machine that hides AMX")
GRAVITON = replace(PLAIN, cpu_bf16="bf16", cores=16, name="Graviton3, bf16")
BARE = replace(PLAIN, obstacles={"cpu": NO_CXX})
MUSL = replace(PLAIN, libc="musl")
WINDOWS = replace(PLAIN, libc="", obstacles={"cpu": "torch.compile needs a C++ compiler: start from the prompt (cl)"})
NOT_ON_MPS = {"mps": "compiling is not supported on MPS"}
APPLE = replace(PLAIN, devices=("mps", "cpu"), cores=8, libc="", mps_bf16=True, obstacles=NOT_ON_MPS)
OLD_APPLE = replace(APPLE, mps_bf16=False)
V100 = replace(PLAIN, devices=("cuda", "cpu"), cuda_capability=(7, 0), name="V100")
A100 = replace(V100, cuda_capability=(8, 0), name="A100")
RTX4090 = replace(V100, cuda_capability=(8, 9), name="RTX 4090")
H100 = replace(V100, cuda_capability=(9, 0), name="H100")
B200 = replace(V100, cuda_capability=(10, 0), name="B200")
RTX5090 = replace(V100, cuda_capability=(12, 0), name="RTX 5090")
NO_TRITON = replace(A100, obstacles={"cuda": "torch.compile needs triton: pip install triton"})
PASCAL = replace(V100, cuda_capability=(6, 1), obstacles={"cuda": "torch.compile needs a GPU of capability 7.0"})

NAMES = ("device", "dtype", "compile", "threads", "allocator", "tf32")
TABLE = [
    # machine, asked for, device, dtype, compile (None: by the length of the run), threads, allocator, tf32,
    # what the reasons say, each of one choice
    (PLAIN, {}, ("cpu", "float32", None, 4, True, None), {"dtype": "no bfloat16 instructions", "allocator": "glibc"}),
    (EPYC, {}, ("cpu", "bfloat16", None, 64, True, None), {"dtype": "CPU multiplies it", "threads": "physical core"}),
    (XEON, {}, ("cpu", "bfloat16", None, 32, True, None), {"dtype": "autocast", "compile": "long enough"}),
    (NO_AMX, {}, ("cpu", "float32", None, 32, True, None), {"dtype": "half as fast"}),
    (NO_AMX, {"dtype": "bfloat16"}, ("cpu", "bfloat16", None, 32, True, None), {"dtype": "asked for"}),
    (GRAVITON, {}, ("cpu", "bfloat16", None, 16, True, None), {"device": "no GPU found", "tf32": "only CUDA"}),
    (BARE, {}, ("cpu", "float32", False, 4, True, None), {"compile": "install g++"}),
    (MUSL, {}, ("cpu", "float32", None, 4, False, None), {"allocator": "not glibc"}),
    (WINDOWS, {}, ("cpu", "float32", False, 4, False, None), {"compile": "(cl)", "allocator": "not glibc"}),
    (APPLE, {}, ("mps", "float32", False, 8, False, None), {"compile": "not supported on MPS", "dtype": "M3 or later"}),
    (OLD_APPLE, {}, ("mps", "float32", False, 8, False, None), {"dtype": "before macOS 14", "device": "the best"}),
    (V100, {}, ("cuda", "float32", None, 4, True, False), {"dtype": "float16 is not offered", "tf32": "older"}),
    (A100, {}, ("cuda", "bfloat16", None, 4, True, True), {"dtype": "GPU multiplies it", "tf32": "autocast leaves"}),
    (RTX4090, {}, ("cuda", "bfloat16", None, 4, True, True), {"compile": "long enough"}),
    (H100, {}, ("cuda", "bfloat16", None, 4, True, True), {"device": "the best found"}),
    (B200, {}, ("cuda", "bfloat16", None, 4, True, True), {"dtype": "natively"}),
    (RTX5090, {}, ("cuda", "bfloat16", None, 4, True, True), {"dtype": "natively"}),
    (NO_TRITON, {}, ("cuda", "bfloat16", False, 4, True, True), {"compile": "needs triton"}),
    (PASCAL, {}, ("cuda", "float32", False, 4, True, False), {"compile": "capability 7.0"}),
    # asked for
    (A100, {"device": "cpu"}, ("cpu", "float32", None, 4, True, None), {"device": "asked for"}),
    (
        replace(A100, cpu_bf16="amx_bf16"),
        {"device": "cpu"},
        ("cpu", "bfloat16", None, 4, True, None),
        {"dtype": "autocast"},
    ),
    (NO_TRITON, {"device": "cpu"}, ("cpu", "float32", None, 4, True, None), {"compile": "long enough"}),
    (APPLE, {"device": "cpu"}, ("cpu", "float32", None, 8, False, None), {"device": "asked for"}),
    (APPLE, {"dtype": "bfloat16"}, ("mps", "bfloat16", False, 8, False, None), {"dtype": "asked for"}),
    (EPYC, {"dtype": "float32"}, ("cpu", "float32", None, 64, True, None), {"dtype": "asked for"}),
    (PLAIN, {"dtype": "bfloat16"}, ("cpu", "bfloat16", None, 4, True, None), {"dtype": "asked for"}),
    (V100, {"dtype": "bfloat16"}, ("cuda", "bfloat16", None, 4, True, False), {"dtype": "asked for"}),
    (H100, {"dtype": "float32"}, ("cuda", "float32", None, 4, True, False), {"tf32": "10 bits in place of 23"}),
    (H100, {"dtype": "float32", "tf32": True}, ("cuda", "float32", None, 4, True, True), {"tf32": "asked for"}),
    (H100, {"tf32": False}, ("cuda", "bfloat16", None, 4, True, False), {"tf32": "asked for"}),
    (A100, {"compile": False}, ("cuda", "bfloat16", False, 4, True, True), {"compile": "asked for"}),
    (PLAIN, {"compile": True, "threads": 2}, ("cpu", "float32", True, 2, True, None), {"compile": "asked for"}),
    (PLAIN, {"allocator": False}, ("cpu", "float32", None, 4, False, None), {"allocator": "asked for"}),
    (MUSL, {"allocator": True}, ("cpu", "float32", None, 4, False, None), {"allocator": "nothing to tune"}),
]


@pytest.mark.parametrize(("machine", "asked", "wanted", "reasons"), TABLE)
def test_what_is_chosen(machine, asked, wanted, reasons):
    found = choose(build(RuntimeConfig, asked), machine)
    choices = {name: getattr(found, name) for name in NAMES}
    assert tuple(choice.value for choice in choices.values()) == wanted
    for name, choice in choices.items():
        assert choice.reason
        assert choice.reason != "asked for" or name in asked
    for name, said in reasons.items():
        assert said in choices[name].reason
    assert found.torch_device == torch.device(wanted[0])
    assert found.torch_dtype == getattr(torch, wanted[1])


@pytest.mark.parametrize(("cores", "processes", "each"), [(8, 2, 4), (7, 2, 3), (2, 4, 1), (1, 1, 1)])
def test_processes_divide_the_cores(cores, processes, each):
    threads = choose(build(RuntimeConfig, {}), replace(PLAIN, cores=cores, processes=processes)).threads
    assert threads.value == each
    assert (f"for {processes} processes" in threads.reason) == (processes > 1)


@pytest.mark.parametrize(
    ("machine", "asked", "said"),
    [
        (BARE, {"compile": True}, "runtime.compile=true: torch.compile needs a C\\+\\+ compiler"),
        (NO_TRITON, {"compile": True}, "needs triton"),
        (APPLE, {"compile": True}, "not supported on MPS"),
        (PLAIN, {"tf32": True}, "runtime.tf32=true: only CUDA GPUs of capability 8.0"),
        (V100, {"tf32": True}, "not cuda here"),
        (OLD_APPLE, {"dtype": "bfloat16"}, "since macOS 14"),
    ],
)
def test_what_cannot_be_is_refused(machine, asked, said):
    with pytest.raises(ConfigError, match=said) as caught:
        choose(build(RuntimeConfig, asked), machine)
    assert caught.value.fixes


@pytest.mark.parametrize(("machine", "device"), [(PLAIN, "cuda"), (PLAIN, "mps"), (A100, "mps"), (APPLE, "cuda")])
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
    assert runtime.bf16_instructions() in ("", *(name for name in names if held[name]))
    for name in names:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {n: n == name for n in held})
        assert runtime.bf16_instructions() == name
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(held, True))
    assert runtime.bf16_instructions() == names[-1]  # AMX before AVX
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {n: n not in names for n in held})
    assert not runtime.bf16_instructions()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not runtime.bf16_instructions()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not runtime.bf16_instructions()


def test_memory_where_the_system_does_not_say(monkeypatch):
    def closed(*arguments, **options):
        raise OSError

    monkeypatch.setattr(runtime, "open", closed, raising=False)
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
