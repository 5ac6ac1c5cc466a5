"""Sees every call of this process that changes files below a folder, before it happens, and may make it fail.

What Python's own file objects and the functions of `os` do is seen; a change that a library makes without them is
not. Knows nothing of gptforge.
"""

import builtins
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

WRITING = set("wxa+")


@dataclass(frozen=True, slots=True)
class Change:
    """A call: open (which makes or empties a file), write, truncate, fsync, rename, link, mkdir, rmdir or unlink.

    `path` is what it is done to, absolute; `target` the new name of rename and link. `data` is what is written at
    `place`, which is also the length that truncate leaves.
    """

    kind: str
    path: Path
    target: Path | None = None
    data: bytes = b""
    place: int = 0

    def __str__(self) -> str:
        more = f" to {self.target.name}" if self.target else f" of {len(self.data)} bytes" if self.data else ""
        return f"{self.kind} {self.path.parent.name}/{self.path.name}{more}"


Hook = Callable[[Change], int | None]  # may raise; of a write it may say how many bytes of it are taken


class Died(BaseException):
    """The process is dead: whatever it would do to files from now on is not done."""


@contextlib.contextmanager
def watched(root: Path, hook: Hook) -> Iterator[None]:
    """Calls `hook` before each change below `root`.

    fsync is seen but not done: nothing that is tested here survives by it, and it would cost most of the time.
    """
    watch = _Watch(root.resolve(), hook)
    with contextlib.ExitStack() as stack:
        for module, name in ((builtins, "open"), (io, "open")):
            stack.enter_context(mock.patch.object(module, name, watch.file))
        for name in ("open", "close", "fsync", "rename", "replace", "link", "mkdir", "rmdir", "unlink", "remove"):
            stack.enter_context(mock.patch.object(os, name, getattr(watch, name)))
        yield


class _Watch:
    """Stands in for the calls while they are watched."""

    def __init__(self, root: Path, hook: Hook) -> None:
        self._root, self.told = root, hook
        self._opened: dict[int, Path] = {}  # by descriptor
        self._real = {name: getattr(os, name) for name in ("open", "close", "fsync", "rename", "link", "mkdir")}
        self._real |= {name: getattr(os, name) for name in ("rmdir", "unlink")}
        self._real_file = builtins.open

    def place(self, path: Any, dir_fd: int | None = None) -> Path | None:
        """The absolute path, if it is below the root."""
        if isinstance(path, int):
            return self._opened.get(path)
        base = self._opened.get(dir_fd) if dir_fd is not None else Path.cwd()
        if base is None:
            return None
        full = Path(os.path.normpath(base / os.fsdecode(path)))
        return full if full.is_relative_to(self._root) else None

    # Files ---------------------------------------------------------------------

    def file(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        path = None if isinstance(file, int) or not WRITING & set(mode) else self.place(file)
        if path is None:
            return self._real_file(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Raw(self, path, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self.place(path, dir_fd)
        if place is not None and flags & os.O_CREAT:
            self.told(Change("open", place))
        descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if place is not None:
            self._opened[descriptor] = place
        return descriptor

    def close(self, descriptor: int) -> None:
        self._opened.pop(descriptor, None)
        self._real["close"](descriptor)

    def note(self, descriptor: int, path: Path) -> None:
        self._opened[descriptor] = path

    def forget(self, descriptor: int) -> None:
        self._opened.pop(descriptor, None)

    def fsync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if (path := self._opened.get(number)) is not None:
            self.told(Change("fsync", path))
        else:
            self._real["fsync"](number)

    # Names ---------------------------------------------------------------------

    def rename(self, source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        path, new = self.place(source, src_dir_fd), self.place(target, dst_dir_fd)
        if path is not None and new is not None:
            self.told(Change("rename", path, new))
        self._real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    replace = rename  # on POSIX they are one and the same

    def link(self, source: Any, target: Any, **options: Any) -> None:
        path, new = self.place(source), self.place(target)
        if path is not None and new is not None:
            self.told(Change("link", path, new))
        self._real["link"](source, target, **options)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._named("mkdir", path, dir_fd)
        self._real["mkdir"](path, mode, dir_fd=dir_fd)

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("rmdir", path, dir_fd)
        self._real["rmdir"](path, dir_fd=dir_fd)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("unlink", path, dir_fd)
        self._real["unlink"](path, dir_fd=dir_fd)

    remove = unlink

    def _named(self, kind: str, path: Any, dir_fd: int | None) -> None:
        """Tells of a call, unless it will fail by itself: without its folder, with nothing to do, or all done."""
        place = self.place(path, dir_fd)
        if place is not None and place.parent.is_dir() and os.path.lexists(place) != (kind == "mkdir"):
            self.told(Change(kind, place))


class _Raw(io.FileIO):
    """An unbuffered file, on which all other kinds stand."""

    def __init__(self, watch: _Watch, path: Path, mode: str) -> None:
        self._watch, self._path = watch, path
        if "w" in mode or not os.path.exists(path):
            watch.told(Change("open", path))
        super().__init__(path, mode)
        self._appends = "a" in mode
        watch.note(self.fileno(), path)

    def write(self, data: Any) -> int:
        content = bytes(data)
        place = os.fstat(self.fileno()).st_size if self._appends else self.tell()
        taken = self._watch.told(Change("write", self._path, data=content, place=place))
        return super().write(content if taken is None else content[:taken]) or 0

    def truncate(self, size: int | None = None) -> int:
        place = self.tell() if size is None else size
        self._watch.told(Change("truncate", self._path, place=place))
        return super().truncate(place)

    def close(self) -> None:
        if not self.closed:
            self._watch.forget(self.fileno())
        super().close()
