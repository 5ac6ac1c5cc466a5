"""What this machine has, and what is missing: one check a line, each with what to do.

Nothing here raises: a check that fails is a warning with its reason. Knows no config and no run.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gptforge import __version__
from gptforge.config import RuntimeConfig
from gptforge.config.units import shown_bytes

LEAST_MEMORY = 2 * 10**9
LEAST_DISK = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report; `advice` says what to do when it is not ok."""

    name: str
    ok: bool
    value: str
    advice: str = ""


Finding = tuple[str, str]  # the value, and what to do about it ("": nothing)


def checks() -> list[Check]:
    """Everything there is to say about this machine, in the order in which it matters."""
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("gptforge", lambda: (__version__, "")),
        ("host", _host),
        ("cpu", _cpu),
        ("memory", _memory),
        ("python", _python),
        ("torch", _torch),
        ("hydra", lambda: (_versions("hydra-core", "omegaconf"), "")),
        ("device", _device),
        ("bfloat16", _bfloat16),
        ("compiler", _compiler),
        ("C compiler", _c_compiler),
        ("disk here", lambda: _disk(Path.cwd(), "start gptforge in a folder on a larger disk")),
        ("disk cache", lambda: _disk(_cache(), "GPTFORGE_CACHE=PATH on a larger disk")),
        ("cache", lambda: _writable(_cache(), "GPTFORGE_CACHE=PATH that you may write to")),
        ("temporary", lambda: _writable(Path(tempfile.gettempdir()), "TMPDIR=PATH that you may write to")),
        ("terminal", _terminal),
    ]
    return [_checked(name, look) for name, look in looks]


def _checked(name: str, look: Callable[[], Finding]) -> Check:
    try:
        value, advice = look()
    except Exception as error:
        return Check(name, False, "cannot be told", f"{type(error).__name__}: {error}")
    return Check(name, not advice, value, advice)


def _host() -> Finding:
    return f"{platform.system()} {platform.release()}, {platform.machine()}", ""


def _cpu() -> Finding:
    from gptforge.hardware import physical_cores
    from gptforge.runtime import cpu_name

    return f"{cpu_name()}, {physical_cores()} cores to use, {os.cpu_count()} logical", ""


def _memory() -> Finding:
    from gptforge.runtime import available_memory

    free = available_memory()
    # os.sysconf and these names are missing on Windows; that is then said in place of the value.
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    advice = "close other programs, or train a smaller model: model=tiny" if free < LEAST_MEMORY else ""
    return f"{shown_bytes(total)}, {shown_bytes(free)} available", advice


def _python() -> Finding:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    return f"{platform.python_version()}, {sys.executable}", "" if supported else "use Python 3.11, 3.12 or 3.13"


def _torch() -> Finding:
    import torch

    if torch.version.cuda:
        build = f"CUDA {torch.version.cuda} build"
    elif torch.version.hip:
        build = f"ROCm {torch.version.hip} build"
    else:
        build = "CPU build" if sys.platform != "darwin" else "macOS build"
    old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10)
    return f"{torch.__version__}, {build}", "pip install 'torch>=2.10'" if old else ""


def _versions(*packages: str) -> str:
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def _device() -> Finding:
    import torch

    from gptforge.runtime import choose, probe

    machine = probe()
    chosen = choose(RuntimeConfig(), machine).device
    value = f"{chosen.value} ({chosen.reason})"
    if chosen.value == "cuda":
        value += f": {torch.cuda.get_device_name()}, {shown_bytes(machine.cuda_memory)} free"
    if chosen.value == "cpu" and shutil.which("nvidia-smi"):
        return value, "there seems to be an NVIDIA GPU: install torch's CUDA build, or a driver that it can use"
    return value, ""


def _bfloat16() -> Finding:
    from gptforge.runtime import choose, probe

    dtype = choose(RuntimeConfig(), probe()).dtype
    return ("yes" if dtype.value == "bfloat16" else "no") + f" ({dtype.reason})", ""


def _compiler() -> Finding:
    from gptforge.compiling import c_compiler
    from gptforge.runtime import choose, probe

    machine = probe()
    device = str(choose(RuntimeConfig(), machine).device.value)
    if device in machine.obstacles:
        return f"torch.compile does not work on {device}", machine.obstacles[device] if device != "mps" else ""
    return f"torch.compile works on {device}, with {c_compiler(device)}", ""


def _c_compiler() -> Finding:
    from gptforge.native import NativeError, compiler

    try:
        return f"{compiler()[0]}, for sampling on a CPU", ""
    except NativeError as error:
        return f"none ({error})", "install gcc, or set CC: texts are written on a CPU up to three times as fast with it"


def _cache() -> Path:
    from gptforge.assets import cache_dir

    return cache_dir()


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _disk(path: Path, advice: str) -> Finding:
    free = shutil.disk_usage(_existing(path)).free
    return f"{shown_bytes(free)} free, {path}", f"make room, or {advice}" if free < LEAST_DISK else ""


def _writable(path: Path, advice: str) -> Finding:
    folder = _existing(path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"{path}: {error.strerror or error}", advice
    return f"{path}, writable" + ("" if folder == path else " (not there yet)"), ""


def _terminal() -> Finding:
    from gptforge.logs.screen import BARS, encoding_of, fit

    encoding = encoding_of(sys.stderr)
    advice = "" if fit(BARS, encoding) == BARS else "for bars instead of # signs: LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    width = shutil.get_terminal_size((0, 0)).columns
    return f"{encoding}, {f'{width} columns' if width else 'no window'}", advice
