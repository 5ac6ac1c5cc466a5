"""Whether torch.compile can work here, where it keeps its work, and what happens when it fails."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch._dynamo import exc as dynamo
from torch._inductor import exc as inductor

from gptforge import compiling


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A machine whose PATH holds only what a test puts there."""
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(compiling, "has_python_headers", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def install(*names):
        for name in names:
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)

    return install


@pytest.mark.parametrize(
    ("device", "capability", "installed", "said"),
    [
        ("cpu", None, ["g++"], None),
        ("cpu", None, ["gcc", "clang++", "c++"], "C++ compiler: install g"),  # torch looks for g++ alone
        ("cuda", (7, 0), ["gcc"], None),
        ("cuda", (9, 0), ["clang"], None),
        ("cuda", (12, 0), ["g++"], "C compiler: install gcc"),
        ("cuda", (6, 1), ["gcc"], "capability 7.0 or later, this one's is 6.1"),
        ("cuda", None, ["gcc"], "capability 7.0"),
        ("mps", None, ["clang++", "g++", "gcc"], "not supported on MPS"),
    ],
)
def test_what_stands_in_the_way(tools, device, capability, installed, said):
    tools(*installed)
    found = compiling.obstacle(device, capability)
    assert found is None if said is None else said in found


def test_a_compiler_that_is_named_is_the_one_that_counts(tools, monkeypatch):
    tools("g++", "gcc", "mine")
    monkeypatch.setenv("CXX", "mine")
    monkeypatch.setenv("CC", "gone")
    assert compiling.c_compiler("cpu").endswith("mine")
    assert "set CC" in compiling.obstacle("cuda", (8, 0))
    monkeypatch.setenv("CXX", "gone")
    assert "set CXX" in compiling.obstacle("cpu", None)


def test_each_system_has_its_compiler(tools, monkeypatch):
    tools("g++", "clang++")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert compiling.c_compiler("cpu").endswith("clang++")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "developer prompt (cl)" in compiling.obstacle("cpu", None)


def test_triton_and_headers_are_needed(tools, monkeypatch):
    tools("gcc", "g++")
    monkeypatch.setattr(compiling, "has_python_headers", lambda: False)
    assert "Python.h" in compiling.obstacle("cpu", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install triton" in compiling.obstacle("cuda", (8, 0))


def test_the_cache_is_ours_unless_the_user_chose_one(monkeypatch, own_cache):
    monkeypatch.delenv(compiling.CACHE_VARIABLE, raising=False)
    assert compiling.use_cache() == own_cache / "compiled"
    assert os.environ[compiling.CACHE_VARIABLE] == str(own_cache / "compiled")
    monkeypatch.setenv(compiling.CACHE_VARIABLE, "elsewhere")
    assert str(compiling.use_cache()) == os.environ[compiling.CACHE_VARIABLE] == "elsewhere"


NO_COMPILER = inductor.InductorError(inductor.InvalidCxxCompiler("g++"), None)
FAILURES = [
    NO_COMPILER,
    inductor.CppCompileError(["g++"], "a.cpp:3: fatal error: Python.h: No such file"),
    dynamo.BackendCompilerFailed("inductor", OSError("failed to map segment from shared object"), None),
    subprocess.CalledProcessError(1, ["g++", "a.cpp"], output=b"a.cpp:1: error: no"),
    dynamo.InternalTorchDynamoError("AttributeError: of the compiler's own"),
]
OTHERS = [
    ValueError("a bug"),
    RuntimeError("shapes"),
    torch.OutOfMemoryError("CUDA out of memory"),
    inductor.InductorError(torch.OutOfMemoryError("CUDA out of memory"), None),
    dynamo.TorchRuntimeError("shapes do not go together"),
    dynamo.UserError(dynamo.UserErrorType.INVALID_INPUT, "not this"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda e: type(e).__name__)
def test_after_a_failed_compilation_it_goes_on_without(error):
    said, calls = [], []

    def compiled(x):
        calls.append(x)
        raise error

    call = compiling.guarded(compiled, lambda x: x + 1, said.append)
    assert [call(1), call(2)] == [2, 3]
    assert calls == [1]
    assert len(said) == 1 and "runtime.compile=false" in said[0] and "\n" not in said[0] and len(said[0]) < 320


@pytest.mark.parametrize("error", OTHERS, ids=lambda e: type(e).__name__)
def test_errors_of_the_work_itself_are_raised(error):
    said = []

    def compiled():
        raise error

    with pytest.raises(type(error)):
        compiling.guarded(compiled, list, said.append)()
    assert not said


def test_the_reason_is_the_innermost_one_in_a_line():
    assert compiling.reason(FAILURES[1]) == "CppCompileError: a.cpp:3: fatal error: Python.h: No such file"
    assert compiling.reason(FAILURES[3]) == "g++: a.cpp:1: error: no"
    assert compiling.reason(NO_COMPILER) == "InvalidCxxCompiler: Compiler: g++ is not found."
    assert len(compiling.reason(ValueError("x" * 1000))) == compiling.SHOWN


def test_a_backend_that_fails_is_seen_as_torch_raises_it():
    def broken(graph, inputs):
        raise NotImplementedError("not today")

    said = []
    double = compiling.guarded(torch.compile(lambda x: x * 2, backend=broken), lambda x: x * 2, said.append)
    assert torch.equal(double(torch.ones(2)), torch.full((2,), 2.0))
    assert "not today" in said[0]
    torch._dynamo.reset()


def test_a_wrong_shape_is_no_failure_of_the_compiler():
    said = []
    product = compiling.guarded(torch.compile(torch.mm, backend="eager"), torch.mm, said.append)
    with pytest.raises(RuntimeError):
        product(torch.ones(2, 3), torch.ones(2, 3))
    assert not said
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, where it imports its compiler
def test_a_model_is_compiled_in_place_and_back(monkeypatch):
    monkeypatch.setenv(compiling.CACHE_VARIABLE, "unused")
    model = torch.nn.Linear(2, 2)
    names = list(model.state_dict())
    assert not compiling.is_compiled(model)
    compiling.compile_in_place(model)
    assert compiling.is_compiled(model)
    assert list(model.state_dict()) == names
    compiling.undo(model)
    assert not compiling.is_compiled(model)
    assert model(torch.ones(1, 2)).shape == (1, 2)
