"""The training loop: step, log, evaluate, sample, save when due; resume, stop and fail without losing anything.

Reads from top to bottom: `fit`, `_loop`, `step`. What exists is built in parts.py, what was
decided is in decisions.py, what is saved is in state.py.
"""

import math
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptforge import checkpoint
from gptforge.compose import as_saved
from gptforge.config import TrainConfig
from gptforge.config.units import steps_or_duration
from gptforge.data.batch import Batch
from gptforge.data.loader import eval_batches, n_eval_windows
from gptforge.dist import Dist
from gptforge.errors import CheckpointError, NumericalError, Stopped, UserError
from gptforge.evals.loss import LossResult, evaluate
from gptforge.logs import Sinks, open_sinks
from gptforge.model import Transformer
from gptforge.model.cost import flops_per_token
from gptforge.optim import lr_multiplier
from gptforge.runs import Call, Run, write_json
from gptforge.runtime import autocast, measured_peak, out_of_memory_as_error, peak_memory
from gptforge.sampling import generate_text
from gptforge.signals import StopSignals
from gptforge.train import plan
from gptforge.train.decisions import EVALUATIONS
from gptforge.train.parts import Parts, build_parts
from gptforge.train.state import TrainState, pack, unpack

TRAIN_EVAL_WINDOWS = 64  # of the training text, for an estimate beside the validation loss
SAMPLE_TOKENS = 240  # in a sample at an evaluation
INIT_LOSS_MARGIN = 0.5  # nats around ln(vocab_size) in which an initial loss is ordinary
OVERFIT_MARGIN = 0.02  # share by which the validation loss is above its best before it is called overfitting


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
            parts, dist = build_parts(cfg)
        self.cfg = cfg
        self.run = run
        self.dist = dist or Dist(parts.decisions.runtime.torch_device)
        self.parts = parts
        self.call = call or Call()
        self.signals = signals or StopSignals()
        self.decisions = parts.decisions
        self.state = TrainState()
        self.autocast = partial(autocast, parts.decisions.runtime)
        self.token_bytes = torch.from_numpy(parts.tokenizer.token_bytes())
        self.micro = int(parts.decisions.micro_batch_size.value or 1)
        self.flops_per_token = flops_per_token(cfg.model, parts.tokenizer.vocab_size)
        self.fingerprint = plan.fingerprint(parts)
        self.sinks: Sinks
        self._clock = Clock()
        self._reserve = 0.0  # seconds that the last evaluation and save of a timed run will take
        self._saved_step: int | None = None

    # The run -----------------------------------------------------------------

    def fit(self, resume_from: Path | None = None, warnings: list[str] | None = None) -> dict[str, Any]:
        """Trains to the end and returns the summary.

        `resume_from` is a verified checkpoint of this run; `warnings` are told at the start. Raises
        Stopped (resumable), NumericalError, ResourceError.
        """
        with self.run.locked():
            self.sinks = open_sinks(self.run.path, self.cfg.ui)
            try:
                self._start(resume_from, warnings or [])
                with self.signals.polled():
                    self._loop()
                    return self._finish("done")
            except Stopped as e:
                self._finish("stopped", said=str(e))
                raise
            except BaseException as e:
                self._failed(e)
                raise
            finally:
                self.sinks.close()

    def _start(self, resume_from: Path | None, warnings: list[str]) -> None:
        """Restores or begins, and tells what will run."""
        checkpoint.sweep_litter(self.run)
        torch.manual_seed(self.cfg.seed)  # dropout; data order and samples have their own
        if resume_from is not None:
            warnings = warnings + self._restore(resume_from)
        else:
            self.sinks.metrics.truncate(0)
        write_json(self.run.decisions, self.decisions.to_dict())
        write_json(self.run.path / "env.json", plan.environment(self.parts))
        write_json(self.run.summary, self._summary("running"))
        self.peak_flops = measured_peak(self.decisions.runtime)
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
        self._clock.start(self.state.seconds)
        self._limit = StopLimit(self.cfg.train.stop_after, self.state, self._clock)
        if self.state.step and self._eval_due() and self.state.last_eval_step != self.state.step:
            self._evaluate()  # the run was stopped in the middle of it
        while not self._over():
            self._stop_if_asked()
            stats = self.step()
            self._log(stats)
            if self._eval_due():
                self._evaluate()
            if self._save_due():
                self.save()

    @property
    def total_steps(self) -> int | None:
        return int(self.decisions.steps.value) if self.decisions.steps.value is not None else None

    def _over(self) -> bool:
        """Whether the run has reached its length, or stops early for want of progress."""
        patience = self.cfg.train.early_stop_patience
        if patience and self.state.evals_since_best >= patience:
            self.sinks.note(f"no better val_loss in {patience} evaluations: the run ends early")
            return True
        return self.state.progress >= 1.0

    # One step ----------------------------------------------------------------

    def step(self) -> dict[str, float]:
        """One optimizer step over cfg.train.batch_size sequences. Returns its loss (nats per token), norm and lr.

        Raises NumericalError before the update when loss or gradient is not finite.
        """
        model, optimizer = self.parts.model, self.parts.optimizer
        lr = self._set_lr()
        began = time.perf_counter()
        batch = self.parts.loader.batch(self.state.step)
        tokens = batch.learnt
        self._clock.waited += time.perf_counter() - began
        total = torch.zeros((), device=self.dist.device)
        with out_of_memory_as_error(self.micro):
            for micro_batch in split(batch, self.micro):
                with self.autocast():
                    loss = self.parts.objective(model, micro_batch.to(self.dist.device))
                (loss.total / tokens).backward()
                total += loss.total.detach()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.cfg.train.grad_clip or math.inf)
        loss_sum, grad_norm = torch.stack([total.double(), norm.double()]).tolist()  # one wait for the device
        self._check_finite(loss_sum / tokens, grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._advance(loss_sum, tokens)
        return {"loss": loss_sum / tokens, "grad_norm": grad_norm, "lr": lr}

    def _set_lr(self) -> float:
        multiplier = lr_multiplier(
            self.cfg.schedule, self.state.progress, self.state.step, int(self.decisions.warmup_steps.value or 0)
        )
        lr = self.cfg.optimizer.lr * multiplier
        for group in self.parts.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _advance(self, loss_sum: float, tokens: int) -> None:
        state = self.state
        state.step += 1
        state.tokens += tokens
        state.loss_sum += loss_sum
        state.loss_tokens += tokens
        state.seconds = self._clock.seconds()
        if self.total_steps is not None:
            state.progress = state.step / self.total_steps
        else:
            budget = max(1e-9, (self.decisions.seconds or 0.0) - self._reserve)
            state.progress = min(1.0, max(state.progress, state.seconds / budget))

    def _check_finite(self, loss: float, grad_norm: float) -> None:
        for name, value in (("loss", loss), ("gradient norm", grad_norm)):
            if not math.isfinite(value):
                raise NumericalError(
                    f"the {name} is {value} in step {self.state.step + 1}; the weights are still those before it",
                    where=str(self.run.path),
                    fix=[f"a smaller lr: optimizer.lr={self.cfg.optimizer.lr / 3:.1g}", "runtime.dtype=float32"],
                )
        expected = math.log(self.parts.tokenizer.vocab_size)
        if self.state.step == 0 and abs(loss - expected) > INIT_LOSS_MARGIN:
            self.sinks.warn(
                f"the initial loss is {loss:.3f}; guessing evenly gives ln(vocabulary) = {expected:.3f}: "
                "the initial weights may be too large"
            )

    # When due ----------------------------------------------------------------

    def _log(self, stats: dict[str, float]) -> None:
        state = self.state
        self.sinks.progress(state.step, state.progress, {"train_loss": stats["loss"], "lr": stats["lr"]})
        if state.step % int(self.decisions.log_every.value or 1) and state.progress < 1.0 and not self._eval_due():
            return
        state.train_loss = state.loss_sum / state.loss_tokens
        speed, waited = self._clock.lap(state.tokens)
        self.sinks.record(
            {
                "step": state.step,
                "train_loss": state.train_loss,
                "lr": stats["lr"],
                "grad_norm": stats["grad_norm"],
                "tokens": state.tokens,
                "tokens_per_second": round(speed, 1),
                "peak_share": round(speed * self.flops_per_token / self.peak_flops, 4),
                "data_wait": round(waited, 5),
                "seconds": round(state.seconds, 3),
            }
        )
        state.loss_sum, state.loss_tokens = 0.0, 0

    def _eval_due(self) -> bool:
        every = self.decisions.eval_every.value
        if self.state.progress >= 1.0:
            return True
        if every is not None:
            return self.state.step % int(every) == 0
        return int(self.state.progress * EVALUATIONS) > self._clock.evaluations

    def _save_due(self) -> bool:
        every = self.decisions.checkpoint_every.value
        if self.state.progress >= 1.0 or every is None:
            return self.state.progress >= 1.0 or self.state.last_eval_step == self.state.step
        return self.state.step % int(every) == 0

    def _evaluate(self) -> None:
        """Validation loss over the whole split, a training estimate beside it, a sample, and what follows from them."""
        began = time.perf_counter()
        state, dataset = self.state, self.parts.dataset
        windows = min(TRAIN_EVAL_WINDOWS, n_eval_windows(len(dataset.val), self.cfg.model.block_size))
        try:
            val = self._loss_of(dataset.val)
            train = self._loss_of(dataset.train, windows)
        except Interrupted:
            self._stop_if_asked()
            raise
        self._clock.evaluations = int(state.progress * EVALUATIONS)
        state.last_eval_step = state.step
        state.val_loss, state.val_bpb = val.loss, val.bits_per_byte
        record = {"step": state.step, "val_loss": val.loss, "val_bpb": val.bits_per_byte}
        record |= {"val_ppl": val.perplexity, "train_eval_loss": train.loss, "tokens": state.tokens}
        self.sinks.record(record | {"seconds": round(self._clock.seconds(), 3)})
        self._compare(val.loss, train.loss)
        self._sample(min(self.cfg.sample.max_new_tokens, SAMPLE_TOKENS))
        self._clock.pause(time.perf_counter() - began)
        self._reserve = max(self._reserve, 1.3 * (time.perf_counter() - began))

    def _loss_of(self, tokens: Any, limit: int | None = None) -> LossResult:
        batches = eval_batches(tokens, self.cfg.model.block_size, max(self.micro, 16), limit)
        return evaluate(self.parts.model, batches, self.token_bytes, self.autocast, self._poll)

    def _compare(self, val_loss: float, train_loss: float) -> None:
        """Keeps the best, and says so when the model begins to learn the text by heart."""
        state = self.state
        if not math.isfinite(val_loss):
            raise NumericalError(f"the validation loss is {val_loss} at step {state.step}", where=str(self.run.path))
        if state.best_val_loss is None or val_loss < state.best_val_loss:
            state.best_val_loss, state.best_step, state.train_eval_at_best = val_loss, state.step, train_loss
            state.evals_since_best = 0
            return
        state.evals_since_best += 1
        learnt_by_heart = state.train_eval_at_best is not None and train_loss < state.train_eval_at_best
        if learnt_by_heart and val_loss > state.best_val_loss * (1 + OVERFIT_MARGIN) and not state.overfit_said:
            state.overfit_said = True
            self.sinks.warn(
                f"the model overfits: since step {state.best_step} the training loss falls (now {train_loss:.3f}) while "
                f"val_loss rose from {state.best_val_loss:.3f} to {val_loss:.3f}; the best checkpoint is kept. "
                "More text, model.dropout=0.2, a smaller model or train.early_stop_patience=2 help"
            )

    def _sample(self, tokens: int) -> None:
        """A text for people; it draws from a generator of its own, so training does not notice."""
        if not isinstance(self.parts.model, Transformer):
            return
        sampling = type(self.cfg.sample)(**{**_fields(self.cfg.sample), "max_new_tokens": tokens, "num_samples": 1})
        try:
            pieces = generate_text(
                self.parts.model, self.parts.tokenizer, self.cfg.prompt, sampling, self.cfg.seed + self.state.step
            )
            text = "".join(piece for (piece,) in pieces)
        except UserError as e:
            self.sinks.warn(f"no sample: {e.what}")
            return
        self.sinks.sample(self.state.step, self.cfg.prompt + text)

    # Saving, stopping, ending --------------------------------------------------

    def save(self) -> None:
        """Commits a checkpoint of this step, moves the pointers, and rotates."""
        step = self.state.step
        if self._saved_step == step:
            return
        self.sinks.metrics.sync()
        self.state.metrics_bytes = self.sinks.metrics.length()
        self.state.seconds = self._clock.seconds()
        files = pack(self.state, self.parts.model, self.parts.optimizer, self.fingerprint)
        files["config.json"] = checkpoint.json_bytes(as_saved(self.cfg, self.call.choices))
        files["decisions.json"] = checkpoint.json_bytes(self.decisions.to_dict())
        files["tokenizer.json"] = checkpoint.json_bytes(self.parts.tokenizer.stored())
        checkpoint.commit(self.run, step, files)
        checkpoint.point(self.run, "latest", step)
        if self.state.best_step == step:
            checkpoint.point(self.run, "best", step)
        checkpoint.rotate(self.run, self.cfg.checkpoint.keep)
        self._saved_step = step

    def _restore(self, path: Path) -> list[str]:
        """Takes up a checkpoint; returns warnings about what is not as it was."""
        self.state, before = unpack(path, self.parts.model, self.parts.optimizer)
        for key, name in plan.REFUSED.items():
            if before.get(key) != self.fingerprint[key]:
                raise CheckpointError(
                    f"{name} is not the one this run was trained on", where=str(path), fix="start a new run on it"
                )
        self.sinks.metrics.truncate(self.state.metrics_bytes)
        aside = checkpoint.set_aside(self.run, self.state.step)
        self._saved_step = self.state.step
        said = [f"later checkpoints were moved to {aside}"] if aside else []
        changed = [f"{k} {before.get(k)} -> {v}" for k, v in self.fingerprint.items() if before.get(k) != v]
        return said + [f"not bit for bit as without a stop: {', '.join(changed)}"] if changed else said

    def _poll(self) -> None:
        if self.signals.asked:
            raise Interrupted

    def _stop_if_asked(self) -> None:
        reason = f"stopped by {self.signals.asked}" if self.signals.asked else self._limit.reached()
        if reason:
            self.save()
            raise Stopped(reason)

    def _summary(self, status: str, **more: Any) -> dict[str, Any]:
        state = self.state
        best = {"best_val_loss": state.best_val_loss, "best_step": state.best_step}
        return {
            "status": status,
            "steps": state.step,
            "tokens": state.tokens,
            "seconds": round(state.seconds, 3),
            "tokens_per_second": round(state.tokens / state.seconds, 1) if state.seconds else None,
            "train_loss": state.train_loss,
            "val_loss": state.val_loss,
            "val_bpb": state.val_bpb,
            **best,
            "peak_memory_bytes": peak_memory(self.dist.device),
            "parameters": sum(p.numel() for p in self.parts.model.parameters()),
            **more,
        }

    def _finish(self, status: str, said: str = "") -> dict[str, Any]:
        """Writes the summary and tells the result with what to type next."""
        if status == "done":
            self.save()
            self.state.seconds = self._clock.seconds()
        summary = self._summary(status, weights_sha256=checkpoint.weights_sha256(self.parts.model))
        write_json(self.run.summary, summary)
        name = self.run.pointer_name
        resume = f"gptforge train resume={name}"
        commands = [f'gptforge sample ckpt={name} prompt="ROMEO:"' if status == "done" else resume]
        commands += [f"gptforge sample ckpt={name}/best"] if self.state.best_step not in (None, self.state.step) else []
        if said:
            self.sinks.note(f"{said} after step {self.state.step}; the run can go on")
        self.sinks.finish(summary, commands)
        return summary

    def _failed(self, error: BaseException) -> None:
        """Leaves the reason in summary.json, and a traceback in train.log if it is a bug."""
        text = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, UserError):
            self.sinks.log.line("traceback", "".join(traceback.format_exception(error)))
        else:
            self.sinks.log.line("error", str(error))
        write_json(self.run.summary, self._summary("failed", error=text))


class Interrupted(Exception):
    """An evaluation was given up because of a signal; it is done again when the run goes on."""


class Clock:
    """Time spent in the loop over all starts of a run, and speed since the last record without evaluations."""

    def __init__(self) -> None:
        self.waited = 0.0  # seconds for data since the last record
        self.evaluations = 0  # tenths of the run that were evaluated, in a run of fixed time

    def start(self, seconds_before: float) -> None:
        self._begin = time.perf_counter() - seconds_before
        self._lap = time.perf_counter()
        self._paused = 0.0
        self._tokens: int | None = None

    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def pause(self, seconds: float) -> None:
        """Time that was no training."""
        self._paused += seconds

    def lap(self, tokens: int) -> tuple[float, float]:
        """(tokens per second, share of the time spent waiting for data) since the last call."""
        now = time.perf_counter()
        spent = max(1e-9, now - self._lap - self._paused)
        speed = (tokens - (self._tokens or 0)) / spent
        waited = self.waited / spent
        self._lap, self._paused, self.waited, self._tokens = now, 0.0, 0.0, tokens
        return speed, min(1.0, waited)


class StopLimit:
    """train.stop_after: so many steps or seconds from this start on."""

    def __init__(self, text: str | None, state: TrainState, clock: Clock) -> None:
        self.text, self.state, self.clock = text, state, clock
        self.steps, self.seconds = steps_or_duration(text) if text else (None, None)
        self.first_step, self.first_second = state.step, clock.seconds()
        clock._tokens = state.tokens

    def reached(self) -> str:
        """The reason to stop, or nothing."""
        over = self.steps is not None and self.state.step - self.first_step >= self.steps
        late = self.seconds is not None and self.clock.seconds() - self.first_second >= self.seconds
        return f"stopped as train.stop_after={self.text} asks" if over or late else ""


def split(batch: Batch, size: int) -> list[Batch]:
    """A batch as micro-batches of `size` rows."""
    rows: Callable[[Tensor | None, int], Tensor | None] = lambda t, i: None if t is None else t[i : i + size]  # noqa: E731
    return [
        Batch(batch.inputs[i : i + size], batch.labels[i : i + size], rows(batch.documents, i))
        for i in range(0, len(batch.inputs), size)
    ]


def _fields(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in type(config).__dataclass_fields__}
