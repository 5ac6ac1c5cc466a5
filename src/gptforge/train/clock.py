"""Time in a training run: spent over all starts, speed between records, and the early end of train.stop_after."""

import time

from gptforge.config.units import steps_or_duration


class Clock:
    """Time spent in the loop over all starts of a run, and the speed of training since the last record."""

    def __init__(self, seconds_before: float = 0.0, tokens: int = 0) -> None:
        now = time.perf_counter()
        self.waited = 0.0  # seconds for data since the last record
        self._begin = now - seconds_before
        self._lap, self._tokens, self._paused = now, tokens, 0.0

    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def pause(self, seconds: float) -> None:
        """Counts time that was no training, such as an evaluation, out of the speed."""
        self._paused += seconds

    def lap(self, tokens: int) -> tuple[float, float]:
        """(tokens per second, share of the time spent waiting for data) since the last lap."""
        now = time.perf_counter()
        spent = max(1e-9, now - self._lap - self._paused)
        speed, waited = (tokens - self._tokens) / spent, min(1.0, self.waited / spent)
        self._lap, self._tokens, self._paused, self.waited = now, tokens, 0.0, 0.0
        return speed, waited


class StopLimit:
    """train.stop_after: so many steps, or so long, from this start on."""

    def __init__(self, text: str | None, step: int) -> None:
        self._text = text
        self._steps, self._seconds = steps_or_duration(text) if text else (None, None)
        self._first_step, self._begin = step, time.perf_counter()

    def reached(self, step: int) -> str:
        """Why to stop now, or nothing."""
        over = self._steps is not None and step - self._first_step >= self._steps
        late = self._seconds is not None and time.perf_counter() - self._begin >= self._seconds
        return f"stopped as train.stop_after={self._text} asks" if over or late else ""
