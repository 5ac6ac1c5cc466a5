"""The small parts of a block, chosen by name: norms, feed-forward, rotary positions. They do not know each other."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptforge.config import ModelConfig
from gptforge.config.model import RopeConfig
from gptforge.model.elementwise import dropped, relu2, turned, unit_rms


class Linear(nn.Linear):
    """A linear layer whose weights are unset until `Transformer.init_weights` fills them."""

    def reset_parameters(self) -> None:
        """Draw nothing: building a model must not move the global random state."""


class Embedding(nn.Embedding):
    """An embedding whose rows are unset until `Transformer.init_weights` fills them."""

    def reset_parameters(self) -> None:
        """Draw nothing, as in `Linear`."""


class Dropout(nn.Dropout):
    """Dropout, on a CPU with random numbers drawn four at a time; a compiler makes better ones of its own."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return dropped(input, self.p)


class RMSNorm(nn.RMSNorm):
    """Root mean square normalisation (Zhang and Sennrich 2019) with a gain for each dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return unit_rms(x, self.eps or 0.0) * self.weight


class Gain(nn.Module):
    """A gain for each value of the last dimension: the second half of a norm, whose first is shared with others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.to(x.dtype)


class Bias(nn.Module):
    """A bias for each value of the last dimension, by itself: of a head whose matrix is another part's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.to(x.dtype)


def layernorm(cfg: ModelConfig) -> nn.Module:
    """Layer normalisation (Ba et al. 2016), with a bias where the linear layers have one."""
    return nn.LayerNorm(cfg.n_embd, cfg.norm.eps, bias=cfg.bias)


def rmsnorm(cfg: ModelConfig) -> nn.Module:
    """RMSNorm; it never has a bias."""
    return RMSNorm(cfg.n_embd, cfg.norm.eps)


NORMS: dict[str, Callable[[ModelConfig], nn.Module]] = {"layernorm": layernorm, "rmsnorm": rmsnorm}


def make_norm(cfg: ModelConfig) -> nn.Module:
    """The configured norm over the last dimension, (..., n_embd) to the same shape."""
    return NORMS[cfg.norm.kind](cfg)


def gelu(x: Tensor) -> Tensor:
    """GELU (Hendrycks and Gimpel 2016) by its tanh formula, which GPT-1 to GPT-3 were trained with."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu, "gelu_erf": F.gelu, "relu2": relu2, "swiglu": F.silu,
}  # fmt: skip
GATED = ("swiglu",)


class MLP(nn.Module):
    """The feed-forward layer, (..., n_embd) to the same shape.

    gelu, gelu_erf and relu2: proj(act(fc(x))). swiglu (Shazeer 2020): proj(silu(gate(x)) * fc(x)).
    """

    def __init__(self, cfg: ModelConfig, width: int | None = None) -> None:
        super().__init__()
        width = width or cfg.mlp_width
        self.activation = ACTIVATIONS[cfg.mlp.kind]
        self.gate = Linear(cfg.n_embd, width, cfg.bias) if cfg.mlp.kind in GATED else None
        self.fc = Linear(cfg.n_embd, width, cfg.bias)
        self.proj = Linear(width, cfg.n_embd, cfg.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc(x)
        hidden = self.activation(hidden) if self.gate is None else self.activation(self.gate(x)) * hidden
        return self.proj(hidden)


class HeadTransform(nn.Module):
    """What BERT (Devlin et al. 2018) has before its output, (..., n_embd) to the same shape: norm(act(fc(x)))."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[cfg.mlp.kind]
        self.fc = Linear(cfg.n_embd, cfg.n_embd, cfg.bias)
        self.norm = make_norm(cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.fc(x)))


Rotary = tuple[Tensor, Tensor]


def frequencies(dim: int, rope: RopeConfig, device: torch.device) -> Tensor:
    """By how many radians a token each pair of dimensions turns, (dim / 2): theta ** (-2 i / dim), before scaling.

    linear divides by `factor` (Chen et al. 2023). llama3 (Llama 3.1's released code) divides what turns less than `low`
    times in the original context, leaves what turns more than `high` times, and goes from one to the other between.
    """
    frequency = rope.theta ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    if rope.scaling == "linear":
        return frequency / rope.factor
    if rope.scaling == "llama3":
        turns = rope.original * frequency / (2 * torch.pi)
        kept = ((turns - rope.low) / (rope.high - rope.low)).clamp(0, 1)
        return frequency * (kept + (1 - kept) / rope.factor)
    return frequency


def rotary_table(positions: Tensor, dim: int, rope: RopeConfig) -> Rotary:
    """Cosines and sines of RoPE (Su et al. 2021) for integer positions.

    `dim` (even) is how many dimensions of a head are rotated, by `frequencies`. Positions of shape (..., T) give two
    float32 tables of shape (..., T, 1, dim / 2), whose axis of one stands for the heads.

    It is computed at each forward pass instead of kept: a buffer made on the meta device would
    hold no values, and the cost is that of one row per token.
    """
    angle = positions[..., None, None].float() * frequencies(dim, rope, positions.device)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: Rotary) -> Tensor:
    """Rotate the first dimensions of each head, (..., T, heads, head_dim) to the same shape and dtype.

    The pairs are (i, i + dim / 2), the half-split order of GPT-NeoX and of Hugging Face's Llama
    weights; not the interleaved (2 i, 2 i + 1) of GPT-J. Dimensions past the table stay as they are.
    """
    return turned(x, *table)
