"""Tell every sink what happens; a sink that fails is dropped, and the run goes on.

The metrics file alone may end a run: its numbers are what the run is for, so its OSError goes to
the caller. Knows nothing of what the other sinks do.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gptforge.logs.events import Plan, Sink, Values
from gptforge.logs.files import MetricsFile, TextLog


class Sinks(Sink):
    """The trainer's only fan-out. `metrics` and `log` are also there to be used directly."""

    def __init__(self, metrics: MetricsFile, log: TextLog, others: Iterable[Sink] = ()) -> None:
        self.metrics = metrics
        self.log = log
        self._others: list[Sink] = [log, *others]

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        self._tell("start", plan, total_steps, total_seconds, start_step)

    def record(self, values: Values) -> None:
        self.metrics.record(values)
        self._tell("record", values)

    def progress(self, step: int, fraction: float, values: Values) -> None:
        self._tell("progress", step, fraction, values)

    def sample(self, step: int, text: str) -> None:
        self._tell("sample", step, text)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def warn(self, text: str) -> None:
        self._tell("warn", text)

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self._tell("finish", summary, next_commands)

    def close(self) -> None:
        for sink in reversed(self._others):  # the log last, which may have to say why another could not be closed
            try:
                sink.close()
            except Exception as error:
                with contextlib.suppress(Exception):
                    self.log.line("warning", _off(sink, error))
        self.metrics.close()

    def _tell(self, event: str, *arguments: Any) -> None:
        for sink in list(self._others):
            try:
                getattr(sink, event)(*arguments)
            except Exception as error:
                self._drop(sink, error)

    def _drop(self, sink: Sink, error: Exception) -> None:
        # An earlier failure in this event may have dropped it already, through its own warning.
        if sink not in self._others:
            return
        self._others.remove(sink)
        with contextlib.suppress(Exception):
            sink.close()
        self.warn(_off(sink, error))


def _off(sink: Sink, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"{sink.title or type(sink).__name__} is off for the rest of the run: {reason}"
