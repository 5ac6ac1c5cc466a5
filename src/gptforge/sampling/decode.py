"""One token a row, fast: the model's layers without gradients, over a cache whose rows have lengths of their own.

Reads a Transformer's weights and computes what its `forward` computes (tests hold the two together
for every option of the model); knows no sampling and no text. What it does not know it refuses
(`obstacle`), and `PlainDecoder` calls the model itself.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptforge import compiling
from gptforge.model import Transformer
from gptforge.model.attention import Attention
from gptforge.model.moe import Experts, MoE, Router
from gptforge.model.parts import MLP, Dropout, Gain, Linear, RMSNorm
from gptforge.model.transformer import Block
from gptforge.runtime import available_memory, cpu_vendor
from gptforge.sampling.feed_forward import FeedForward, of_experts, of_mlp
from gptforge.sampling.fused import MOST_TEXTS, FusedStep, unknown
from gptforge.sampling.products import FORMS, Machine, Product, can_int8, choose_form, int8, rotation, swapped
from gptforge.sampling.quantize import Quantized


class Decoder(Protocol):
    """Rows of tokens with what a model keeps of them, its cache."""

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """Begin each of these rows anew with these tokens."""
        ...

    def step(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Add to each row its T tokens: logits after each of them, (B, T, V) in float32 on the model's device."""
        ...

    def forget(self, n: int) -> None:
        """Take the last n tokens of every row back."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order."""
        ...


def obstacle(model: nn.Module) -> str | None:
    """Why the fast decoder cannot stand in for a model's forward; None: it can."""
    if type(model) is not Transformer:
        return f"{type(model).__name__} is not the built-in decoder"
    if model.seg_emb is not None or model.emb_norm is not None:
        return "its embeddings are normalised or have segments"
    known = {Transformer, Block, Attention, MLP, Linear, Gain, nn.ModuleList, Dropout, nn.Identity}
    known |= {MoE, Router, Experts, nn.LayerNorm, RMSNorm}
    for name, module in model.named_modules():
        if type(module) not in known and not isinstance(module, nn.Embedding):
            return f"{name} is a {type(module).__name__}"
        if module._forward_hooks or module._forward_pre_hooks:
            return f"{name} has a hook"
    if torch.is_autocast_enabled(model.tok_emb.weight.device.type):
        return "autocast is on"
    return None


class PlainDecoder:
    """The model's own forward with a cache for each row, one row after the other."""

    def __init__(self, model: Transformer, rows: int, max_len: int) -> None:
        self._model = model
        self._device = model.tok_emb.weight.device
        self._caches = [model.new_cache(1, max_len) for _ in range(rows)]

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        for row, tokens in contexts.items():
            self._caches[row].reset()
            if tokens:
                self._forward(row, tokens)

    def step(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.cat([self._forward(row, new) for row, new in enumerate(tokens)])

    def forget(self, n: int) -> None:
        for cache in self._caches:
            cache.advance(-n)

    def keep(self, rows: Sequence[int]) -> None:
        self._caches = [self._caches[row] for row in rows]

    def _forward(self, row: int, tokens: Sequence[int]) -> Tensor:
        # forward(), not the call: a compiled model would be compiled anew for each length of the cache
        return self._model.forward(torch.tensor([list(tokens)], device=self._device), cache=self._caches[row])


class Layer(NamedTuple):
    """What one block computes with."""

    attn_norm: Callable[[Tensor], Tensor]
    qkv: Product
    attn_proj: Product
    mlp_norm: Callable[[Tensor], Tensor] | None
    gain: Tensor | None  # of queries and keys, (n_head + n_kv_head, head_dim)
    dense: bool  # it sees all tokens, whatever the window is
    mlp: FeedForward


class Place(NamedTuple):
    """Where a step's tokens go, the same for all layers."""

    positions: Tensor  # (B, T), which are places in the cache too
    mask: Tensor | None  # (B, 1, T, S) of layers with a window; None: all that is filled is seen
    dense: Tensor | None  # the same of layers without
    rotary: tuple[Tensor, Tensor] | None  # (B * T, 1, head_dim) each
    start: int | None  # the first position if it is the same in all rows
    end: int  # how much of the cache is read


class Weights(NamedTuple):
    """A model's weights in the forms in which they are multiplied."""

    layers: list[Layer]
    head: Product


class FastDecoder:
    """All rows in one pass. The weights are taken (and copied, where packed) when it is first used.

    Position p of a row is place p of its part of the cache, so rows of different lengths stand in
    one batch without padding before them; what lies behind a row's end is masked.

    `step` is how one new token a row is computed. "plain": by torch. "fused": by C code, for a few rows on a CPU.
    "compiled": by what torch.compile makes of it, in shapes that never change: all places of the cache are read,
    positions are a tensor; `warn` is told when that fails, and steps are then plain.
    `new_tokens` is how many tokens a step mostly adds to a row.
    """

    def __init__(
        self,
        model: Transformer,
        rows: int,
        max_len: int,
        int8: Mapping[str, Quantized] | None = None,
        step: str = "plain",
        warn: Callable[[str], object] = print,
        new_tokens: int = 1,
    ) -> None:
        cfg, weight = model.cfg, model.tok_emb.weight
        self._model, self._cfg, self._device, self._int8 = model, cfg, weight.device, int8 or {}
        self._final_norm = norm_of(model.final_norm)
        # Keys and values of each layer (2, B, n_kv_head, max_len, head_dim). Not one tensor for all: a compiler would
        # copy the whole of it for each layer that writes into its part.
        shape = (2, rows, cfg.n_kv_head, max_len, cfg.head_dim)
        self._kv = [torch.zeros(shape, device=self._device, dtype=weight.dtype) for _ in range(cfg.n_layer)]
        self._rows = torch.arange(rows, device=self._device)[:, None]
        self._max_len, self._new_tokens = max_len, new_tokens
        self._lengths = [0] * rows
        self._rotary = None
        if cfg.position == "rope":
            table = rotation(max_len, cfg.rotary_dim, cfg.head_dim, cfg.rope, self._device)
            self._rotary = table[0].to(weight.dtype), table[1].to(weight.dtype)
            self._swap = swapped(cfg.rotary_dim, cfg.head_dim, self._device)
        # Values go through the rotation too, with cosine 1 and sine 0: queries, keys and values stay in one piece.
        turned = cfg.n_head + cfg.n_kv_head
        self._turning = (torch.arange(turned + cfg.n_kv_head, device=self._device) < turned)[:, None]
        self._step_of_one, self._compiled = self._eager, step == "compiled"
        if step == "compiled":
            compiling.use_cache()
            self._weights  # noqa: B018 -- taken now: what is compiled must not look at the machine
            fixed = torch.compile(self._fixed, dynamic=False, fullgraph=True)
            self._step_of_one = compiling.guarded(fixed, self._eager, warn)
        elif step == "fused" and rows <= MOST_TEXTS and not unknown(cfg):
            fused = FusedStep(model, max_len, self._int8)
            # torch's product of eight bits rounds its rows too, to bfloat16, and the C code does not: guesses that are
            # checked several at a time would be held against other logits than those of one token
            self._int8 = {}
            self._step_of_one = lambda tokens, positions: fused(tokens, positions, self._kv)

    @cached_property
    def _weights(self) -> Weights:
        model = self._model
        names = {id(module): f"{name}.weight" for name, module in model.named_modules()}
        total, machine = sum(p.nbytes for p in model.parameters()), Machine(cpu_vendor(), available_memory())
        rows = len(self._lengths) * self._new_tokens

        def product(module: nn.Module, expert: int | None = None) -> Product:
            weight, bias = module.weight, getattr(module, "bias", None)
            assert isinstance(weight, Tensor)
            weight, bias = weight.detach(), None if bias is None else bias.detach()
            rounded = self._int8.get(names[id(module)])
            if expert is not None:
                weight, rounded = weight[expert], None if rounded is None else Quantized(*(t[expert] for t in rounded))
            if rounded is not None and can_int8(weight, rows):
                return int8(rounded, bias)
            form = choose_form(weight, total, machine, rows)
            return FORMS[form.name](weight, bias, rows)

        def layer(block: nn.Module) -> Layer:
            assert isinstance(block, Block)
            attn = block.attn
            return Layer(
                norm_of(block.attn_norm),
                product(attn.qkv),
                product(attn.proj),
                None if block.mlp_norm is None else norm_of(block.mlp_norm),
                gain_of(attn),
                attn.dense,
                feed_forward(block.mlp),
            )

        def feed_forward(mlp: MLP | MoE) -> FeedForward:
            kind = self._cfg.mlp.kind
            if isinstance(mlp, MLP):
                return of_mlp(mlp, kind, product)
            if self._device.type == "cpu" and not self._compiled:
                return of_experts(mlp, kind, product)
            return lambda x, add: mlp(x) + add  # no look at what is chosen, for which a GPU would have to be waited

        return Weights(list(map(layer, model.blocks)), product(model.tok_emb if model.head is None else model.head))

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """As in Decoder: equal contexts are computed once, those of one length in one pass."""
        of_length: dict[int, dict[tuple[int, ...], list[int]]] = {}
        for row, tokens in contexts.items():
            of_length.setdefault(len(tokens), {}).setdefault(tuple(tokens), []).append(row)
            self._lengths[row] = len(tokens)
        for length, texts in of_length.items():
            if not length:
                continue
            cache = self._model.new_cache(len(texts), length)
            self._model.forward(torch.tensor(list(texts), device=self._device), cache=cache, last_only=True)
            for n, rows in enumerate(texts.values()):
                for kv, keys, values in zip(self._kv, cache.keys, cache.values, strict=True):
                    kv[0, rows, :, :length], kv[1, rows, :, :length] = keys[n], values[n]

    def step(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        T = len(tokens[0])
        if max(self._lengths) + T > self._max_len:
            raise ValueError(f"{max(self._lengths)} + {T} tokens do not fit into a cache of {self._max_len}")
        new = torch.tensor(tokens, device=self._device)
        positions = torch.tensor([range(n, n + T) for n in self._lengths], device=self._device)
        logits = self._step_of_one(new, positions) if T == 1 else self._eager(new, positions)
        self._lengths = [n + T for n in self._lengths]
        return logits

    def _eager(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """The logits of (B, T) new tokens, with as much of the cache as is filled."""
        first, last = min(self._lengths), max(self._lengths)
        end = last + tokens.size(1)
        even = first == last
        window = self._cfg.attention.window
        all_seen = tokens.size(1) == 1 and even and (window is None or window >= end)
        place = self._place(positions, end, first if even else None, masked=not all_seen)
        return self._forward(tokens, place)

    def _fixed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """The same in shapes that never change, to be compiled."""
        place = self._place(positions, self._max_len, None, masked=True)
        return self._forward(tokens, place)

    def _forward(self, tokens: Tensor, place: Place) -> Tensor:
        x = F.embedding(tokens.view(-1), self._model.tok_emb.weight)
        if self._model.pos_emb is not None:
            x = x + F.embedding(place.positions.view(-1), self._model.pos_emb.weight)
        for n, layer in enumerate(self._weights.layers):
            x = self._block(x, layer, self._kv[n], place)
        logits = self._weights.head(self._final_norm(x), "", None).float().view(*tokens.shape, -1)
        cap = self._cfg.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def forget(self, n: int) -> None:
        self._lengths = [length - n for length in self._lengths]

    def keep(self, rows: Sequence[int]) -> None:
        self._kv = [kv[:, list(rows)] for kv in self._kv]
        self._rows = self._rows[: len(rows)]
        self._lengths = [self._lengths[row] for row in rows]

    def _place(self, positions: Tensor, end: int, start: int | None, masked: bool) -> Place:
        mask = dense = None
        if masked:
            key = torch.arange(end, device=self._device)
            mask = dense = (key <= positions[..., None])[:, None]
            if self._cfg.attention.window is not None:
                mask = mask & (key > positions[..., None] - self._cfg.attention.window)[:, None]
        rotary = None
        if self._rotary is not None:
            cos, sin = (t[positions.view(-1), None] for t in self._rotary)
            rotary = torch.where(self._turning, cos, 1.0), torch.where(self._turning, sin, 0.0)
        return Place(positions, mask, dense, rotary, start, end)

    def _block(self, x: Tensor, layer: Layer, kv: Tensor, place: Place) -> Tensor:
        """As Block.forward, over (B * T, n_embd)."""
        if self._cfg.parallel_residual:
            h = layer.attn_norm(x)
            other = h if layer.mlp_norm is None else layer.mlp_norm(x)
            return layer.mlp(other, self._attend(h, layer, kv, place, x))
        assert layer.mlp_norm is not None
        if self._cfg.norm.place == "post":
            x = layer.attn_norm(self._attend(x, layer, kv, place, x))
            return layer.mlp_norm(layer.mlp(x, x))
        x = self._attend(layer.attn_norm(x), layer, kv, place, x)
        return layer.mlp(layer.mlp_norm(x), x)

    def _attend(self, h: Tensor, layer: Layer, kv: Tensor, place: Place, residual: Tensor) -> Tensor:
        """As Attention.forward, with the residual added; writes this layer's keys and values, (B, 2, heads, S, D)."""
        cfg = self._cfg
        B, T = place.positions.shape
        mask = place.dense if layer.dense else place.mask
        heads = layer.qkv(h, "", None).view(B * T, -1, cfg.head_dim)
        if cfg.attention.qk_norm:
            qk, v = heads.split((cfg.n_head + cfg.n_kv_head, cfg.n_kv_head), dim=1)
            qk = F.rms_norm(qk, (cfg.head_dim,), eps=cfg.norm.eps)
            heads = torch.cat((qk if layer.gain is None else qk * layer.gain, v), dim=1)
        if place.rotary is not None:
            cos, sin = place.rotary
            heads = torch.addcmul(heads * cos, heads[..., self._swap], sin)
        q = heads.narrow(1, 0, cfg.n_head)
        new = heads.narrow(1, cfg.n_head, 2 * cfg.n_kv_head).view(B, T, 2, cfg.n_kv_head, cfg.head_dim)
        if place.start is not None:  # a slice is written faster than places by number
            kv.narrow(3, place.start, T).copy_(new.permute(2, 0, 3, 1, 4))
        else:
            kv[:, self._rows, :, place.positions] = new
        k, v = kv.narrow(3, 0, place.end).unbind(0)
        if T == 1:  # the queries that share a key stand as if they were tokens
            y = seen_by_one(q.reshape(B * cfg.n_kv_head, -1, cfg.head_dim), k, v, mask)
            return layer.attn_proj(y.view(B, -1), "", residual)
        q = q.view(B, T, cfg.n_head, cfg.head_dim).transpose(1, 2)
        grouped = cfg.n_head != cfg.n_kv_head
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
        return layer.attn_proj(y.transpose(1, 2).reshape(B * T, -1), "", residual)


def gain_of(attn: Attention) -> Tensor | None:
    """The gains of queries and keys as one, (n_head + n_kv_head, head_dim)."""
    if attn.q_gain is None or attn.k_gain is None:
        return None
    q, k = attn.q_gain.weight.detach(), attn.k_gain.weight.detach()
    return torch.cat((q.expand(attn.n_head, -1), k.expand(attn.n_kv_head, -1)))


def seen_by_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of single tokens: queries (B * n_kv_head, G, D) to keys (B, n_kv_head, S, D), in one piece.

    On a CPU in float32 plain products are half as fast again as torch's fused kernel, which is made for many queries.
    """
    if q.device.type != "cpu" or q.dtype != torch.float32:
        return F.scaled_dot_product_attention(q.view(*k.shape[:2], *q.shape[1:]), k, v, attn_mask=mask).contiguous()
    scores = torch.baddbmm(q.new_empty(1), q, k.flatten(0, 1).mT, beta=0, alpha=q.size(-1) ** -0.5)
    if mask is not None:
        scores = scores.view(*k.shape[:2], q.size(1), -1).masked_fill(~mask, -torch.inf).flatten(0, 1)
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1))


def norm_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A norm as a plain function, without the cost of calling a module."""
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if isinstance(module, nn.RMSNorm):
        shape, weight, eps = module.normalized_shape, module.weight, module.eps
        return lambda x: torch.rms_norm(x, shape, weight, eps)
    return lambda x: x
