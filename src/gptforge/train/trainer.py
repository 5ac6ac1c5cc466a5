"""The training loop: step, log, evaluate, sample, save when due; resume, stop and fail without losing anything.

Reads from top to bottom: `fit`, `_loop`, `step`. What exists is built in parts.py, what was
decided is in decisions.py, what is saved is in state.py, what is looked at is in evaluation.py,
what is written is in keeper.py.

Several processes run the same loop side by side. Each computes its rows of a batch; whatever changes the course of the
loop (a loss, a clock, a signal) is made one and the same on all of them by `dist`.
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gptforge import compiling, parallel
from gptforge.checkpoint import newest_sound
from gptforge.config import TrainConfig
from gptforge.config.saved import load_config
from gptforge.data.batch import Batch
from gptforge.dist import Dist, peers
from gptforge.errors import ConfigError, DataError, NumericalError, Stopped
from gptforge.logs import Sink
from gptforge.model.cost import flops_per_token
from gptforge.optim import lr_multiplier
from gptforge.runs import Call, Run
from gptforge.runtime import autocast, measured_peak, out_of_memory_as_error
from gptforge.signals import StopSignals
from gptforge.train import on_the_way, pace, plan
from gptforge.train.balance import Balance
from gptforge.train.clock import Clock, StopLimit
from gptforge.train.context import pieces_at
from gptforge.train.decisions import uncompiled
from gptforge.train.eager import or_eager
from gptforge.train.evaluation import Evaluator, Interrupted
from gptforge.train.keeper import Keeper
from gptforge.train.parts import Parts, build_parts
from gptforge.train.state import TrainState, not_finite, rng, seed_all, unpack
from gptforge.train.watch import SAID, answer


class Trainer:
    """Trains one model in one run directory.

    Without `parts` it builds tokenizer, data, model and optimizer from `cfg`; with them, people's
    own models and data train under the same loop. `signals` are the caller's, if it has handlers.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        run: Run,
        dist: Dist | None = None,
        parts: Parts | None = None,
        call: Call | None = None,
        signals: StopSignals | None = None,
    ) -> None:
        if parts is None:
            parts, dist = build_parts(cfg, dist=dist)
        self.cfg = cfg
        self.run = run
        self.dist = dist or Dist(parts.decisions.runtime.torch_device)
        self.parts = parts
        self.call = call or Call()
        self.signals = signals or StopSignals()
        self.decisions = parts.decisions
        self.replica = parallel.replicated(parts.model, self.dist)
        self.balance = Balance(parts.model, self.dist)
        self.rows = parallel.share(cfg.train.batch_size, self.dist)
        self.micro = int(parts.decisions.micro_batch_size.value or 1)
        self.autocast = partial(autocast, parts.decisions.runtime)
        self.evaluator = Evaluator(cfg, parts, self.autocast, self._poll, self.dist)
        self.keeper = Keeper(cfg, run, self.dist, parts, self.call)
        self.sinks = Sink()  # in `fit` those of the run
        self.state = TrainState()
        self._clock = Clock()
        self._saved_step: int | None = None
        self._went_on = False  # whether the weights come from a checkpoint

    @property
    def total_steps(self) -> int | None:
        """The run's length in steps; None when its length is a time."""
        return int(self.decisions.steps.value) if self.decisions.steps.value is not None else None

    # The run -----------------------------------------------------------------

    def fit(self, resume_from: Path | None = None, warnings: list[str] | None = None) -> dict[str, Any]:
        """Trains to the end and returns the summary.

        `resume_from` is a verified checkpoint of this run; `warnings` are told at the start. Raises
        Stopped (resumable), NumericalError, ResourceError.
        """
        less_memory = plan.ways_to_less_memory(self.rows.stop - self.rows.start, self.micro)
        with self.keeper.opened() as self.sinks, self.signals.polled():
            try:
                with peers(self.dist.world_size > 1), out_of_memory_as_error(*less_memory):
                    self._start(resume_from, warnings or [])
                    self._loop()
                    return self._finish("done")
            except Stopped as e:
                self.sinks.note(f"{e} after step {self.state.step}; the run can go on")
                self._finish("stopped")
                raise
            except BaseException as e:
                self.keeper.fail(e, self.state)
                raise

    def _start(self, resume_from: Path | None, warnings: list[str]) -> None:
        """Restores or begins, and tells what will run."""
        self.keeper.clear()
        seed_all(self.cfg.seed, self.dist.rank)  # for dropout; data order and samples have generators of their own
        if resume_from is not None:
            warnings = [*warnings, *self._restore(resume_from)]
        self.keeper.begin(self.state)
        self.peak_flops = self.dist.sum(measured_peak(self.decisions.runtime))[0]
        told = plan.make_plan(self.cfg, self.parts, self.call.choices, str(self.run.path))
        self.sinks.start(told, self.total_steps, self.decisions.seconds, self.state.step)
        for text in self.parts.dataset.notes:
            self.sinks.note(text)
        for text in [*warnings, *plan.warnings(self.cfg, self.parts)]:
            self.sinks.warn(text)
        if resume_from is not None:
            self.sinks.note(f"resumed after step {self.state.step} of {resume_from}")

    def _loop(self) -> None:
        self.parts.model.train()
        self._clock = Clock(self.state.seconds, self.state.tokens)
        limit = StopLimit(self.cfg.train.stop_after, self.state.step)
        self._make_up()
        while not self._over():
            self._stop_if(limit.reached(self.state.step))
            if (stats := self.step()) is None:
                self._make_up()
                continue
            self._log(stats)
            if self._eval_due():
                self._evaluate()
            if pace.save_due(self.state, self.decisions):
                self.state.planned_step = self.state.step
                self.save()

    def _make_up(self) -> None:
        """Evaluates after a step that a stop saved in the middle of its evaluation, and counts that save as due."""
        if self.state.step and self._eval_due() and self.state.last_eval_step != self.state.step:
            self._evaluate()
            self.keeper.point(self.state)
        if self.state.step and pace.save_due(self.state, self.decisions):
            self.state.planned_step = self.state.step

    def _over(self) -> bool:
        """Whether the run has reached its length, or ends early for want of progress."""
        patience = self.cfg.train.early_stop_patience
        if patience and self.state.evals_since_best >= patience:
            self.sinks.note(f"no better val_loss in {patience} evaluations: the run ends early")
            return True
        return self.state.progress >= 1.0

    # One step ----------------------------------------------------------------

    def step(self) -> dict[str, float] | None:
        """One optimizer step over cfg.train.batch_size sequences. Returns its loss (nats per token), norm and lr.

        None if the batch was passed over. Raises NumericalError before the update when loss or gradient is not finite.
        """
        optimizer = self.parts.optimizer
        lr = self._set_lr()
        began = time.perf_counter()
        batch = self.parts.loader.batch(self.state.step + self.state.watch.ahead, self.rows)
        self._clock.waited += time.perf_counter() - began
        tokens, seen = map(int, self.dist.sum(batch.learnt, batch.seen))
        # Each length of sequences would be compiled by itself, and the short ones are soon over
        with compiling.left_out(self.parts.model, when=self._pieces() > 1):
            total = or_eager(self.parts.model, partial(self._gradients, batch, tokens), self._go_on_uncompiled)
        norm = torch.nn.utils.clip_grad_norm_(self.parts.model.parameters(), self.cfg.train.grad_clip or math.inf)
        loss_sum, grad_norm = torch.stack([total, norm.float()]).tolist()  # the step's one wait for the device
        loss_sum, grad_norm = self._agreed(loss_sum, grad_norm)
        if self._passed_over(loss_sum / tokens, grad_norm):
            return None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.balance.move()
        if self.parts.average:
            self.parts.average.update(self.state.step + 1)
        self.state.advance(loss_sum, tokens, seen)
        self._measure_progress(self._clock.seconds())
        return {"loss": loss_sum / tokens, "grad_norm": grad_norm, "lr": lr}

    def _gradients(self, batch: Batch, tokens: int) -> torch.Tensor:
        """Sums up the gradients of a batch over its micro-batches; returns the summed loss."""
        model, device = self.replica, self.dist.device
        pieces, total = self._pieces(), torch.zeros((), device=device)
        self.balance.begin()
        for first in range(0, len(batch.inputs), self.micro):
            with parallel.accumulated(model, last=first + self.micro >= len(batch.inputs)):
                with self.autocast():
                    loss = self.parts.objective(model, batch.rows(first, first + self.micro).cut(pieces).to(device))
                (loss.total / tokens).backward()  # by the tokens of the whole step, not of the micro-batch
            total += loss.total.detach()
        return total

    def _pieces(self) -> int:
        return pieces_at(int(self.decisions.context_warmup.value or 0), self.state.step, self.state.progress)

    def _go_on_uncompiled(self, error: BaseException) -> None:
        """Takes note that compiling failed; a signal that reached the compiler too only stops the run."""
        self._stop_if()
        if self.dist.world_size > 1:  # the others may have added up gradients that this one would add once more
            raise ConfigError(compiling.reason(error), where="runtime.compile", fix="runtime.compile=false")
        self.sinks.warn(compiling.warning(error))
        self.decisions = self.parts.decisions = uncompiled(self.decisions, compiling.reason(error))
        before = self.keeper.fingerprint
        self.keeper.decided_anew()
        if self._went_on:  # else no step has been made with the compiler
            self.state.changed_on_the_way += on_the_way.of_machine(before, self.keeper.fingerprint, self.state.step)

    def _agreed(self, loss_sum: float, grad_norm: float) -> tuple[float, float]:
        """The loss over all processes, and the norm, which each has found by itself: finite on all or on none."""
        loss_sum, norms = self.dist.sum(loss_sum, grad_norm)
        return loss_sum, norms / self.dist.world_size

    def _set_lr(self) -> float:
        """Sets every group's lr to its share of its peak; returns that of optimizer.lr."""
        warm, state = pace.warm(self.state, self.decisions), self.state
        multiplier = lr_multiplier(self.cfg.schedule, state.progress, warm, state.warmup_end)
        for group in self.parts.optimizer.param_groups:
            group["lr"] = multiplier * group.setdefault("initial_lr", group["lr"])  # torch's name for the peak
        return multiplier * self.cfg.optimizer.lr

    def _passed_over(self, loss: float, grad_norm: float) -> bool:
        """Whether a batch makes no step, for what it would do to the weights. Raises NumericalError to stop instead."""
        watch, step = self.state.watch, self.state.step
        if fault := watch.judge(loss, grad_norm):
            policy = answer(fault, self.cfg, watch, step + 1, str(self.run.path))
            if policy != "warn":
                self.sinks.warn(f"{fault.told(step + 1)}; the batch is passed over")
                self.parts.optimizer.zero_grad(set_to_none=True)
                if policy == "rollback":
                    self._go_back()
                self.state.watch.pass_over()
                return True
            if watch.spikes <= SAID:
                self.sinks.warn(fault.told(step + 1))
        elif step == 0 and not self.cfg.init and (warning := plan.strange_start(loss, self.parts.tokenizer.vocab_size)):
            self.sinks.warn(warning)
        watch.accept(loss, grad_norm)
        return False

    def _go_back(self) -> None:
        """Takes up the newest sound checkpoint that was due, whatever stops have saved since; if there is one."""
        planned = self.state.planned_step
        path = self.dist.first(lambda: newest_sound(self.run, planned))
        if path is None:
            return
        before, watch, seconds = self.state.step, self.state.watch, self._clock.seconds()
        for warning in self._restore(path):
            self.sinks.warn(warning)
        watch.go_back(before, self.state.step, self.state.watch)
        self.state.watch = watch
        self.keeper.cut_back(self.state)
        self._clock = Clock(seconds, self.state.tokens)
        self.sinks.note(f"gone back from step {before} to step {self.state.step}")

    def _measure_progress(self, seconds: float) -> None:
        """How much of the run is over; where its length is a time, by the first process's clock."""
        self.state.seconds = seconds
        over = pace.progress(self.state, self.decisions, len(self.parts.dataset.val))
        if self.total_steps is None:
            (over,) = self.dist.sum(over if self.dist.main else 0.0)
        self.state.progress = over

    # When due ----------------------------------------------------------------

    def _log(self, stats: dict[str, float]) -> None:
        state = self.state
        self.sinks.progress(state.step, state.progress, {"train_loss": stats["loss"], "lr": stats["lr"]})
        if state.step % int(self.decisions.log_every.value or 1) and not self._eval_due():
            return
        speed, waited = self._clock.lap(state.tokens)
        context = self.cfg.model.block_size // self._pieces()
        flops = speed * flops_per_token(self.cfg.model, self.parts.tokenizer.vocab_size, context)
        self.sinks.record(
            {
                "step": state.step,
                "train_loss": state.take_loss(),
                "lr": stats["lr"],
                "grad_norm": stats["grad_norm"],
                "tokens": state.tokens,
                "tokens_per_second": round(speed, 1),
                "peak_share": round(flops / self.peak_flops, 4),
                "data_wait": round(waited, 5),
                "seconds": round(state.seconds, 3),
                **self.balance.figures(),
            }
        )

    def _eval_due(self) -> bool:
        return pace.eval_due(self.state, self.decisions, len(self.parts.dataset.val))

    def _evaluate(self) -> None:
        """Losses, a sample, and what follows from them."""
        began = time.perf_counter()
        state = self.state
        try:
            val, train = self.evaluator.losses()
        except Interrupted:
            self._stop_if()
            raise
        if not math.isfinite(val.loss):
            raise NumericalError(f"val_loss is {val.loss} at step {state.step}", where=str(self.run.path))
        state.last_eval_progress = state.progress
        state.last_eval_step = state.step
        record = {"step": state.step, **self.evaluator.told(val, train), "tokens": state.tokens}
        state.val_loss, state.val_bpb = val.loss, record.get("val_bpb")
        self.sinks.record(record | {"seconds": round(self._clock.seconds(), 3)})
        if warning := state.judge(val.loss, train.loss):
            self.sinks.warn(warning)
        try:
            if self.dist.main and (text := self.evaluator.sample(state.step)):
                self.sinks.sample(state.step, text)
        except DataError as e:
            self.sinks.warn(f"no sample: {e.what}")
        state.eval_seconds = max(state.eval_seconds, time.perf_counter() - began)
        self._clock.pause(time.perf_counter() - began)

    # Saving, stopping, ending --------------------------------------------------

    def save(self) -> None:
        """Commits a checkpoint of this step, unless there is one."""
        if self._saved_step == self.state.step:
            return
        if broken := not_finite(self.parts.model, self.parts.optimizer):
            what = f"{broken} has values that are no numbers after step {self.state.step}: nothing is saved"
            raise NumericalError(what, where=str(self.run.path), fix=f"gptforge train resume={self.run.pointer_name}")
        began = time.perf_counter()
        self.state.seconds = self._clock.seconds()
        self.keeper.save(self.state, self.dist.gathered(rng()))
        self._saved_step = self.state.step
        self.state.save_seconds = max(self.state.save_seconds, time.perf_counter() - began)
        self._clock.pause(time.perf_counter() - began)

    def _restore(self, path: Path) -> list[str]:
        """Takes up a checkpoint; returns warnings about what is not as it was."""
        parts, saved = self.parts, load_config(TrainConfig, path / "config.json")
        kinds = saved.optimizer.kind, self.cfg.optimizer.kind
        optimizer = parts.optimizer if kinds[0] == kinds[1] else None
        self.state, before = unpack(path, parts.model, optimizer, parts.average, self.dist.rank)
        now = self.keeper.fingerprint
        plan.refuse_other(before, now, path)
        self._saved_step, self._went_on = self.state.step, True
        self._take_up_progress(saved)
        self.keeper.point(self.state)  # before what they named is moved
        said = self.keeper.set_aside(self.state)
        if optimizer is None:
            said.append(f"{kinds[1]} begins anew, for {kinds[0]} has kept other means of the gradients")
        said += on_the_way.told(before, now)
        step = self.state.step
        self.state.changed_on_the_way += on_the_way.of_machine(before, now, step)
        self.state.changed_on_the_way += on_the_way.of_keys(saved, self.cfg, step)
        return said

    def _take_up_progress(self, before: TrainConfig) -> None:
        """The share of the run that is over, anew where its length has been changed."""
        state, loop = self.state, self.cfg.train
        if self.total_steps is not None:
            state.progress = state.step / self.total_steps
        elif loop.time != before.train.time:
            state.progress = 0.0
            self._measure_progress(state.seconds)
            state.last_eval_progress = state.progress

    def _poll(self) -> None:
        if self.dist.any(bool(self.signals.asked)):
            raise Interrupted

    def _stop_if(self, reason: str = "") -> None:
        """Saves and raises Stopped for the first process's reason, or for a signal to any of them."""
        if self.signals.asked:
            reason = f"stopped by {self.signals.asked}"
        if self.dist.any(bool(reason) and (self.dist.main or bool(self.signals.asked))):
            if self.state.step:
                self.save()
            raise Stopped(reason or "stopped by a signal")

    def _finish(self, status: str) -> dict[str, Any]:
        """Saves a run that is done, and sums it up."""
        if status == "done":
            self.save()
            self.state.seconds = self._clock.seconds()
        summary = self.keeper.finish(status, self.state, self.evaluator.passage)
        if len(set(self.dist.gathered(summary["weights_sha256"]))) > 1:
            self.sinks.warn("the processes ended with different weights: a machine is faulty, or own code differs")
        self.dist.barrier()  # all leave together: the first one to end may take the others along
        return summary
