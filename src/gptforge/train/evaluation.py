"""What a run looks at when an evaluation is due: losses over text, and a text of the model's own; a passage at its end.

Draws from generators of its own, so that training does not notice. Knows nothing of steps, files or what follows.
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from gptforge.compiling import left_out
from gptforge.config import TrainConfig
from gptforge.data.loader import eval_batches, n_eval_windows
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

    def _loss(self, batches) -> LossResult:
        model = self._parts.model
        with left_out(model):  # a graph for each shape of evaluation would cost more than it saves
            return evaluate(model, batches, self._token_bytes, self._autocast, self._poll, self._dist)

    def sample(self, step: int) -> str:
        """The prompt and what the model makes of it. Raises DataError for a prompt outside the vocabulary."""
        prompt = unescaped(self._cfg.prompt)
        if not isinstance(self._parts.model, Transformer):  # someone's own model: it may not write
            return ""
        length = min(self._cfg.sample.max_new_tokens, SAMPLE_TOKENS)
        sampling = dataclasses.replace(self._cfg.sample, max_new_tokens=length, num_samples=1)
        with self._parts.best_weights():
            pieces = generate_text(self._parts.model, self._parts.tokenizer, prompt, sampling, self._cfg.seed + step)
            return prompt + "".join(piece for (piece,) in pieces)

    def passage(self) -> dict[str, Any] | None:
        """The loss of each token of the validation text's begin, by the weights that are handed on, as JSON values."""
        model, data = self._parts.model, self._parts.dataset
        if not isinstance(model, Transformer):  # someone's own model: it may give no logits
            return None
        documents = data.val_starts if self._cfg.data.pack == "documents" else None
        with self._parts.best_weights(), left_out(model):
            return passage(model, data.val, self._parts.tokenizer, self._autocast, documents)
