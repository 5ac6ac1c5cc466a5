"""Trackers for tests: one that writes down what it is told, faulty ones, and a package that brings some."""

import json
import threading
from pathlib import Path

from gptforge.trackers import Tracker

NEVER = threading.Event()
CALLS = ("__init__", "start", "log", "text", "finish")


class Recording(Tracker):
    """Keeps every call in `told`, which is of the class: (name, arguments)."""

    told: list = []  # noqa: RUF012
    takes_back = False

    def start(self, run):
        self.told.append(("start", run))
        return f"id-{run.run_dir.name}"

    def log(self, values, step):
        self.told.append(("log", (step, dict(values))))

    def text(self, name, text, step):
        self.told.append(("text", (step, name, text)))

    def back(self, step):
        self.told.append(("back", step))
        return self.takes_back

    def finish(self, summary):
        self.told.append(("finish", dict(summary)))


def recording(takes_back: bool = False) -> type[Recording]:
    """A class of its own for a test."""
    return type("Fresh", (Recording,), {"told": [], "takes_back": takes_back})


def faulty(call: str, what) -> type[Recording]:
    """A tracker that raises an exception at one of its calls, or never returns from it if `what` is an Event."""

    def fail(self, *arguments):
        if isinstance(what, threading.Event):
            what.wait(60)
        else:
            raise what

    return type("Faulty", (recording(),), {call: fail})


def of(told, name) -> list:
    """The arguments of all calls of one method."""
    return [arguments for called, arguments in told if called == name]


def install(folder: Path, code: str, **entries: str) -> None:
    """A package in a folder, as pip would leave it, with entry points for trackers."""
    (folder / "lent.py").write_text(code, encoding="utf-8")
    info = folder / "lent-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lent\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[gptforge.trackers]", *lines]) + "\n")


def kept(run: str | Path) -> dict:
    """trackers.json of a run."""
    return json.loads(Path(run, "trackers.json").read_text(encoding="utf-8"))
