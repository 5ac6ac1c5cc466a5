"""torch.compile as a service: whether this machine can, where compiled code is kept, what to do when it fails.

Knows torch's compiler and its tools; not what is compiled. A compiler that fails is never the end
of a run: what it was to make faster also runs without it.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from gptforge.assets import cache_dir

P = ParamSpec("P")
T = TypeVar("T")

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # triton's cache is a folder in it, unless TRITON_CACHE_DIR is set
LEAST_CAPABILITY = (7, 0)  # of a GPU that triton compiles for
SHOWN = 200  # characters of a reason


def use_cache() -> Path:
    """Has torch keep what it compiles in gptforge's cache, where a second start finds it; returns the folder.

    torch's own default is a temporary folder, which a restart empties. A folder that the user has set
    stays. Call it before anything is compiled. Compiled code is found by its source, torch's version
    and the CPU, so that nothing stale is ever taken from it.
    """
    return Path(os.environ.setdefault(CACHE_VARIABLE, str(cache_dir() / "compiled")))


def obstacle(device: str, capability: tuple[int, int] | None) -> str | None:
    """Why torch.compile cannot work here, in a few words with what to do; None when nothing is in its way.

    `device` is cpu, cuda or mps; `capability` is the GPU's. Looks for what torch looks for, in
    torch/_inductor/cpp_builder.py for a CPU and in triton/runtime/build.py for CUDA, without
    importing either.
    """
    if device == "mps":
        return "compiling is not supported on MPS"
    if device == "cuda":
        if capability is None or capability < LEAST_CAPABILITY:
            found = "unknown" if capability is None else "{}.{}".format(*capability)
            return f"torch.compile needs a GPU of capability 7.0 or later, this one's is {found}"
        if importlib.util.find_spec("triton") is None:
            return "torch.compile needs triton: pip install triton"
    if c_compiler(device) is None:
        wanted = "a C compiler: install gcc, or set CC" if device == "cuda" else f"a C++ compiler: {_install()}"
        return f"torch.compile needs {wanted}"
    if not has_python_headers():
        return "torch.compile needs Python.h: install Python's development files (python3-dev)"
    return None


def c_compiler(device: str) -> str | None:
    """The path of the compiler that torch would call to compile for a device; None if it is not there."""
    if device == "cuda":
        wanted = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    else:
        wanted = [os.environ.get("CXX") or {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")]
    return next((path for name in wanted if (path := shutil.which(name))), None)


def _install() -> str:
    if sys.platform == "win32":
        return "start from the Visual Studio developer prompt (cl), or set CXX"
    return "xcode-select --install" if sys.platform == "darwin" else "install g++, or set CXX"


def has_python_headers() -> bool:
    """Whether Python.h is where torch looks for it: compiled functions are called through Python's C interface."""
    scheme = "nt" if sys.platform == "win32" else "posix_prefix"
    folders = [sysconfig.get_path("include"), sysconfig.get_path("include", scheme=scheme)]
    if sys.platform == "darwin":  # a framework keeps them beside its library
        folders.append(str(Path(sysconfig.get_path("stdlib")).parent.parent / "Headers"))
    return any(Path(folder, "Python.h").exists() for folder in folders if folder)


def failed(error: BaseException) -> bool:
    """Whether an exception says that compiling failed: neither an error in what was to be computed, nor no memory."""
    from torch._dynamo import exc as dynamo
    from torch._inductor import exc as inductor

    chain = list(_causes(error))
    if any(isinstance(e, MemoryError | torch.OutOfMemoryError) for e in chain):
        return False
    # What the computation itself does wrong, met while it was traced: without the compiler it says so better
    if any(isinstance(e, dynamo.TorchRuntimeError | dynamo.UserError | dynamo.ObservedException) for e in chain):
        return False
    compiler = (
        dynamo.TorchDynamoException,
        inductor.CppCompileError,
        inductor.InvalidCxxCompiler,
        inductor.OperatorIssue,
        inductor.SubgraphLoweringException,
        subprocess.SubprocessError,
        BrokenExecutor,
    )
    return any(isinstance(e, compiler) for e in chain)


def reason(error: BaseException) -> str:
    """The innermost cause of a failed compilation, in one line."""
    *_, cause = _causes(error)
    name, said = type(cause).__name__, str(cause)
    if isinstance(cause, subprocess.CalledProcessError):
        name, output = Path(str(cause.cmd[0])).name, cause.stderr or cause.output or ""
        said = output.decode(errors="replace") if isinstance(output, bytes) else output
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = next((line for line in lines if "error:" in line), lines[0] if lines else "no message")
    text = f"{name}: {telling}"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps; torch names that `inner_exception`."""
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        yield step
        inner = getattr(step, "inner_exception", None)
        step = inner if isinstance(inner, BaseException) else step.__cause__


def guarded(compiled: Callable[P, T], eager: Callable[P, T], warn: Callable[[str], object]) -> Callable[P, T]:
    """`compiled` for as long as it compiles; after the first failure `eager`, with one warning.

    The call that failed is made again by `eager`, so both must find their arguments as they were: a function
    that is compiled as a whole has computed nothing yet when compiling it fails. Other errors are raised.
    """
    works = True

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal works
        if works:
            try:
                return compiled(*args, **kwargs)
            except Exception as error:
                if not failed(error):
                    raise
                works = False
                warn(warning(error))
        return eager(*args, **kwargs)

    return call


def warning(error: BaseException) -> str:
    """What to tell when compiling has failed and the work goes on without."""
    return f"torch.compile failed ({reason(error)}); going on without it, as with runtime.compile=false"


def compile_in_place(model: nn.Module) -> None:
    """Has calls of a model compiled, one graph for each shape; its tensors keep their names."""
    use_cache()
    model.compile(dynamic=False)


@contextlib.contextmanager
def left_out(model: nn.Module, when: bool = True) -> Iterator[None]:
    """While it lasts, calls of a model run as they are written; what has been compiled stays for later."""
    if not when:
        yield
        return
    compiled, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        yield
    finally:
        model._compiled_call_impl = compiled


def is_compiled(model: nn.Module) -> bool:
    return model._compiled_call_impl is not None


def undo(model: nn.Module) -> None:
    """The inverse of `compile_in_place`."""
    model._compiled_call_impl = None
