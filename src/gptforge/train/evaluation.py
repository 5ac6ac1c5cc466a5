"""What a run looks at when an evaluation is due: losses over text, and a text of the model's own; a passage at its end.

Draws from generators of its own, so that training does not notice. Knows nothing of steps, files or what follows.
"""

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from gptforge.compiling import left_out
from gptforge.config import TrainConfig
from gptforge.config.objective import MLM
from gptforge.data.batch import Batch
from gptforge.data.loader import eval_batches, n_eval_windows
from gptforge.data.masking import masked, masking_of
from gptforge.dist import Dist
from gptforge.evals.loss import LossResult, evaluate
from gptforge.evals.passage import passage
from gptforge.model import Transformer
from gptforge.sampling import generate_text, unescaped
from gptforge.train.parts import Parts

TRAIN_WINDOWS = 64  # of the training text, for an estimate beside the validation loss
SAMPLE_TOKENS = 240  # in a sample at an evaluation
BATCH = 16  # windows at once, if micro-batches are smaller


class Interrupted(Exception):
    """An evaluation was given up because of a signal; it is done again when the run goes on."""


class Evaluator:
    """Looks at a model in training. `poll` is called between batches and may raise to give up.

    The processes of a run share the losses (`dist`), and any of them can write a sample.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        parts: Parts,
        autocast: Callable[[], AbstractContextManager[object]],
        poll: Callable[[], None],
        dist: Dist | None = None,
    ) -> None:
        self._dist = dist
        self._cfg, self._parts, self._autocast, self._poll = cfg, parts, autocast, poll
        self._token_bytes = torch.from_numpy(parts.tokenizer.token_bytes())
        hides = cfg.objective.kind == MLM
        self._masking = masking_of(cfg.objective, parts.tokenizer, None) if hides else None
        self._batch = max(BATCH, int(parts.decisions.micro_batch_size.value or 1))

    def losses(self) -> tuple[LossResult, LossResult]:
        """The loss over the whole validation split, and over windows spread evenly through the training split."""
        data, block_size = self._parts.dataset, self._cfg.model.block_size
        n_train = min(TRAIN_WINDOWS, n_eval_windows(len(data.val), block_size))
        apart = self._cfg.data.pack == "documents"
        of_val, of_train = (data.val_starts, data.train_starts) if apart else (None, None)
        val = eval_batches(data.val, block_size, self._batch, documents=of_val)
        train = eval_batches(data.train, block_size, self._batch, limit_windows=n_train, documents=of_train)
        with self._parts.best_weights():
            return self._loss(val), self._loss(train)

    def told(self, val: LossResult, train: LossResult) -> dict[str, float]:
        """The figures of an evaluation. Those of hidden tokens are of some of the text alone, and of what it is like
        with the others known: bits per byte, and a perplexity, of the text they do not tell."""
        found = {"val_loss": val.loss, "val_bpb": val.bits_per_byte, "val_ppl": val.perplexity}
        found |= {"train_eval_loss": train.loss}
        return {k: v for k, v in found.items() if self._masking is None or k.endswith("loss")}

    def _loss(self, batches: Iterable[Batch]) -> LossResult:
        model = self._parts.model
        batches = batches if self._masking is None else masked(batches, self._masking)
        with left_out(model):  # a graph for each shape of evaluation would cost more than it saves
            return evaluate(model, batches, self._token_bytes, self._autocast, self._poll, self._dist)

    def sample(self, step: int) -> str:
        """The prompt and what the model makes of it. Raises DataError for a prompt outside the vocabulary."""
        prompt = unescaped(self._cfg.prompt)
        if not isinstance(self._parts.model, Transformer) or self._masking:  # someone's own may not write
            return ""
        length = min(self._cfg.sample.max_new_tokens, SAMPLE_TOKENS)
        sampling = dataclasses.replace(self._cfg.sample, max_new_tokens=length, num_samples=1)
        with self._parts.best_weights():
            pieces = generate_text(self._parts.model, self._parts.tokenizer, prompt, sampling, self._cfg.seed + step)
            return prompt + "".join(piece for (piece,) in pieces)

    def passage(self) -> dict[str, Any] | None:
        """The loss of each token of the validation text's begin, by the weights that are handed on, as JSON values."""
        model, data = self._parts.model, self._parts.dataset
        if not isinstance(model, Transformer) or self._masking:  # someone's own may give none
            return None
        documents = data.val_starts if self._cfg.data.pack == "documents" else None
        with self._parts.best_weights(), left_out(model):
            return passage(model, data.val, self._parts.tokenizer, self._autocast, documents)
