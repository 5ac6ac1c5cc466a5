"""C code for this machine: compiled once by its own compiler, kept in the cache, loaded.

Knows compilers and files; not what the code computes. What cannot be compiled here is said in a
NativeError, and whoever asked goes on without: nothing in gptforge needs a C compiler.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from gptforge.assets import cache_dir
from gptforge.runtime import cpu_features

# Sums may be taken in the order that vector instructions have; everything else is as C has it. (-ffast-math would,
# linked with some versions of gcc, switch the whole process to arithmetic without the smallest numbers.)
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")
LINKING = ("-fopenmp", "-shared", "-fPIC")
WIDE = "-mprefer-vector-width=512"  # where a CPU has such registers; gcc takes half of their width by itself
SECONDS = 60  # that a compiler may take; it takes one
SHOWN = 160  # characters of a compiler's message


class NativeError(Exception):
    """C code cannot be compiled or loaded here; the message says why, and what would help."""


@cache
def library(source: Path) -> ctypes.CDLL:
    """The compiled C file, from the cache if this machine has compiled it before. Raises NativeError."""
    command = compiler()
    if platform.machine() in ("x86_64", "AMD64"):
        command.append(WIDE)
    path = cache_dir() / "native" / f"{source.stem}-{_key(source, command)}.so"
    try:
        if not path.exists():
            _compile(command, source, path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path.parent}: {error.strerror or error}") from error


def compiler() -> list[str]:
    """The command that compiles C here: CC, or the first compiler on the PATH. Raises NativeError."""
    if sys.platform == "win32":
        raise NativeError("the C code is not made for Windows")
    own = shlex.split(os.environ.get("CC", ""))
    found = next((path for name in own[:1] or ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise NativeError(f"CC={own[0]} is not there" if own else "no C compiler: install gcc, or set CC")
    return [found, *own[1:], *FLAGS, *LINKING]


def _key(source: Path, command: list[str]) -> str:
    """Names a result by all that it depends on: -march=native makes code that other CPUs may not understand."""
    try:
        version = subprocess.run([command[0], "--version"], capture_output=True, timeout=SECONDS).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError(f"{command[0]} does not start: {error}") from error
    parts = (
        source.read_bytes(),
        " ".join(command).encode(),
        version,
        platform.machine().encode(),
        cpu_features().encode(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _compile(command: list[str], source: Path, path: Path) -> None:
    """Into a file of its own first, so that no other process ever loads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)
        try:
            subprocess.run(
                [*command, str(source), "-o", str(made), "-lm"], check=True, capture_output=True, timeout=SECONDS
            )
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").splitlines() or [f"exit code {error.returncode}"]
            said = next((line for line in lines if "error" in line), lines[0]).strip()
            raise NativeError(f"{command[0]}: {said[:SHOWN]}") from error
        except subprocess.SubprocessError as error:
            raise NativeError(f"{command[0]}: {error}"[:SHOWN]) from error
        os.replace(made, path)
