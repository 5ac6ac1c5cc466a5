"""A mixture of experts: of many feed-forward layers a few for each token. Knows no optimizer, no processes, no steps.

Tokens are sorted by expert and multiplied stretch by stretch, so each goes through exactly top_k experts, and none is
dropped, however uneven the loads are (as in MegaBlocks, Gale et al. 2022, arXiv:2211.15841).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptforge.config import ModelConfig
from gptforge.model.grouped import grouped
from gptforge.model.parts import ACTIVATIONS, GATED, MLP

TINY = 1e-20  # beside a sum of scores, so that none is divided by zero


class Router(nn.Module):
    """Which experts a token goes through, and how much of each: a linear layer in float32, whatever the rest is in.

    An expert's score is the sigmoid of its logit (DeepSeek-V3, arXiv:2412.19437) or its share in the softmax of all
    (Mixtral, Jiang et al. 2024, arXiv:2401.04088). Chosen are the highest scores plus `choice_bias`, which is not
    learnt but moved against the load after each step (`move`), and weighs nothing: Wang et al. 2024, arXiv:2408.15664.
    """

    choice_bias: Tensor | None

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        moe = cfg.moe
        self.softmax, self.top_k = moe.score == "softmax", moe.top_k
        self.normalize, self.scale, self.rate = moe.normalize, moe.scale, moe.bias_rate
        self.weight = nn.Parameter(torch.empty(moe.n_expert or 0, cfg.n_embd))
        self.register_buffer("choice_bias", torch.zeros(moe.n_expert or 0) if moe.bias else None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of rows (N, n_embd) the experts of each, (N, top_k), and their weights, (N, top_k) in float32."""
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.to(wide), self.weight.to(wide))
        scores = logits.softmax(-1) if self.softmax else logits.sigmoid()
        with torch.no_grad():
            for_choice = scores if self.choice_bias is None else scores + self.choice_bias
            chosen = for_choice.topk(self.top_k, sorted=False).indices
        weights = scores.gather(1, chosen)
        if self.normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + TINY)
        return chosen, weights * self.scale

    @torch.no_grad()
    def move(self, load: Tensor) -> None:
        """Raises the bias of experts with less than the mean load, lowers that of the others; (n_expert,) tokens."""
        if self.choice_bias is not None:
            self.choice_bias.add_((load.sum() - load * len(load)).sign(), alpha=self.rate)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        """Moves between devices as all do, but the bias stays float32: its steps are smaller than bfloat16 can tell."""
        before = self.choice_bias
        super()._apply(fn, recurse)
        if before is not None and self.choice_bias is not None and self.choice_bias.dtype != torch.float32:
            self.choice_bias = before.to(self.choice_bias.device, torch.float32)
        return self


class Experts(nn.Module):
    """A linear layer of each expert, in one tensor (n_expert, out, in); unset until `Transformer.init_weights`."""

    def __init__(self, n_expert: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_expert, n_out, n_in))

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Rows sorted by expert (S, in), of which those of each end at `ends`, to (S, out)."""
        return grouped(x, self.weight.to(x.dtype), ends)


class Places(NamedTuple):
    """The way of N tokens to their experts and back; S = N * top_k places, sorted by expert."""

    order: Tensor  # (S,): which choice, counted token by token, stands in each place
    back: Tensor  # (S,): the place of each choice
    ends: Tensor  # (n_expert,): the end of each expert's places, int32


def places(chosen: Tensor, n_expert: int) -> Places:
    """Of chosen experts (N, top_k). Tokens of one expert keep their order, so that results can be repeated."""
    experts, order = chosen.flatten().sort(stable=True)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    ends = torch.searchsorted(experts, torch.arange(n_expert, device=experts.device), right=True)
    return Places(order, back, ends.int())


class MoE(nn.Module):
    """The feed-forward layer of experts, (..., n_embd) to the same shape: the weighted sum of the chosen ones' results.

    Experts are as `MLP`, without biases. n_shared of them, which every token goes through (DeepSeekMoE, Dai et al.
    2024, arXiv:2401.06066), are one MLP, `shared`. `load` counts the tokens of each expert in training, (n_expert,)
    int64, once someone has set it.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.n_expert, width = cfg.moe.n_expert or 0, cfg.expert_width
        self.activation = ACTIVATIONS[cfg.mlp.kind]
        self.router = Router(cfg)
        self.gate = Experts(self.n_expert, cfg.n_embd, width) if cfg.mlp.kind in GATED else None
        self.fc = Experts(self.n_expert, cfg.n_embd, width)
        self.proj = Experts(self.n_expert, width, cfg.n_embd)
        self.shared = MLP(cfg, width * cfg.moe.n_shared) if cfg.moe.n_shared else None
        self.load: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.size(-1))
        chosen, weights = self.router(rows)
        place = places(chosen, self.n_expert)
        if self.training and self.load is not None:
            self.load += place.ends.diff(prepend=place.ends.new_zeros(1))
        if torch.is_autocast_enabled(x.device.type):
            rows = rows.to(torch.get_autocast_dtype(x.device.type))
        y = self._chosen(rows, weights, place).view(x.shape)
        return y if self.shared is None else y + self.shared(x)

    def _chosen(self, rows: Tensor, weights: Tensor, place: Places) -> Tensor:
        """The experts' results of rows (N, n_embd), weighted before the last product, where they are narrower."""
        sent = _Sent.apply(rows, place.order, place.back)
        hidden = self.fc(sent, place.ends)
        if self.gate is None:
            hidden = self.activation(hidden)
        else:
            hidden = self.activation(self.gate(sent, place.ends)) * hidden
        hidden = hidden * weights.flatten()[place.order, None].to(hidden.dtype)
        return _Returned.apply(self.proj(hidden, place.ends), place.order, place.back, len(rows))


def _send(x: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """Rows of tokens (N, d) to those of places (S, d)."""
    return x.index_select(0, order // (len(back) // len(x)))


def _return(y: Tensor, back: Tensor, n: int) -> Tensor:
    """Rows of places (S, d) to the sums of each token's, (n, d)."""
    return y.index_select(0, back).view(n, -1, y.size(1)).sum(1)


class _Sent(torch.autograd.Function):
    """A copy of each token's row for each of its experts. Its derivative is the way back: no sums in random order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.n = len(x)
        return _send(x, order, back)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return _return(grads[0], back, ctx.n), None, None


class _Returned(torch.autograd.Function):
    """The sum of what a token's experts have made of it; its derivative goes to each of them."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, order: Tensor, back: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(order, back)
        return _return(y, back, n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _send(grads[0].contiguous(), *ctx.saved_tensors), None, None, None
