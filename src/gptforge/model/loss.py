"""The summed loss over a vocabulary in bounded memory; knows neither the model nor what the tokens mean."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gptforge.model.cost import LOGITS_AT_ONCE

IGNORED = -100


def summed_loss(hidden: Tensor, targets: Tensor, to_logits: Callable[[Tensor], Tensor], vocab_size: int) -> Tensor:
    """Cross-entropy in nats, summed over the targets that are not IGNORED: a float32 scalar.

    `hidden` is (B, T, n_embd), `targets` (B, T); `to_logits` makes float32 logits of hidden rows.
    Where there would be more than LOGITS_AT_ONCE of them, they are made chunk by chunk, and again
    in the backward pass, so that they never exist all at the same time.
    """

    def loss_of(rows: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(to_logits(rows), wanted, ignore_index=IGNORED, reduction="sum")

    rows, wanted = hidden.flatten(0, 1), targets.flatten()
    n_chunks = -(-wanted.numel() * vocab_size // LOGITS_AT_ONCE)
    if n_chunks <= 1:
        return loss_of(rows, wanted)
    # Nothing in here is random, so the random state need not be kept for the second time.
    losses = [
        checkpoint(loss_of, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(rows.tensor_split(n_chunks), wanted.tensor_split(n_chunks), strict=True)
    ]
    return torch.stack(losses).sum()
