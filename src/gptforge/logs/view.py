"""What a person wants to see of a run at this moment: progress, time left, smoothed loss, best so far.

Turns events into short texts; knows nothing of how a screen shows them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from gptforge.config.units import shown_bytes, shown_count, shown_seconds
from gptforge.logs.events import Plan, Values
from gptforge.logs.screen import spark
from gptforge.logs.series import Average, finite, shrunk

History = Callable[[], list[dict[str, Any]]]
Fields = list[tuple[str, str]]
CURVE_WIDTH = 40
SAMPLE_LINES = 12
NOTABLE_WAIT = 0.01  # less waiting for data than this is not worth a place in a line


class View:
    """The state of a run. `history` gives the records that a continued run already has."""

    def __init__(self, history: History | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, float] | None = None  # time and fraction at the first progress
        self._smooth = Average()
        self.plan = Plan("", [], "")
        self.total_steps: int | None = None
        self.step = 0
        self.fraction = 0.0
        self.latest: dict[str, Any] = {}
        self.losses: list[float] = []
        self.best: tuple[float, int] | None = None

    def start(self, plan: Plan, total_steps: int | None, start_step: int) -> None:
        self.plan, self.total_steps, self.step = plan, total_steps, start_step
        self._started = self._clock()
        if start_step and self._history:
            for record in self._history():
                self.record(record)

    def record(self, values: Values) -> bool:
        """Take in a record; whether it holds the best validation loss so far."""
        self.latest |= values
        self.step = values.get("step", self.step)
        if (loss := finite(values.get("train_loss"))) is not None:
            self.losses.append(loss)
            self._smooth.add(loss)
        val = finite(values.get("val_loss"))
        if val is not None and (self.best is None or val < self.best[0]):
            self.best = (val, self.step)
            return True
        return False

    def progress(self, step: int, fraction: float, values: Values) -> None:
        self.latest |= values
        self.step, self.fraction = step, min(max(fraction, 0.0), 1.0)
        if self._first is None:
            self._first = (self._clock(), self.fraction)

    @property
    def smoothed(self) -> float | None:
        return self._smooth.value

    def elapsed(self) -> float:
        return self._clock() - self._started

    def left(self) -> float | None:
        """Seconds to the end, evaluations and checkpoints included, as fast as it went since the first step."""
        if self._first is None or not self._first[1] < self.fraction < 1:
            return None
        began, fraction = self._first
        return (self._clock() - began) * (1 - self.fraction) / (self.fraction - fraction)

    def steps(self) -> str:
        return f"{self.step}/{self.total_steps}" if self.total_steps else str(self.step)

    def line(self, values: Values, best: bool) -> Fields:
        """A record as one line."""
        fields: Fields = [("step", self.steps()), ("", f"{self.fraction:.0%}")]
        fields += self._numbers(values, (("loss", "train_loss", loss_text),))
        if "val_loss" in values:
            fields.append(("val", loss_text(values["val_loss"]) + (" (best)" if best else "")))
            fields += self._numbers(
                values, (("train", "train_eval_loss", loss_text), ("bits/byte", "val_bpb", "{:.3f}".format))
            )
        else:
            fields += self._numbers(values, (("lr", "lr", "{:.2e}".format), ("norm", "grad_norm", "{:.2f}".format)))
        fields += self._speed(values, NOTABLE_WAIT)
        if (left := self.left()) is not None:
            fields.append(("left", shown_seconds(left)))
        return fields

    def dashboard(self) -> Fields:
        """What the live display shows under its bar."""
        latest = self.latest
        fields: Fields = []
        if "val_loss" in latest:
            best = f" (best {loss_text(self.best[0])} at step {self.best[1]})" if self.best else ""
            fields.append(("val", loss_text(latest["val_loss"]) + best))
        fields += self._numbers(latest, (("lr", "lr", "{:.2e}".format), ("norm", "grad_norm", "{:.2f}".format)))
        return fields + self._speed(latest)

    def _numbers(self, values: Values, wanted: tuple[tuple[str, str, Callable[[Any], str]], ...]) -> Fields:
        return [(label, form(values[name])) for label, name, form in wanted if values.get(name) is not None]

    def _speed(self, values: Values, least_wait: float = 0.0) -> Fields:
        fields: Fields = []
        if (speed := finite(values.get("tokens_per_second"))) is not None:
            fields.append(("", f"{shown_count(speed)} tok/s"))
        if (share := finite(values.get("peak_share"))) is not None:
            fields.append(("", f"{share:.0%} of peak"))
        if (wait := finite(values.get("data_wait"))) is not None and wait >= least_wait:
            fields.append(("data wait", f"{wait:.1%}"))
        return fields

    def results(self, summary: Mapping[str, Any], encoding: str = "utf-8") -> Fields:
        """The table at the end: what the summary has, in the order in which it is asked for."""
        rows = [("status", str(summary.get("status", "done")))]
        if summary.get("best_val_loss") is not None:
            at = f" at step {summary['best_step']}" if summary.get("best_step") is not None else ""
            rows.append(("best val loss", loss_text(summary["best_val_loss"]) + at))
        for name, key, form in (
            ("bits per byte", "val_bpb", "{:.3f}".format),
            ("last val loss", "val_loss", loss_text),
            ("train loss", "train_loss", loss_text),
            ("steps", "steps", str),
            ("tokens", "tokens", shown_count),
            ("time", "seconds", shown_seconds),
            ("speed", "tokens_per_second", lambda speed: f"{shown_count(speed)} tok/s"),
            ("peak memory", "peak_memory_bytes", shown_bytes),
        ):
            if summary.get(key) is not None:
                rows.append((name, form(summary[key])))
        if len(self.losses) > 1:
            rows.append(("loss curve", spark(shrunk(self.losses, CURVE_WIDTH), CURVE_WIDTH, encoding)))
        return [*rows, ("run", self.plan.run_dir)]

    def result_line(self, summary: Mapping[str, Any]) -> str:
        """The same in one line, for scripts that look at nothing else."""
        rows = dict(self.results(summary))
        parts = [f"{name} {rows[name]}" for name in ("best val loss", "bits per byte", "time") if name in rows]
        return f"{rows['status']}: " + ", ".join([*parts, rows["run"]])


def loss_text(value: Any) -> str:
    if value is None:
        return "not finite"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3g}"


def sample_lines(text: str, width: int) -> list[str]:
    """The beginning of a sample, wrapped at `width`, without the blank lines around it."""
    lines: list[str] = []
    for line in text.strip("\n").split("\n"):
        lines += [line[i : i + width] for i in range(0, len(line), width)] or [""]
        if len(lines) > SAMPLE_LINES:
            return [*lines[:SAMPLE_LINES], "…"]
    return lines
