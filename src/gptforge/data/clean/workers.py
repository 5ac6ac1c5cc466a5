"""The rules for single documents in several processes at once, with the results in the order of the documents.

Processes of their own, started as a module with pipes that carry JSON: nothing of the caller's program is imported in
them again. They end when the pipe to them is closed, also when the caller is killed. Knows documents and a cleaner.
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple
from typing import IO, Any, TypeVar

from gptforge.config.clean import CleanConfig
from gptforge.config.schema import build
from gptforge.data.clean.cleaner import Cleaner, Outcome
from gptforge.data.clean.events import Event, Sample
from gptforge.errors import ResourceError

K = TypeVar("K")
BATCH_CHARACTERS = 1 << 19
BATCH_DOCUMENTS = 256
MOST = 16  # processes: reading feeds no more
WORTH_BYTES = 16_000_000  # of text, from which starting them (a third of a second) pays

_LENGTH = struct.Struct("<Q")


def worthwhile(cfg: CleanConfig, n_bytes: int) -> int:
    """How many processes to clean so many bytes with; 0 where one's own does."""
    slow = cfg.unicode == "fix" or cfg.language or cfg.gopher or cfg.c4 or cfg.personal != "off"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST) if slow and n_bytes >= WORTH_BYTES and cores > 1 else 0


def applied(documents: Iterable[tuple[K, str]], cleaner: Cleaner, n: int) -> Iterator[tuple[K, str, Outcome]]:
    """Each document with what `cleaner` makes of it, in order, by `n` processes (0: by this one).

    Raises ResourceError when a process dies.
    """
    if not n:
        yield from ((key, text, cleaner.apply(text)) for key, text in documents)
        return
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(cleaner)) for _ in range(n)]
        waiting: deque[tuple[_Worker, list[tuple[K, str]]]] = deque()  # the oldest batch first
        for number, batch in enumerate(_batched(documents)):
            if len(waiting) == n:
                yield from _answered(*waiting.popleft())
            worker = workers[number % n]
            worker.send([text for _, text in batch])
            waiting.append((worker, batch))
        while waiting:
            yield from _answered(*waiting.popleft())


def _answered(worker: "_Worker", batch: list[tuple[K, str]]) -> Iterator[tuple[K, str, Outcome]]:
    yield from ((key, text, o) for (key, text), o in zip(batch, worker.results(), strict=True))


def _batched(documents: Iterable[tuple[K, str]]) -> Iterator[list[tuple[K, str]]]:
    batch: list[tuple[K, str]] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document[1])
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Worker:
    """One process: a batch goes in, its outcomes come out, before the next goes in."""

    def __init__(self, cleaner: Cleaner) -> None:
        self._cleaner = cleaner

    def __enter__(self) -> "_Worker":
        command = [sys.executable, "-m", "gptforge.data.clean.workers"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._write(asdict(self._cleaner.config))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, also in the middle of a batch."""
        self._process.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()

    def send(self, texts: list[str]) -> None:
        self._write(texts)

    def results(self) -> list[Outcome]:
        """What became of the batch that was sent."""
        found = _read(self._stream(self._process.stdout))
        if found is None:
            raise self._died()
        if isinstance(found, str):
            raise RuntimeError(f"cleaning failed in a process of its own:\n{found}")
        return [_outcome(*one) for one in found]

    def _write(self, content: object) -> None:
        try:
            _write(self._stream(self._process.stdin), content)
        except BrokenPipeError:
            raise self._died() from None

    def _died(self) -> ResourceError:
        return ResourceError(
            f"a process that cleans the text has died (exit code {self._process.wait()})",
            fix=["more memory", "clean=mild or clean=none"],
        )

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None  # both are pipes
        return stream


def _outcome(text: str | None, events: list[list[Any]]) -> Outcome:
    """What `astuple` and JSON made of one, as it was."""
    made = (
        Event(name, done, amount, tuple(Sample(*s) for s in samples), why)
        for name, done, amount, samples, why in events
    )
    return Outcome(text, tuple(made))


def _write(stream: IO[bytes], content: object) -> None:
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> Any:
    """What `_write` wrote; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    data = stream.read(_LENGTH.unpack(head)[0])
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _serve() -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who closes the pipe
    cleaner = Cleaner(build(CleanConfig, _read(sys.stdin.buffer)))
    while (texts := _read(sys.stdin.buffer)) is not None:
        try:
            answer: Any = [astuple(cleaner.apply(text)) for text in texts]
        except Exception:
            answer = traceback.format_exc()
        _write(sys.stdout.buffer, answer)


if __name__ == "__main__":
    _serve()
