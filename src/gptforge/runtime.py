"""The machine: what is found on it, what is chosen from that and why, and putting the choice into effect.

`choose` is a pure function of a Machine record; everything it decides can be set in `runtime.*`.
"""

import contextlib
import ctypes
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gptforge.compiling import obstacle
from gptforge.config import RuntimeConfig
from gptforge.errors import ConfigError, ResourceError
from gptforge.hardware import physical_cores

NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found: devices, cores, memory in bytes, and which number formats the hardware multiplies."""

    devices: tuple[str, ...]  # best first, always with cpu
    cpu_bf16: str  # the instructions with which the CPU multiplies bfloat16, as torch names them; empty: none
    cuda_capability: tuple[int, int] | None
    cores: int
    memory: int  # bytes of main memory that are free
    name: str
    cuda_memory: int = 0  # bytes of the GPU's that are free
    libc: str = "glibc"  # empty where it cannot be told
    mps_bf16: bool = False  # whether macOS knows the format: since 14
    obstacles: Mapping[str, str] = field(default_factory=dict)  # device -> why torch.compile cannot work for it
    cpu_vendor: str = ""  # as the CPU names its maker, such as GenuineIntel; empty where it cannot be told
    processes: int = 1  # of this run on the machine; they share cores and main memory, and each has its own GPU

    def memory_of(self, device: str) -> int:
        """Bytes that a device can give a process, roughly; what is called mps shares the main memory."""
        return self.cuda_memory if device == "cuda" else self.memory // self.processes


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that was decided, and why."""

    value: str | int | float | bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a run computes with."""

    device: Choice
    dtype: Choice
    compile: Choice  # its value is None where only the length of a run can decide
    threads: Choice
    allocator: Choice = Choice(False, "left alone")
    tf32: Choice = Choice(None, "only CUDA has it")

    @property
    def torch_device(self) -> torch.device:
        return torch.device(str(self.device.value))

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[str(self.dtype.value)]


def probe(processes: int = 1) -> Machine:
    """Looks at the machine, for a run that has so many processes on it."""
    devices = ["cpu"]
    capability = None
    if torch.backends.mps.is_available() and processes == 1:  # gloo and NCCL do not know it
        devices.insert(0, "mps")
    if torch.cuda.is_available():
        devices.insert(0, "cuda")
        capability = torch.cuda.get_device_capability()
    return Machine(
        devices=tuple(devices),
        cpu_bf16=bf16_instructions(),
        cuda_capability=capability,
        cores=physical_cores(),
        memory=available_memory(),
        name=torch.cuda.get_device_name() if capability else cpu_name(),
        cuda_memory=torch.cuda.mem_get_info()[0] if capability else 0,
        libc=platform.libc_ver()[0] if sys.platform.startswith("linux") else "",
        mps_bf16="mps" in devices and int(platform.mac_ver()[0].partition(".")[0]) >= 14,
        cpu_vendor=cpu_vendor(),
        obstacles={device: found for device in devices if (found := obstacle(device, capability))},
        processes=processes,
    )


def choose(cfg: RuntimeConfig, machine: Machine) -> Runtime:
    """The runtime for a machine, which `machine.processes` like this one share.

    Raises ConfigError when the config asks for what is not there.
    """
    if cfg.device:
        device = Choice(cfg.device, "asked for")
    else:
        device = Choice(machine.devices[0], "the best found" if len(machine.devices) > 1 else "no GPU found")
    where = str(device.value)
    _refuse_what_cannot_be(cfg, machine, where)
    dtype = Choice(cfg.dtype, "asked for") if cfg.dtype else _dtype(where, machine)
    return Runtime(
        device,
        dtype,
        Choice(cfg.compile, "asked for") if cfg.compile is not None else _compile(where, machine),
        Choice(cfg.threads, "asked for") if cfg.threads else _threads(machine),
        _allocator(cfg.allocator, machine.libc),
        Choice(cfg.tf32, "asked for") if cfg.tf32 is not None else _tf32(where, str(dtype.value), machine),
    )


def _refuse_what_cannot_be(cfg: RuntimeConfig, machine: Machine, device: str) -> None:
    def refuse(key: str, value: object, why: str, fix: str) -> None:
        raise ConfigError(f"runtime.{key}={value}: {why}", where=f"runtime.{key}", fix=fix)

    if device not in machine.devices:
        best = f"runtime.device={machine.devices[0]}, or leave it out; gptforge doctor says what is missing"
        refuse("device", device, f"this machine has {', '.join(machine.devices)}", best)
    if cfg.compile and device in machine.obstacles:
        refuse("compile", "true", machine.obstacles[device], "runtime.compile=false, or leave it out")
    if cfg.tf32 and not _has_tensor_cores(device, machine):
        refuse("tf32", "true", f"only CUDA GPUs of capability 8.0 have it, not {device} here", "leave it out")
    if cfg.dtype == "bfloat16" and device == "mps" and not machine.mps_bf16:
        refuse("dtype", "bfloat16", "MPS knows it since macOS 14", "runtime.dtype=float32, or leave it out")


def _has_tensor_cores(device: str, machine: Machine) -> bool:
    """Whether products of bfloat16 and TF32 have units of their own: NVIDIA's GPUs since Ampere."""
    return device == "cuda" and machine.cuda_capability is not None and machine.cuda_capability >= (8, 0)


def _dtype(device: str, machine: Machine) -> Choice:
    if device == "cuda":
        if _has_tensor_cores(device, machine):
            return Choice("bfloat16", "autocast; the GPU multiplies it natively")
        return Choice("float32", "the GPU is older than bfloat16, and float16 is not offered: it needs scaled losses")
    if device == "cpu":
        return _cpu_dtype(machine)
    if machine.mps_bf16:  # M1 and M2 emulate it, and torch does not say which chip it is
        return Choice("float32", "the safe choice on MPS; on an M3 or later try runtime.dtype=bfloat16")
    return Choice("float32", "MPS has no bfloat16 before macOS 14")


def _cpu_dtype(machine: Machine) -> Choice:
    """AMD's avx512_bf16 multiplies twice as fast as float32, Intel's half as fast: there AMX is what makes it fast.

    Measured on a Zen 4 (426 against 196 GFLOP/s) and on a Sapphire Rapids whose AMX is hidden (168 against 330), as
    virtual machines often have it.
    """
    if not machine.cpu_bf16:
        return Choice("float32", "the CPU has no bfloat16 instructions")
    if machine.cpu_bf16 == "avx512_bf16" and machine.cpu_vendor == "GenuineIntel":
        return Choice("float32", "without AMX this CPU multiplies bfloat16 half as fast")
    return Choice("bfloat16", "autocast; the CPU multiplies it natively")


def _compile(device: str, machine: Machine) -> Choice:
    if device in machine.obstacles:
        return Choice(False, machine.obstacles[device])
    return Choice(None, "where the run is long enough to repay it")


def _threads(machine: Machine) -> Choice:
    cores, processes = machine.cores, machine.processes
    if processes == 1:
        return Choice(cores, "one a physical core")
    return Choice(max(1, cores // processes), f"{cores} physical cores for {processes} processes")


def _allocator(asked: bool | None, libc: str) -> Choice:
    if asked is False:
        return Choice(False, "asked for")
    if libc == "glibc":
        return Choice(True, "asked for" if asked else "glibc: large freed blocks are kept")
    return Choice(False, "not glibc: nothing to tune")


def _tf32(device: str, dtype: str, machine: Machine) -> Choice:
    if device != "cuda":
        return Choice(None, "only CUDA has it")
    if not _has_tensor_cores(device, machine):
        return Choice(False, "the GPU is older than TF32")
    if dtype == "float32":
        return Choice(False, "float32 was asked for; TF32 has 10 bits in place of 23")
    return Choice(True, "for the products that autocast leaves in float32")


def apply(runtime: Runtime, deterministic: bool) -> None:
    """Puts a runtime into effect for this process. Call it before the first large tensor."""
    if runtime.allocator.value:
        tune_allocator()
    torch.set_num_threads(int(runtime.threads.value or 1))
    if runtime.tf32.value is not None:
        torch.set_float32_matmul_precision("high" if runtime.tf32.value else "highest")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)


def tune_allocator() -> None:
    """Lets glibc keep large freed blocks instead of returning them to the kernel.

    Otherwise each step faults all its activations in anew, which costs more than half of a step
    on a CPU (docs/walk.md, "The machine"). Elsewhere than glibc this does nothing.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 2**31 - 1)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 64 * 2**20)


def autocast(runtime: Runtime) -> torch.autocast:
    """The context for forward passes: matrix products in the runtime's dtype, the rest as it is."""
    return torch.autocast(
        str(runtime.device.value), dtype=runtime.torch_dtype, enabled=runtime.dtype.value != "float32"
    )


def measured_peak(runtime: Runtime, seconds: float = 0.2) -> float:
    """FLOP/s of this machine's matrix product in the runtime's dtype, the best of several."""
    size = 4096 if runtime.device.value == "cuda" else 1024
    a = torch.ones(size, size, device=runtime.torch_device, dtype=runtime.torch_dtype)
    product = torch.empty_like(a)
    best = float("inf")
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        synchronize(runtime.torch_device)
        before = time.perf_counter()
        torch.mm(a, a, out=product)
        synchronize(runtime.torch_device)
        best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best


def synchronize(device: torch.device) -> None:
    """Waits for the device's queue; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int:
    """The most bytes this process held: on the GPU if there is one, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cpu_name() -> str:
    """What the CPU calls itself."""
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "CPU"


def cpu_vendor() -> str:
    """The CPU's maker by the name that it gives itself: GenuineIntel, AuthenticAMD; empty where it cannot be told."""
    return platform.processor().rpartition(", ")[2] if sys.platform == "win32" else _cpuinfo("vendor_id")


def cpu_features() -> str:
    """The names of the CPU's instructions, or its own name where the system does not tell them."""
    return _cpuinfo("flags") or _cpuinfo("Features") or cpu_name()


def _cpuinfo(field: str) -> str:
    """What Linux tells of the first CPU; empty where it does not."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        return next(line.partition(":")[2].strip() for line in f if line.startswith(field))
    return ""


def bf16_instructions() -> str:
    """The fastest instructions with which the CPU multiplies bfloat16; empty: there are none."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch, which cannot tell
        return ""
    capabilities = torch.cpu.get_capabilities()
    return next((name for name in ("amx_bf16", "avx512_bf16", "bf16") if capabilities.get(name)), "")


def available_memory() -> int:
    """Bytes of main memory that are free for use, the container's limit included."""
    free = 8 * 10**9  # where nothing can be read, an ordinary laptop's share
    with contextlib.suppress(OSError, StopIteration, ValueError), open("/proc/meminfo", encoding="ascii") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) * 1024
    with contextlib.suppress(OSError, ValueError):
        limit, used = (Path("/sys/fs/cgroup", name).read_text("ascii") for name in ("memory.max", "memory.current"))
        free = min(free, int(limit) - int(used))
    return free


@contextlib.contextmanager
def out_of_memory_as_error(*fixes: str) -> Iterator[None]:
    """Turns the out-of-memory errors of torch and its devices into one that says what to type."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        said = isinstance(e, MemoryError | torch.OutOfMemoryError) or NO_MEMORY.search(str(e))
        if not said:
            raise
        raise ResourceError(
            "there is not enough memory", fix=[*fixes, "gptforge info tells what a config needs"]
        ) from e
