"""Self-attention: of what came before, or of all. Knows neither what tokens are nor, but by number, its block."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptforge.config import ModelConfig
from gptforge.model.blocked import blocked_attention, pays
from gptforge.model.cache import KVCache
from gptforge.model.elementwise import unit_rms
from gptforge.model.parts import Gain, Linear, Rotary, rotate


class Context(NamedTuple):
    """What all layers of one forward pass share.

    `rotary` is None without RoPE; `mask` is None where masks.py says that none is needed. `dense` is the mask of the
    layers that see all tokens where the others have a window.
    """

    rotary: Rotary | None
    mask: Tensor | None
    cache: KVCache | None
    dense: Tensor | None = None


class Attention(nn.Module):
    """Self-attention (Vaswani et al. 2017) of n_head heads over n_kv_head keys and values (GQA, Ainslie et al. 2023).

    The rows of `qkv` are all queries, then all keys, then all values, head after head. With
    qk_norm (Henry et al. 2020) each query and key is divided by its root mean square before
    it is rotated, together; with qk_gain it is then multiplied by a gain for each dimension, as in Qwen3.
    """

    def __init__(self, cfg: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_head, self.n_kv_head, self.head_dim = cfg.n_head, cfg.n_kv_head, cfg.head_dim
        self.qk_norm_eps = cfg.norm.eps if cfg.attention.qk_norm else None
        self.dropout, self.causal = cfg.attention.dropout, cfg.attention.causal
        self.dense = cfg.attention.dense_every is not None and cfg.is_dense(layer)
        self.qkv = Linear(cfg.n_embd, (self.n_head + 2 * self.n_kv_head) * self.head_dim, cfg.qkv_bias)
        self.q_gain = Gain(self.head_dim) if cfg.attention.qk_gain else None
        self.k_gain = Gain(self.head_dim) if cfg.attention.qk_gain else None
        self.proj = Linear(self.n_head * self.head_dim, cfg.n_embd, cfg.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, T, n_embd) to (B, T, n_embd); with a cache the tokens before are seen too."""
        B, T, _ = x.shape
        heads = self.qkv(x).view(B, T, -1, self.head_dim)
        qk, v = heads.split((self.n_head + self.n_kv_head, self.n_kv_head), dim=2)
        if self.qk_norm_eps is not None:
            qk = unit_rms(qk, self.qk_norm_eps)
        if self.q_gain is not None and self.k_gain is not None:
            qk = torch.cat((self.q_gain(qk[..., : self.n_head, :]), self.k_gain(qk[..., self.n_head :, :])), -2)
        if context.rotary is not None:
            qk = rotate(qk, context.rotary)
        q, k = qk.transpose(1, 2).split((self.n_head, self.n_kv_head), dim=1)
        v = v.transpose(1, 2)
        if context.cache is not None:
            k, v = context.cache.append(self.layer, k, v)
        dropout, mask = self.dropout if self.training else 0.0, context.dense if self.dense else context.mask
        if mask is None and not dropout and self.causal and pays(q, k):
            y = blocked_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=self.causal and mask is None and T > 1,
                enable_gqa=self.n_kv_head != self.n_head,
            )  # fmt: skip
        return self.proj(y.transpose(1, 2).reshape(B, T, -1))
