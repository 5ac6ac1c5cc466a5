"""The text files of a run: metrics.jsonl (the truth), metrics.csv (derived), train.log, samples/.

Knows what a record is, not what its numbers mean nor when one is due. metrics.jsonl only grows,
and a resumed run cuts it back to the length that its checkpoint remembers.
"""

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gptforge.errors import CheckpointError
from gptforge.logs.events import Plan, Sink, Values

COLUMNS = (
    "step", "train_loss", "val_loss", "val_bpb", "val_ppl", "train_eval_loss", "lr", "grad_norm", "tokens",
    "tokens_per_second", "peak_share", "data_wait", "moe_load_max", "seconds",
)  # fmt: skip


def as_json(values: Values) -> str:
    """One line of standard JSON: a number that is not finite, which JSON has no sign for, is null."""
    return json.dumps({name: _plain(value) for name, value in values.items()}, default=float)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line cut by a kill is left out. No file, no records."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            fix = f"take line {number} out of the file: one record is lost, nothing else"
            raise CheckpointError(f"line {number} is not a record of metrics", where=str(path), fix=fix)
        records.append(record)
    return records


class MetricsFile(Sink):
    """metrics.jsonl, and metrics.csv with the same records in fixed columns."""

    def __init__(self, jsonl: Path, csv_path: Path) -> None:
        self._jsonl_path = jsonl
        self._csv_path = csv_path
        # Unbuffered: what `record` has returned from survives a kill -9.
        self._jsonl = jsonl.open("ab", buffering=0)
        self._csv = csv_path.open("ab", buffering=0)
        with contextlib.suppress(CheckpointError):  # of a tail that a power cut has spoilt: a resume cuts it off
            self.truncate(self.length())

    def record(self, values: Values) -> None:
        _write_all(self._jsonl, as_json(values).encode() + b"\n")
        _write_all(self._csv, _csv_rows([values]))

    def length(self) -> int:
        """Length of metrics.jsonl in bytes: what a checkpoint remembers."""
        return os.fstat(self._jsonl.fileno()).st_size

    def truncate(self, length: int) -> None:
        """Keep the whole lines among the first `length` bytes, and write metrics.csv anew from them."""
        with self._jsonl_path.open("rb") as file:
            kept = file.read(length).rfind(b"\n") + 1
        self._jsonl.truncate(kept)
        self._csv.close()
        self._csv_path.write_bytes(_csv_rows([dict(zip(COLUMNS, COLUMNS, strict=True))]))
        self._csv = self._csv_path.open("ab", buffering=0)
        _write_all(self._csv, _csv_rows(read_metrics(self._jsonl_path)))

    def sync(self) -> None:
        """Put metrics.jsonl on the disk, before a checkpoint that counts on it is committed."""
        os.fsync(self._jsonl.fileno())

    def close(self) -> None:
        self._jsonl.close()
        self._csv.close()


def _write_all(file: io.FileIO, data: bytes) -> None:
    """An unbuffered write may take a part only, when a disk fills up; the next one then says why."""
    while data:
        data = data[file.write(data) :]


def _csv_rows(records: Sequence[Values]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_plain(record.get(name)) for name in COLUMNS] for record in records)
    return text.getvalue().encode()


class TextLog(Sink):
    """train.log: everything that is told about the run, each line with its time."""

    def __init__(self, path: Path, now: Callable[[], datetime] = datetime.now) -> None:
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        self._now = now

    def line(self, kind: str, text: str) -> None:
        """Add `text`; its further lines are indented under the first. Nothing, once the log is closed."""
        if self._file.closed:
            return
        stamp = self._now().isoformat(" ", "seconds")
        self._file.write(f"{stamp} {kind:<7} " + text.rstrip("\n").replace("\n", "\n    ") + "\n")
        self._file.flush()

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        length = f"{total_steps} steps" if total_steps is not None else f"{total_seconds:g} s" if total_seconds else "?"
        self.line("start", f"{plan.title}, step {start_step} of {length}, in {plan.run_dir}")
        for what, value, reason in plan.rows:
            self.line("plan", f"{what}: {value}" + (f" ({reason})" if reason else ""))

    def record(self, values: Values) -> None:
        self.line("metrics", " ".join(f"{name}={_short(value)}" for name, value in values.items()))

    def sample(self, step: int, text: str) -> None:
        self.line("sample", f"step {step}, {len(text)} characters")

    def note(self, text: str) -> None:
        self.line("note", text)

    def warn(self, text: str) -> None:
        self.line("warning", text)

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self.line("finish", " ".join(f"{name}={_short(value)}" for name, value in summary.items()))
        for command in next_commands:
            self.line("next", command)

    def close(self) -> None:
        self._file.close()


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class SampleFiles(Sink):
    """samples/step-000500.txt: the texts exactly as the model wrote them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sample(self, step: int, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"step-{step:06}.txt"
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
