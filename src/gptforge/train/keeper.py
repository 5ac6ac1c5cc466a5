"""What a run leaves on the disk: told at its begin, kept in checkpoints, summed up at its end.

Of several processes the first one writes, alone; on the others all of this does nothing. Knows neither the loop nor
when anything is due. What a checkpoint consists of is train/state.py's business, how it is committed checkpoint.py's.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gptforge import checkpoint
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.config.schema import to_dict
from gptforge.dist import Dist
from gptforge.errors import EXIT_BUG, PeerLost, UserError, without_passwords
from gptforge.jsonfile import write_json
from gptforge.logs import Sink, Sinks, open_sinks
from gptforge.report import run_page
from gptforge.runs import Call, Run
from gptforge.trackers import gaps
from gptforge.trackers.sink import TrackerSink
from gptforge.train import plan
from gptforge.train.parts import Parts
from gptforge.train.state import Rng, TrainState, pack


class Keeper:
    """The files of one run."""

    def __init__(self, cfg: TrainConfig, run: Run, dist: Dist, parts: Parts, call: Call) -> None:
        self._cfg, self._run, self._dist, self._parts, self._call = cfg, run, dist, parts, call
        self.fingerprint = plan.fingerprint(parts)
        self._files: Sinks | None = None
        self._begun = False  # whether this start has changed anything in the run

    @contextlib.contextmanager
    def opened(self) -> Iterator[Sink]:
        """Holds the run's lock, and whatever is told about it; what the other processes tell goes nowhere."""
        if not self._dist.main:
            yield Sink()
            return
        with self._run.locked():
            tree, names = to_dict(self._cfg), dict.fromkeys(self._cfg.tracker)
            trackers = [TrackerSink(name, self._run.path, tree) for name in names]
            self._files = open_sinks(self._run.path, self._cfg.ui, trackers)
            try:
                yield self._files
            finally:
                self._files.close()

    def clear(self) -> None:
        """Removes what killed processes have left."""
        if self._files:
            checkpoint.sweep_litter(self._run)

    def begin(self, state: TrainState) -> None:
        """Records what is about to run. The metrics are cut back to what they were at `state`."""
        if not self._files:
            return
        self._begun = True
        with contextlib.suppress(OSError, ValueError):  # no tracker is a reason to end a run
            gaps.goes_on(self._run.path)
        self._files.metrics.truncate(state.metrics_bytes)
        if self._cfg.resume:
            self._run.update(as_saved(self._cfg, self._call.choices), self._call)
            self._run.point_latest()
        write_json(self._run.decisions, self._parts.decisions.to_dict())
        write_json(self._run.data, plan.data_facts(self._parts))
        write_json(self._run.environment, plan.environment(self._parts))
        write_json(self._run.summary, self._summary("running", state))

    def cut_back(self, state: TrainState) -> None:
        """Forgets the metrics of steps that a run which goes back will make anew."""
        if self._files:
            self._files.metrics.truncate(state.metrics_bytes)

    def decided_anew(self) -> None:
        """Records decisions that had to be changed on the way, before the first step."""
        self.fingerprint = plan.fingerprint(self._parts)
        if self._files:
            write_json(self._run.decisions, self._parts.decisions.to_dict())

    def save(self, state: TrainState, rngs: Sequence[Rng]) -> None:
        """Commits a checkpoint of this step, moves the pointers, and rotates."""
        if not self._files:
            return
        self._files.metrics.sync()
        state.metrics_bytes = self._files.metrics.length()
        files = pack(state, self._parts.model, self._parts.optimizer, self._parts.average, self.fingerprint, rngs)
        files["config.json"] = checkpoint.json_bytes(as_saved(self._cfg, self._call.choices))
        files["decisions.json"] = checkpoint.json_bytes(self._parts.decisions.to_dict())
        files["tokenizer.json"] = checkpoint.json_bytes(self._parts.tokenizer.stored())
        checkpoint.commit(self._run, state.step, files)
        self.point(state)
        goes_back = "rollback" in (self._cfg.train.on_spike, self._cfg.train.on_nonfinite)
        checkpoint.rotate(self._run, self._cfg.checkpoint.keep, state.planned_step if goes_back else None)

    def point(self, state: TrainState) -> None:
        """Makes `latest` and `best` say what is so, also where a kill came between a checkpoint and its pointers."""
        if not self._files:
            return
        for name, step in (("latest", state.step), ("best", state.best_step)):
            if step is not None and self._run.pointer(name) != step and self._run.checkpoint(step).is_dir():
                checkpoint.point(self._run, name, step)

    def set_aside(self, state: TrainState) -> list[str]:
        """Moves checkpoints beyond a step away, from which the run goes on; says so."""
        aside = checkpoint.set_aside(self._run, state.step) if self._files else None
        return [f"later checkpoints were moved to {aside}"] if aside else []

    def finish(
        self, status: str, state: TrainState, look: Callable[[], dict[str, Any] | None] = lambda: None
    ) -> dict[str, Any]:
        """Writes the summary and the report, and tells the result with what to type next.

        `look` gives the passage that the report shows, as the weights of now predict it.
        """
        with self._parts.best_weights():
            weights = checkpoint.weights_sha256(self._parts.model)
        summary = self._summary(status, state, weights_sha256=weights)
        if self._files:
            write_json(self._run.summary, summary)
            self._report(look, state.step)
            writes = self._cfg.model.attention.causal
            self._files.finish(summary, plan.next_commands(self._run, status, state.best_step, state.step, writes))
        return summary

    def _report(self, look: Callable[[], dict[str, Any] | None] = lambda: None, step: int = 0) -> None:
        """Draws report.html of whatever there is. One that cannot be drawn is said, and no reason to end a run."""
        if not self._files:
            return
        try:
            if found := look():
                write_json(self._run.path / "passage.json", {"step": step, **found})
            path = self._run.path / run_page.NAME
            run_page.write(self._run, path)
            self._files.note(f"the report with pictures is {path}")
        except Exception as e:
            self._files.warn(f"report.html is not as the run is: {str(e) or type(e).__name__}")

    def fail(self, error: BaseException, state: TrainState) -> None:
        """Leaves the reason in summary.json, and a traceback in train.log if it is a bug."""
        if not self._files:
            return
        text = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        told = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
        if isinstance(error, PeerLost) and (reason := self._dist.failure()):
            text, told = reason.splitlines()[0], reason
        with contextlib.suppress(OSError):  # the disk may be what failed
            self._files.log.line("error", without_passwords(told))
            if self._begun:
                code = getattr(error, "exit_code", EXIT_BUG)
                failed = self._summary("failed", state, error=without_passwords(text), exit_code=code)
                write_json(self._run.summary, failed)
                if isinstance(error, Exception):  # not when the user will not wait
                    self._report()

    def _summary(self, status: str, state: TrainState, **more: Any) -> dict[str, Any]:
        return plan.summary(status, state, self._parts, self._dist.device) | more
