"""From logits to the next token. Pure functions over (B, V) rows on the CPU; knows no model."""

import torch
from torch import Tensor

from gptforge.config import SamplingConfig


def next_tokens(logits: Tensor, seen: Tensor | None, cfg: SamplingConfig, u: Tensor) -> Tensor:
    """Draws one token a row: (B, V) logits and a number in [0, 1) for each row, (B,) float64 -> (B,) ids.

    `seen` (B, V) marks the tokens already there; only the repetition penalty looks at it. The order
    is the usual one: repetition penalty, temperature, top-k, top-p, min-p.
    """
    logits = logits.float()
    if cfg.repetition_penalty != 1.0:
        assert seen is not None
        logits = penalized(logits, seen, cfg.repetition_penalty)
    if cfg.temperature == 0:
        return logits.argmax(dim=-1)
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / cfg.temperature  # a tiny temperature must not overflow
    if cfg.top_k is not None:
        logits = keep_top_k(logits, cfg.top_k)
    if cfg.top_p is not None and cfg.top_p < 1:
        logits = keep_top_p(logits, cfg.top_p)
    if cfg.min_p is not None:
        logits = keep_min_p(logits, cfg.min_p)
    return draw(logits.softmax(dim=-1), u)


def draw(probabilities: Tensor, u: Tensor) -> Tensor:
    """One index a row by inverting the cumulative distribution: the same numbers u (B,) give the same draw."""
    cumulative = probabilities.double().cumsum(dim=-1)
    # the largest cumulative value is not exactly 1; the last token with any probability takes the rest
    drawn = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True)
    last = probabilities.shape[-1] - 1 - (probabilities.flip(-1) > 0).int().argmax(dim=-1, keepdim=True)
    return torch.minimum(drawn, last).squeeze(-1)


def penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Repetition penalty (Keskar et al. 2019, CTRL, arXiv:1909.05858): positive logits divided, negative multiplied."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Only the k largest of each row (Fan et al. 2018, arXiv:1805.04833); ties at the edge stay."""
    smallest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751): the likeliest tokens that make up p, at least one."""
    ordered, index = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    ordered = ordered.masked_fill(before >= p, -torch.inf)
    return torch.empty_like(logits).scatter_(-1, index, ordered)


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """Min-p (Nguyen et al. 2024, arXiv:2407.01082): tokens at least `share` as likely as the likeliest."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < share * probabilities.amax(dim=-1, keepdim=True), -torch.inf)
