"""What a user can set about the model. The vocabulary size is the tokenizer's, so it is not here."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from gptforge.config.schema import Problem, Resume, key

IDENTITY = Resume.REFUSE
DROPOUT = Resume.UNLESS_ALLOWED


@dataclass(kw_only=True, slots=True)
class AttentionConfig:
    """Self-attention."""

    causal: bool = key(
        True, "a token sees those before it alone; false: those after it too (BERT), which objective=mlm trains",
        resume=IDENTITY,
    )  # fmt: skip
    n_kv_head: int | None = key(
        None, "key/value heads (grouped-query attention); null: n_head", resume=IDENTITY, ge=1, le=10_000
    )
    head_dim: int | None = key(None, "width of a head; null: n_embd / n_head", resume=IDENTITY, ge=1, le=1_000_000)
    qkv_bias: bool | None = key(
        None, "biases of queries, keys and values (Qwen2 has these alone); null: model.bias", resume=IDENTITY
    )
    qk_norm: bool = key(False, "normalise queries and keys (RMS) before their product", resume=IDENTITY)
    qk_gain: bool = key(False, "with qk_norm: a learnt gain for each dimension of a head (Qwen3)", resume=IDENTITY)
    window: int | None = key(None, "tokens that a token sees, itself included; null: all", resume=IDENTITY, ge=1)
    dense_every: int | None = key(
        None, "with window: of so many layers the first sees all tokens (GPT-3: 2); null: none", resume=IDENTITY, ge=1
    )
    dropout: float = key(
        0.0, "dropout of attention weights; above 0 the fused kernel is off, which is slow", resume=DROPOUT, ge=0, lt=1
    )


@dataclass(kw_only=True, slots=True)
class MLPConfig:
    """The feed-forward layer."""

    kind: str = key(
        "gelu",
        "activation: gelu by the tanh formula of GPT-2, or exact (gelu_erf); swiglu has a gate",
        resume=IDENTITY,
        choices=("gelu", "gelu_erf", "swiglu", "relu2"),
    )
    width: int | None = key(
        None,
        "hidden width; null: 4 n_embd (swiglu: 8/3 n_embd, rounded up to 64)",
        resume=IDENTITY,
        ge=1,
        le=10_000_000,
    )


@dataclass(kw_only=True, slots=True)
class MoEConfig:
    """A mixture of experts in place of the feed-forward layer: of many, a router chooses a few for each token."""

    n_expert: int | None = key(
        None, "experts in a layer, each a feed-forward layer; null: none, one for all tokens", resume=IDENTITY,
        ge=2, le=100_000,
    )  # fmt: skip
    top_k: int = key(2, "of them, how many a token goes through", resume=IDENTITY, ge=1, le=100_000)
    width: int | None = key(
        None, "hidden width of an expert; null: that of model.mlp", resume=IDENTITY, ge=1, le=10_000_000
    )
    n_shared: int = key(
        0, "experts of the same width that every token goes through besides", resume=IDENTITY, ge=0, le=10_000
    )
    first_dense: int = key(0, "so many first layers have no experts", resume=IDENTITY, ge=0, le=10_000)
    score: str = key(
        "sigmoid",
        "what an expert is chosen by: its own score (DeepSeek-V3), or its share of all (Mixtral)",
        resume=IDENTITY,
        choices=("sigmoid", "softmax"),
    )
    normalize: bool = key(True, "divide the scores of the chosen by their sum", resume=IDENTITY)
    scale: float = key(1.0, "what their scores are multiplied with after that", resume=IDENTITY, gt=0)
    bias: bool = key(True, "a bias of each expert, for choosing alone, keeps their loads even", resume=IDENTITY)
    bias_rate: float = key(
        0.001, "how far it moves against the load after each step; 0: it stays", resume=DROPOUT, ge=0, le=1
    )


@dataclass(kw_only=True, slots=True)
class NormConfig:
    """Normalisation."""

    kind: str = key("layernorm", "kind of normalisation", resume=IDENTITY, choices=("layernorm", "rmsnorm"))
    eps: float = key(1e-5, "added to the variance", resume=IDENTITY, gt=0)
    place: str = key(
        "pre", "before each layer (GPT-2) or after the residual sum (GPT-1)", resume=IDENTITY, choices=("pre", "post")
    )
    shared: bool = key(
        True, "with parallel_residual: one norm for both branches (GPT-J), else one each (GPT-NeoX)", resume=IDENTITY
    )
    embeddings: bool = key(False, "a norm of the embeddings too, before the first block (BERT)", resume=IDENTITY)


@dataclass(kw_only=True, slots=True)
class RopeConfig:
    """Rotary positions; used with position=rope."""

    theta: float = key(10_000.0, "base of the wavelengths", resume=IDENTITY, gt=1)
    fraction: float = key(1.0, "share of each head that is rotated", resume=IDENTITY, gt=0, le=1)
    scaling: str = key(
        "none",
        "for longer contexts: all turns slower by factor (linear), or the slow ones (Llama 3.1)",
        resume=IDENTITY,
        choices=("none", "linear", "llama3"),
    )
    factor: float = key(1.0, "of the scaling", resume=IDENTITY, ge=1)
    low: float = key(
        1.0, "llama3: what turns less often in the original context is slowed whole", resume=IDENTITY, gt=0
    )
    high: float = key(4.0, "llama3: what turns more often in it is not slowed", resume=IDENTITY, gt=0)
    original: int = key(8192, "llama3: the context that was trained with, in tokens", resume=IDENTITY, ge=1)


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The transformer: a decoder, or with attention.causal=false an encoder."""

    n_layer: int = key(4, "number of blocks", resume=IDENTITY, ge=1, le=10_000)
    n_head: int = key(4, "attention heads in a block", resume=IDENTITY, ge=1, le=10_000)
    n_embd: int = key(128, "width of the residual stream", resume=IDENTITY, ge=1, le=1_000_000)
    block_size: int = key(256, "context length in tokens", resume=IDENTITY, ge=2, le=100_000_000)
    dropout: float | None = key(
        0.0, "dropout of embeddings and residual branches; null: by passes over the text", resume=DROPOUT, ge=0, lt=1
    )
    bias: bool = key(False, "biases in linear layers and layernorms", resume=IDENTITY)
    tie_embeddings: bool = key(True, "one matrix for token embedding and output", resume=IDENTITY)
    position: str = key("rope", "how positions are told", resume=IDENTITY, choices=("learned", "rope", "none"))
    parallel_residual: bool = key(False, "attention and MLP side by side (GPT-J)", resume=IDENTITY)
    logit_softcap: float | None = key(None, "bound c of the logits, c tanh(x/c); null: none", resume=IDENTITY, gt=0)
    init_std: float = key(0.02, "standard deviation of the initial weights", resume=IDENTITY, gt=0)
    init_residual: str = key(
        "scaled",
        "initial output projections of the branches: scaled by 1/sqrt(2 n_layer) (GPT-2), full, or zero",
        resume=IDENTITY,
        choices=("scaled", "full", "zero"),
    )
    segments: int = key(
        0,
        "embeddings of segments, of which all tokens are in the first (BERT: 2); 0: none",
        resume=IDENTITY,
        ge=0,
        le=1000,
    )
    head_transform: bool = key(
        False, "before the output once more a linear layer, the MLP's activation and a norm (BERT)", resume=IDENTITY
    )
    head_bias: bool = key(False, "a bias for each token of the output (BERT)", resume=IDENTITY)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    mlp: MLPConfig = field(default_factory=MLPConfig)
    moe: MoEConfig = field(default_factory=MoEConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    rope: RopeConfig = field(default_factory=RopeConfig)

    @property
    def head_dim(self) -> int:
        return self.attention.head_dim or self.n_embd // self.n_head

    @property
    def n_kv_head(self) -> int:
        return self.attention.n_kv_head or self.n_head

    @property
    def mlp_width(self) -> int:
        if self.mlp.width:
            return self.mlp.width
        if self.mlp.kind == "swiglu":  # two thirds, so that three matrices cost what two did
            return -(-8 * self.n_embd // 3 // 64) * 64
        return 4 * self.n_embd

    @property
    def expert_width(self) -> int:
        return self.moe.width or self.mlp_width

    @property
    def n_moe_layer(self) -> int:
        """Layers with experts."""
        return max(0, self.n_layer - self.moe.first_dense) if self.moe.n_expert else 0

    @property
    def rotary_dim(self) -> int:
        """How many of a head's dimensions are rotated: even."""
        return int(self.head_dim * self.rope.fraction) // 2 * 2

    @property
    def qkv_bias(self) -> bool:
        return self.bias if self.attention.qkv_bias is None else self.attention.qkv_bias

    @property
    def block_norms(self) -> int:
        """Norms of a block."""
        return 1 if self.parallel_residual and self.norm.shared else 2

    def is_dense(self, layer: int) -> bool:
        """Whether a layer sees all tokens, whatever the window is."""
        every = self.attention.dense_every
        return self.attention.window is None or (every is not None and layer % every == 0)

    def problems(self) -> Iterator[Problem]:
        if self.attention.window is not None and not self.attention.causal:
            what = "model.attention.window counts the tokens before, and with causal=false there are tokens after too"
            yield Problem("model.attention.window", what, "model.attention.window=null")
        if self.attention.qk_gain and not self.attention.qk_norm:
            what = "model.attention.qk_gain is the gain of a norm that there is not"
            yield Problem("model.attention.qk_gain", what, "model.attention.qk_norm=true")
        yield from self._moe_problems()
        if self.attention.dense_every is not None and self.attention.window is None:
            what = "model.attention.dense_every needs a window: without one every layer sees all tokens"
            yield Problem("model.attention.dense_every", what, "model.attention.window=256")
        if self.rope.scaling == "llama3" and self.rope.low >= self.rope.high:
            what = f"model.rope.low={self.rope.low:g} is not below model.rope.high={self.rope.high:g}"
            yield Problem("model.rope.low", what, "model.rope.low=1 model.rope.high=4")
        if self.attention.head_dim is None and self.n_embd % self.n_head:
            near = min(divisors(self.n_embd), key=lambda d: (abs(d - self.n_head), d))
            yield Problem(
                "model.n_embd",
                f"model.n_embd={self.n_embd} is not divisible by model.n_head={self.n_head}",
                f"model.n_head={near}, or model.attention.head_dim=… to set the width of a head apart",
            )
        elif self.position == "rope" and self.rotary_dim < 2:
            yield Problem(
                "model.rope.fraction", f"no part of a head of {self.head_dim} can be rotated", "position=none"
            )
        if self.n_head % self.n_kv_head:
            near = min(divisors(self.n_head), key=lambda d: abs(d - self.n_kv_head))
            yield Problem(
                "model.attention.n_kv_head",
                f"model.n_head={self.n_head} is not divisible by model.attention.n_kv_head={self.n_kv_head}",
                f"model.attention.n_kv_head={near}",
            )
        if self.parallel_residual and self.norm.place == "post":
            yield Problem(
                "model.parallel_residual",
                "model.parallel_residual=true needs norms before the layers (model.norm.place=pre)",
                "model.norm.place=pre",
            )

    def _moe_problems(self) -> Iterator[Problem]:
        moe = self.moe
        if moe.n_expert is None:
            return
        if moe.top_k > moe.n_expert:
            what = f"model.moe.top_k={moe.top_k} is more than the model.moe.n_expert={moe.n_expert} experts"
            yield Problem("model.moe.top_k", what, f"model.moe.top_k={min(2, moe.n_expert)}")
        if moe.first_dense >= self.n_layer:
            what = f"model.moe.first_dense={moe.first_dense} leaves none of {self.n_layer} layers to the experts"
            yield Problem("model.moe.first_dense", what, "model.moe.first_dense=0, or model.moe.n_expert=null")
        if self.bias:
            yield Problem("model.bias", "experts have no biases: model.bias=true cannot be", "model.bias=false")


def divisors(n: int) -> list[int]:
    """All divisors of n, ascending."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})
