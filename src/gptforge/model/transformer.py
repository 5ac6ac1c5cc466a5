"""The transformer, a decoder or an encoder; knows nothing of tokens' meaning, data, optimizers or devices."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptforge.config import ModelConfig
from gptforge.model.attention import Attention, Context
from gptforge.model.cache import KVCache
from gptforge.model.loss import IGNORED, summed_loss
from gptforge.model.masks import both_sides, causal_mask, token_positions
from gptforge.model.moe import Experts, MoE, Router
from gptforge.model.parts import MLP, Bias, Dropout, Embedding, Gain, HeadTransform, Linear, make_norm, rotary_table


class Block(nn.Module):
    """Attention and feed-forward around the residual stream, (B, T, n_embd) to the same shape.

    Norms come before the branches (pre: GPT-2) or after the sums (post: GPT-1); with parallel_residual both branches
    read the same input, through one norm (GPT-J) or one each (GPT-NeoX).
    """

    def __init__(self, cfg: ModelConfig, layer: int) -> None:
        super().__init__()
        self.post = cfg.norm.place == "post"
        self.attn_norm = make_norm(cfg)
        self.attn = Attention(cfg, layer)
        self.parallel = cfg.parallel_residual
        self.mlp_norm = make_norm(cfg) if cfg.block_norms == 2 else None
        self.mlp = MoE(cfg) if layer >= cfg.n_layer - cfg.n_moe_layer else MLP(cfg)
        self.dropout = Dropout(cfg.dropout or 0.0)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.mlp_norm is None or self.parallel:
            h = self.attn_norm(x)
            other = h if self.mlp_norm is None else self.mlp_norm(x)
            return x + self.dropout(self.attn(h, context)) + self.dropout(self.mlp(other))
        if self.post:
            x = self.attn_norm(x + self.dropout(self.attn(x, context)))
            return self.mlp_norm(x + self.dropout(self.mlp(x)))
        x = x + self.dropout(self.attn(self.attn_norm(x), context))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Transformer(nn.Module):
    """A GPT (Radford et al. 2018, 2019) whose parts are chosen by name in `cfg`; or a BERT (Devlin et al. 2018).

    Building it makes shapes only and draws nothing, so it also works on the meta device;
    the weights hold no meaning until `init_weights` or a checkpoint fills them.
    """

    def __init__(self, cfg: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.vocab_size = vocab_size
        self.tok_emb = Embedding(vocab_size, cfg.n_embd)
        self.pos_emb = Embedding(cfg.block_size, cfg.n_embd) if cfg.position == "learned" else None
        self.seg_emb = Embedding(cfg.segments, cfg.n_embd) if cfg.segments else None
        self.emb_norm = make_norm(cfg) if cfg.norm.embeddings else None
        self.dropout = Dropout(cfg.dropout or 0.0)
        self.blocks = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.n_layer))
        self.final_norm = make_norm(cfg) if cfg.norm.place == "pre" else nn.Identity()
        self.head_transform = HeadTransform(cfg) if cfg.head_transform else None
        # Tied (Press and Wolf 2017): the token embedding is used twice, so there is one tensor to save.
        self.head = None if cfg.tie_embeddings else Linear(cfg.n_embd, vocab_size, bias=False)
        self.head_bias = Bias(vocab_size) if cfg.head_bias else None

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Fill all parameters, in place.

        | parameter                                    | value                              |
        |----------------------------------------------|------------------------------------|
        | embeddings, head                             | normal, init_std                   |
        | qkv, fc, gate, router                        | normal, init_std                   |
        | both proj, init_residual=scaled (GPT-2)      | normal, init_std / sqrt(2 n_layer) |
        | both proj, full (GPT-1)                      | normal, init_std                   |
        | both proj, zero (a block begins as identity) | 0                                  |
        | biases                                       | 0                                  |
        | weights of norms                             | 1                                  |
        | biases of routers for choosing               | 0                                  |

        Values are drawn on the CPU, in float32 and in the order of `named_parameters`, from
        `generator` (None: torch's global one), so that they are the same on every device.
        """
        residual = {"scaled": 1 / math.sqrt(2 * self.cfg.n_layer), "full": 1.0, "zero": 0.0}[self.cfg.init_residual]
        roles = param_roles(self)
        for name, parameter in self.named_parameters():
            if roles[name] in ("norm", "bias"):
                parameter.fill_(1.0 if roles[name] == "norm" else 0.0)
                continue
            # Also drawn where std is 0: the other parameters are then the same for every init_residual.
            std = self.cfg.init_std * (residual if name.endswith(".proj.weight") else 1.0)
            drawn = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
            parameter.copy_(drawn.normal_(0.0, std, generator=generator))
        for buffer in self.buffers():
            buffer.zero_()

    def new_cache(self, batch: int, max_len: int | None = None, dtype: torch.dtype | None = None) -> KVCache:
        """An empty cache for `batch` sequences of `max_len` tokens (None: block_size), on the model's device.

        `dtype` is that of the keys and values (None: of the weights); under autocast it is autocast's.
        """
        weight = self.tok_emb.weight
        return KVCache(
            self.cfg.n_layer, batch, self.cfg.n_kv_head, max_len or self.cfg.block_size, self.cfg.head_dim,
            device=weight.device, dtype=dtype or weight.dtype,
        )  # fmt: skip

    def forward(
        self,
        inputs: Tensor,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        targets: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Logits (B, T, vocab_size) in float32 for token ids (B, T), or the summed loss with `targets`.

        documents: (B, T) integers, one number a document, each in one stretch; tokens see, and
            count positions in, their own only. So padding is a document too.
        cache: the tokens continue those that it holds, and are added to it.
        targets: (B, T), -100 where nothing is learnt; the result is then the sum of the
            cross-entropies in nats, a float32 scalar.
        last_only: logits of the last token only, (B, 1, vocab_size).

        Raises ValueError when cached and new tokens together exceed block_size, and for combinations
        that have no meaning (documents with a cache, targets with last_only, a cache of an encoder).
        """
        if targets is not None and last_only:
            raise ValueError("targets need the logits of every token: last_only cannot be given with them")
        x = self.hidden(inputs, documents, cache, last_only)
        if targets is None:
            return self.logits(x)
        # An encoder learns few of its tokens and needs no logits of the others; a compiler wants shapes that stay
        if not self.cfg.attention.causal and not torch.compiler.is_compiling():
            learnt = targets != IGNORED
            x, targets = x[learnt][None], targets[learnt][None]
        return summed_loss(x, targets, self.logits, self.vocab_size)

    def hidden(
        self,
        inputs: Tensor,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """What the head makes logits of, (B, T, n_embd); the arguments are those of `forward`."""
        positions, context = self._context(inputs, documents, cache)
        x = self.tok_emb(inputs)
        if self.pos_emb is not None:
            x = x + self.pos_emb(positions)
        if self.seg_emb is not None:
            x = x + self.seg_emb.weight[0]
        if self.emb_norm is not None:
            x = self.emb_norm(x)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, context)
        if cache is not None:
            cache.advance(inputs.size(1))
        return self.final_norm(x[:, -1:] if last_only else x)

    def _context(self, inputs: Tensor, documents: Tensor | None, cache: KVCache | None) -> tuple[Tensor, Context]:
        """The positions of the tokens, and what every layer needs to know of them."""
        if documents is not None and cache is not None:
            raise ValueError("documents cannot be given with a cache")
        causal = self.cfg.attention.causal
        if cache is not None and not causal:
            raise ValueError("tokens that see those after them leave nothing to keep in a cache")
        new, seen = inputs.size(1), cache.length if cache is not None else 0
        if seen + new > self.cfg.block_size:
            raise ValueError(f"{seen} + {new} tokens exceed the block size of {self.cfg.block_size}")
        positions = token_positions(new, seen, documents, inputs.device)
        window, dense = self.cfg.attention.window, None
        if causal:
            mask = causal_mask(new, seen + new, window, documents, inputs.device)
        else:
            mask = both_sides(documents)
        if self.cfg.attention.dense_every is not None:
            dense = causal_mask(new, seen + new, None, documents, inputs.device)
        rotary = None
        if self.cfg.position == "rope":
            rotary = rotary_table(positions, self.cfg.rotary_dim, self.cfg.rope)
        return positions, Context(rotary, mask, cache, dense)

    def logits(self, hidden: Tensor) -> Tensor:
        """Rows (..., n_embd) to float32 logits (..., vocab_size), bounded as in Gemma 2 if so configured."""
        if self.head_transform is not None:
            hidden = self.head_transform(hidden)
        logits = F.linear(hidden, self.tok_emb.weight) if self.head is None else self.head(hidden)
        logits = logits.float() if self.head_bias is None else self.head_bias(logits.float())
        cap = self.cfg.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)


def param_roles(model: nn.Module) -> dict[str, str]:
    """What each parameter is: embedding | matrix | head | router | norm | bias, by its name in `named_parameters`.

    A tied embedding is an embedding. Optimizers choose weight decay and update rule by these roles.
    Raises TypeError for a parameter of a layer of another kind.
    """
    roles: dict[str, str] = {}
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        if leaf == "bias":
            roles[name] = "bias"
        elif isinstance(module, nn.Embedding):
            roles[name] = "embedding"
        elif isinstance(module, nn.Linear):
            roles[name] = "head" if owner == "head" else "matrix"
        elif isinstance(module, Experts):
            roles[name] = "matrix"  # one of each expert: `row_splits`
        elif isinstance(module, Router):
            roles[name] = "router"
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm | Gain):
            roles[name] = "norm"
        else:
            raise TypeError(f"{name}: what role do parameters of {type(module).__name__} have?")
    return roles


def row_splits(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The parameters that hold several matrices on top of each other, with the rows of each.

    Queries, keys and values are fused for speed, experts are one tensor of three dimensions, whose first two count as
    rows; what works on one matrix at a time must know.
    """
    splits = {}
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            query, key = module.n_head * module.head_dim, module.n_kv_head * module.head_dim
            splits[f"{name}.qkv.weight"] = (query, key, key)
        elif isinstance(module, Experts):
            splits[f"{name}.weight"] = (module.weight.size(1),) * module.weight.size(0)
    return splits
