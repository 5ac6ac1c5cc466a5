"""What the terminal shows of a run: which sink, by `ui` and by what stderr is.

stderr is for people; ui=json writes to stdout, one object an event. Knows nothing of run directories.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gptforge.logs.events import Plan, Sink, Values
from gptforge.logs.files import as_json
from gptforge.logs.plain import PlainSink, QuietSink
from gptforge.logs.screen import Screen, still
from gptforge.logs.view import History


def make_console_sink(ui: str, history: History | None = None) -> Sink:
    """The sink for ui=auto|rich|plain|json|quiet. `history` gives the records a continued run already has."""
    stream = sys.stdout if ui == "json" else sys.stderr
    if stream is None:  # a process without a console
        return Sink()
    screen = Screen(stream)
    if ui == "json":
        return JsonSink(screen)
    if ui == "quiet":
        return QuietSink(screen)
    if ui != "plain" and screen.can_draw() and (ui == "rich" or not still()):
        from gptforge.logs.live import RichSink  # rich takes 0.1 s to import, which pipes need not wait for

        return RichSink(screen, history)
    return PlainSink(screen, history)


class JsonSink(Sink):
    """One JSON object a line, each with its `event`."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def _event(self, event: str, **values: Any) -> None:
        self._screen.line(as_json({"event": event, **values}))

    def start(self, plan: Plan, total_steps: int | None, total_seconds: float | None, start_step: int) -> None:
        rows = [{"what": what, "value": value, "reason": reason} for what, value, reason in plan.rows]
        lengths = {"total_steps": total_steps, "total_seconds": total_seconds, "start_step": start_step}
        self._event("start", title=plan.title, run=plan.run_dir, **lengths, plan=rows)

    def record(self, values: Values) -> None:
        self._event("metrics", **values)

    def sample(self, step: int, text: str) -> None:
        self._event("sample", step=step, text=text)

    def note(self, text: str) -> None:
        self._event("note", text=text)

    def warn(self, text: str) -> None:
        self._event("warning", text=text)

    def finish(self, summary: Mapping[str, Any], next_commands: Sequence[str]) -> None:
        self._event("finish", **summary, next=list(next_commands))
