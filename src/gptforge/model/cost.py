"""What a model costs: parameters, arithmetic, memory. Formulas over the config alone: no torch, no model is built."""

from gptforge.config import ModelConfig

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

# The loss makes at most this many logits at once: 256 MiB in float32.
LOGITS_AT_ONCE = 2**26

# Up to so many tokens the attention weights of all pairs are kept on a CPU, by the bytes of a value (blocked.py).
LONGEST_KEPT = {2: 2048, 4: 512}
BLOCK_ROWS = 128  # queries in a block: fewer save more of the hidden half, more make larger products


def count_parameters(cfg: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters per part; their sum is the model's count. A tied head has none of its own."""
    return {
        "token_embedding": vocab_size * cfg.n_embd,
        "positions": cfg.block_size * cfg.n_embd if cfg.position == "learned" else 0,
        **({"segments": cfg.segments * cfg.n_embd} if cfg.segments else {}),
        "attention": cfg.n_layer
        * (_attention_matrices(cfg) + cfg.qkv_bias * _qkv_width(cfg) + cfg.bias * cfg.n_embd + _qk_gains(cfg)),
        "mlp": _dense_layers(cfg)
        * (_mlp_matrices(cfg, cfg.mlp_width) + cfg.bias * (_mlp_inputs(cfg) * cfg.mlp_width + cfg.n_embd))
        + cfg.n_moe_layer * (_all_experts(cfg) + _beside_experts(cfg)),
        "norms": _norms(cfg) * cfg.n_embd * (2 if cfg.bias and cfg.norm.kind == "layernorm" else 1),
        "head": (0 if cfg.tie_embeddings else vocab_size * cfg.n_embd)
        + cfg.head_transform * (cfg.n_embd + cfg.bias) * cfg.n_embd
        + cfg.head_bias * vocab_size,
    }


def active_parameters(cfg: ModelConfig, vocab_size: int) -> int:
    """Those that a token passes through: all but the experts that are not chosen for it."""
    unused = _mlp_matrices(cfg, cfg.expert_width) * ((cfg.moe.n_expert or 0) - cfg.moe.top_k)
    return sum(count_parameters(cfg, vocab_size).values()) - cfg.n_moe_layer * unused


def flops_per_token(cfg: ModelConfig, vocab_size: int, context: int | None = None) -> int:
    """Floating-point operations of training on one token, forward and backward.

    The estimate of PaLM (Chowdhery et al. 2022, appendix B): 6 N + 12 n_layer n_head head_dim T,
    with N the parameters of all matrix products that a token passes through: the head's included even
    when its matrix is tied, of experts those that are chosen; looking up embeddings, norms and
    activations count nothing. T is `context` (None: block_size), at most the window; the half of the
    scores that a causal mask hides is counted, as is usual, so a kernel that skips it shows a higher
    share of the peak.
    """
    most = context or cfg.block_size
    seen = sum(most if cfg.is_dense(n) else min(most, cfg.attention.window or most) for n in range(cfg.n_layer))
    return 6 * _products(cfg, vocab_size) + 12 * cfg.n_head * cfg.head_dim * seen


def training_memory(cfg: ModelConfig, vocab_size: int, batch: int, dtype: str, device: str = "cpu") -> dict[str, int]:
    """Bytes that training on `batch` sequences of block_size tokens holds, per kind.

    Weights, gradients and Adam's two moments are float32; `dtype` is what autocast computes in
    (float32: no autocast) and makes copies of the matrices in. Activations are an estimate: what
    the eager layers keep for the backward pass on a CPU, counted by reading them; kernels that
    fuse keep less, and the allocator's slack is not in it.
    """
    parameters = sum(count_parameters(cfg, vocab_size).values())
    rows, size = batch * cfg.block_size, BYTES[dtype]
    chosen = cfg.n_moe_layer * _mlp_matrices(cfg, cfg.expert_width) * cfg.moe.top_k
    matrices = _products(cfg, vocab_size) - chosen + cfg.n_moe_layer * _all_experts(cfg)
    copies = size * matrices if size < 4 else 0
    return {
        "weights": 4 * parameters + copies,
        "gradients": 4 * parameters,
        "adam_moments": 8 * parameters,
        "activations": rows
        * (
            cfg.n_layer * _kept_by_block(cfg, size, device)
            + _dense_layers(cfg) * _kept_by_mlp(cfg, cfg.mlp_width, size)
            + cfg.n_moe_layer * _kept_by_experts(cfg, size)
            + 4 * 2 * cfg.n_embd  # the last norm
        ),
        # In float32: the logits, their log-probabilities and their gradient.
        "logits": 3 * 4 * min(rows * vocab_size, LOGITS_AT_ONCE),
    }


def cache_bytes(cfg: ModelConfig, batch: int, dtype: str, length: int | None = None) -> int:
    """Bytes of the key/value cache for `batch` sequences of `length` tokens (None: block_size)."""
    return 2 * cfg.n_layer * batch * cfg.n_kv_head * (length or cfg.block_size) * cfg.head_dim * BYTES[dtype]


def _kept_by_block(cfg: ModelConfig, size: int, device: str) -> int:
    """Bytes per token that one block keeps for the backward pass beside its MLP; `size` is that of a computed value.

    The residual stream, what RMS norms keep and attention weights are float32 even under autocast.
    """
    queries, keys = cfg.n_head * cfg.head_dim, cfg.n_kv_head * cfg.head_dim
    norms = cfg.block_norms
    floats = norms * cfg.n_embd  # a norm's input, or what RMS makes of it
    values = norms * cfg.n_embd  # the norms' outputs, which the matrices read
    values += 2 * cfg.n_embd * (cfg.dropout != 0)  # dropout masks; null may become dropout
    values += _qkv_width(cfg) + queries  # qkv, and what the heads found
    values += (queries + keys) * cfg.attention.qk_norm
    plain = not cfg.attention.dropout and cfg.attention.window is None and cfg.n_kv_head == cfg.n_head
    plain = plain and cfg.attention.causal
    if device == "cpu" and plain and cfg.block_size <= LONGEST_KEPT.get(size, 0):
        # What the heads found once more, and the attention weights, but for most of the hidden half.
        values += queries + cfg.n_head * (cfg.block_size + BLOCK_ROWS) // 2
    else:
        values += (queries + keys) * (cfg.position == "rope")
    if cfg.attention.dropout:  # no fused kernel: the weights of all pairs exist, before and after, and their mask
        floats += 3 * cfg.n_head * cfg.block_size
    return 4 * floats + size * values


def _kept_by_mlp(cfg: ModelConfig, width: int, size: int) -> int:
    """The same of an MLP: what there is before and after activation and gate."""
    return size * width * (4 if cfg.mlp.kind == "swiglu" else 2)


def _kept_by_experts(cfg: ModelConfig, size: int) -> int:
    """The same of a layer of experts: the copies that are sent to the chosen, and what they are multiplied with."""
    moe, k = cfg.moe, cfg.moe.top_k
    sent = k * (size * (cfg.n_embd + cfg.expert_width) + 2 * 8 + 4)  # weighted; two places and a weight
    router = 4 * 2 * (moe.n_expert or 0) + 3 * 4 * k + 8 * k
    return sent + router + _kept_by_mlp(cfg, (k + moe.n_shared) * cfg.expert_width, size)


def _products(cfg: ModelConfig, vocab_size: int) -> int:
    """Weights of all matrix products that a token passes through, the head's included even if tied."""
    chosen = _beside_experts(cfg) + cfg.moe.top_k * _mlp_matrices(cfg, cfg.expert_width)
    layers = cfg.n_layer * _attention_matrices(cfg) + _dense_layers(cfg) * _mlp_matrices(cfg, cfg.mlp_width)
    return layers + cfg.n_moe_layer * chosen + (vocab_size + cfg.head_transform * cfg.n_embd) * cfg.n_embd


def _qkv_width(cfg: ModelConfig) -> int:
    return (cfg.n_head + 2 * cfg.n_kv_head) * cfg.head_dim


def _attention_matrices(cfg: ModelConfig) -> int:
    return cfg.n_embd * (_qkv_width(cfg) + cfg.n_head * cfg.head_dim)


def _mlp_inputs(cfg: ModelConfig) -> int:
    """Matrices that read the MLP's input: a gated one has two."""
    return 2 if cfg.mlp.kind == "swiglu" else 1


def _mlp_matrices(cfg: ModelConfig, width: int) -> int:
    return (_mlp_inputs(cfg) + 1) * cfg.n_embd * width


def _dense_layers(cfg: ModelConfig) -> int:
    """Layers with one MLP for all tokens."""
    return cfg.n_layer - cfg.n_moe_layer


def _all_experts(cfg: ModelConfig) -> int:
    """The weights of those among which a layer's router chooses."""
    return (cfg.moe.n_expert or 0) * _mlp_matrices(cfg, cfg.expert_width)


def _beside_experts(cfg: ModelConfig) -> int:
    """A layer's router and shared experts."""
    return (cfg.moe.n_expert or 0) * cfg.n_embd + cfg.moe.n_shared * _mlp_matrices(cfg, cfg.expert_width)


def _norms(cfg: ModelConfig) -> int:
    return cfg.n_layer * cfg.block_norms + (cfg.norm.place == "pre") + cfg.norm.embeddings + cfg.head_transform


def _qk_gains(cfg: ModelConfig) -> int:
    return 2 * cfg.head_dim if cfg.attention.qk_gain else 0
