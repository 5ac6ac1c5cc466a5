"""C code is compiled once, kept, and never the end of anything when it cannot be."""

import os
from pathlib import Path

import pytest

from gptforge import native
from gptforge.native import NativeError, compiler, library

SOURCE = "int gptforge_answer(void) { return %s; }\n"


def can_compile() -> bool:
    try:
        compiler()
    except NativeError:
        return False
    return True


needs_c = pytest.mark.skipif(not can_compile(), reason="no C compiler here")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTFORGE_CACHE", str(tmp_path / "cache"))
    library.cache_clear()
    yield
    library.cache_clear()


def written(tmp_path: Path, answer: str) -> Path:
    path = tmp_path / "answer.c"
    path.write_text(SOURCE % answer, encoding="utf-8")
    return path


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "native").iterdir())


@needs_c
def test_code_is_compiled_once_and_anew_when_it_changes(tmp_path, monkeypatch):
    source = written(tmp_path, "42")
    assert library(source).gptforge_answer() == 42
    first = kept(tmp_path)
    assert len(first) == 1 and first[0].startswith("answer-") and first[0].endswith(".so")
    library.cache_clear()  # as in another process
    with monkeypatch.context() as patched:
        patched.setattr(native, "_compile", None)  # must not be called
        assert library(source).gptforge_answer() == 42
    library.cache_clear()
    assert library(written(tmp_path, "43")).gptforge_answer() == 43
    assert len(kept(tmp_path)) == 2
    library.cache_clear()
    monkeypatch.setattr(native, "cpu_features", lambda: "another CPU, with the same home")
    library(source)
    assert len(kept(tmp_path)) == 3


@needs_c
def test_what_cannot_be_compiled_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(NativeError, match=r"error: .*wrong") as raised:
        library(written(tmp_path, "wrong"))
    assert len(str(raised.value)) < 300
    assert kept(tmp_path) == []


@needs_c
def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(NativeError, match="cache"):
        library(written(tmp_path, "42"))


def test_no_compiler_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NativeError, match="no C compiler: install gcc, or set CC"):
        library(written(tmp_path, "42"))
    monkeypatch.setenv("CC", "/nowhere/cc -O2")
    with pytest.raises(NativeError, match="CC=/nowhere/cc is not there"):
        library(written(tmp_path, "42"))


def test_a_compiler_that_does_not_start_is_said(tmp_path, monkeypatch):
    broken = tmp_path / "cc"
    broken.write_bytes(b"\0 neither a program nor a script")
    os.chmod(broken, 0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(NativeError, match="does not start"):
        library(written(tmp_path, "42"))


def test_cc_may_have_words_of_its_own(monkeypatch, tmp_path):
    program = tmp_path / "mycc"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("CC", f"{program} -m64")
    assert compiler()[:2] == [str(program), "-m64"]
