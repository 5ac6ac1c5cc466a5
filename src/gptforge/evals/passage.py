"""How well a model predicts each token of one short passage, to be looked at. Knows neither runs nor files.

One forward pass; nothing is drawn at random, and the model is left as it was.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gptforge.data.loader import eval_batches
from gptforge.model import Transformer
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.report import token_text

SCHEMA_VERSION = 1
LENGTH = 256  # tokens that are predicted, at most


@torch.no_grad()
def passage(
    model: Transformer,
    tokens: np.ndarray,
    tokenizer: Tokenizer,
    autocast: Callable[[], AbstractContextManager[object]],
    documents: np.ndarray | None = None,
) -> dict[str, Any]:
    """The begin of `tokens` (n,), n >= 2, as JSON values: each piece of text with its loss in nats.

    As many are predicted as fit into the model's context, LENGTH at most; the first one is not, and its loss is None,
    as is one that is not finite. `documents` as in `data.loader.TrainLoader`.
    """
    n = min(LENGTH, model.cfg.block_size, len(tokens) - 1)
    (batch,) = eval_batches(tokens[: n + 1], n, 1, documents=documents)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        moved = batch.to(device)
        with autocast():
            logits = model(moved.inputs, documents=moved.documents)[0]
    finally:
        model.train(was_training)
    nats = F.cross_entropy(logits.float(), moved.labels[0], reduction="none").tolist()
    texts = [token_text(tokenizer, int(i)) for i in tokens[: n + 1]]
    known = [None, *(value if np.isfinite(value) else None for value in nats)]
    pieces = [{"text": text, "nats": value} for text, value in zip(texts, known, strict=True)]
    return {"schema_version": SCHEMA_VERSION, "pieces": pieces}
