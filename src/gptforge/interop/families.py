"""The families of Hugging Face's transformers that gptforge's parts can express: their configs and their tensors.

Knows names and numbers, not files. The reference are the published modelling files of transformers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptforge.config import ModelConfig
from gptforge.config.model import MLPConfig
from gptforge.config.schema import build, nearest
from gptforge.errors import ConfigError
from gptforge.interop import encoders, moe_families
from gptforge.interop.tensors import ByHead, Link, Same, Stacked

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """`ours` makes the tree of a ModelConfig of a config.json, `theirs` the other way round. `links` tells of a model
    how its tensors go together; all but those of the head, which `head` names. `left_out` begins the names of tensors
    that may be there and have no part in what the model computes."""

    model_type: str
    architecture: str
    ours: Callable[[Config], dict[str, Any]]
    theirs: Callable[[ModelConfig], dict[str, Any]]
    links: Callable[[ModelConfig], Iterator[Link]]
    head: str = "lm_head.weight"
    left_out: tuple[str, ...] = ()


def of(config: Config) -> Family:
    """The family that a config.json names. Raises ConfigError for one that is not known."""
    name = str(config.get("model_type"))
    if name in ONLY_READ:
        return ONLY_READ[name]
    if name not in FAMILIES:
        near = nearest(name, list(FAMILIES), 1)
        fix = f"{near[0]} is known" if near else ""
        raise ConfigError(f"there is no model_type {name!r} among {', '.join(FAMILIES)}", where="config.json", fix=fix)
    return FAMILIES[name]


def model_config(config: Config) -> ModelConfig:
    """A config.json as ours. Raises ConfigError for what the parts cannot express."""
    family = of(config)
    for key, known in UNKNOWN.get(family.model_type, {}).items():
        if config.get(key, known) != known:
            raise ConfigError(f"{key}={config[key]} cannot be expressed", where="config.json", fix=f"{key}={known}")
    try:
        cfg = build(ModelConfig, family.ours(config))
    except KeyError as e:
        raise ConfigError(f"there is no {e.args[0]}", where="config.json") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as e:
        raise ConfigError(f"a value in it is of another kind than it should be: {e}", where="config.json") from None
    plain = ModelConfig(n_embd=cfg.n_embd, mlp=MLPConfig(kind=cfg.mlp.kind))
    cfg.attention.head_dim = None if cfg.head_dim == cfg.n_embd / cfg.n_head else cfg.head_dim
    cfg.attention.n_kv_head = None if cfg.n_kv_head == cfg.n_head else cfg.n_kv_head
    cfg.mlp.width = None if cfg.mlp.width == plain.mlp_width else cfg.mlp.width
    cfg.moe.width = None if cfg.moe.width == cfg.mlp_width else cfg.moe.width
    return cfg


def links_of(family: Family, cfg: ModelConfig) -> Iterator[Link]:
    """Of every tensor of a model how it comes of theirs."""
    yield from family.links(cfg)
    if not cfg.tie_embeddings:
        yield Same("head.weight", family.head)


# What the families have in common ---------------------------------------------


def _module(ours: str, theirs: str, bias: bool, turned: bool = False) -> Iterator[Link]:
    yield Same(f"{ours}.weight", f"{theirs}.weight", turned)
    if bias:
        yield Same(f"{ours}.bias", f"{theirs}.bias")


def _rope(config: Config, pct: str = "") -> dict[str, Any]:
    """Rotary positions: transformers 5 has them under rope_parameters, 4 in keys of their own."""
    held = config.get("rope_parameters") or {}
    scaling = {**held, **(config.get("rope_scaling") or {})}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    tree: dict[str, Any] = {"theta": float(held.get("rope_theta", config.get("rope_theta", 10_000.0)))}
    tree["theta"] = (
        float(config.get("rotary_emb_base", tree["theta"])) if pct and "rope_theta" not in held else tree["theta"]
    )
    if pct:
        tree["fraction"] = float(held.get("partial_rotary_factor", config.get(pct, 1.0)))
    if kind == "linear":
        tree |= {"scaling": "linear", "factor": float(scaling["factor"])}
    elif kind == "llama3":
        names = {"factor": "factor", "low": "low_freq_factor", "high": "high_freq_factor"}
        tree |= {"scaling": "llama3", **{ours: float(scaling[theirs]) for ours, theirs in names.items()}}
        tree["original"] = int(scaling["original_max_position_embeddings"])
    elif kind != "default":
        raise ConfigError(f"rope_type={kind} cannot be expressed", where="config.json", fix="default, linear or llama3")
    return tree


def _rope_theirs(cfg: ModelConfig, **more: float) -> dict[str, Any]:
    """The keys of transformers 5, and those that 4 looks at instead, which takes a scaling from nowhere else."""
    told = {"rope_theta": cfg.rope.theta, "rope_parameters": _rope_parameters(cfg) | more}
    if cfg.rope.scaling != "none":
        told["rope_scaling"] = told["rope_parameters"]
    return told


def _rope_parameters(cfg: ModelConfig) -> dict[str, Any]:
    rope = cfg.rope
    told: dict[str, Any] = {"rope_theta": rope.theta, "rope_type": "default"}
    if rope.scaling != "none":
        told |= {"rope_type": rope.scaling, "factor": rope.factor}
    if rope.scaling == "llama3":
        told |= {"low_freq_factor": rope.low, "high_freq_factor": rope.high}
        told["original_max_position_embeddings"] = rope.original
    return told


# GPT-2 ------------------------------------------------------------------------


def _gpt2(config: Config) -> dict[str, Any]:
    return {
        "n_layer": config["n_layer"], "n_head": config["n_head"], "n_embd": config["n_embd"],
        "block_size": config["n_positions"], "bias": config.get("bias", True), "position": "learned",
        "tie_embeddings": config.get("tie_word_embeddings", True),
        "mlp": {"kind": _gelu(config.get("activation_function", "gelu_new")), "width": config.get("n_inner")},
        "norm": {"eps": config.get("layer_norm_epsilon", 1e-5)},
    }  # fmt: skip


def _gelu(name: str) -> str:
    kinds = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "gelu": "gelu_erf"}
    if name not in kinds:
        raise ConfigError(f"the activation {name} cannot be expressed", where="config.json", fix=" or ".join(kinds))
    return kinds[name]


def _gelu_theirs(cfg: ModelConfig) -> str:
    return "gelu" if cfg.mlp.kind == "gelu_erf" else "gelu_new"


def _gpt2_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "n_layer": cfg.n_layer, "n_head": cfg.n_head, "n_embd": cfg.n_embd, "n_positions": cfg.block_size,
        "n_inner": cfg.mlp_width, "activation_function": _gelu_theirs(cfg),
        "layer_norm_epsilon": cfg.norm.eps, "tie_word_embeddings": cfg.tie_embeddings,
    }  # fmt: skip


def _gpt2_links(cfg: ModelConfig) -> Iterator[Link]:
    yield Same("tok_emb.weight", "transformer.wte.weight")
    yield Same("pos_emb.weight", "transformer.wpe.weight")
    for n in range(cfg.n_layer):
        ours, theirs = f"blocks.{n}", f"transformer.h.{n}"
        yield from _module(f"{ours}.attn_norm", f"{theirs}.ln_1", cfg.bias)
        yield from _module(f"{ours}.attn.qkv", f"{theirs}.attn.c_attn", cfg.bias, turned=True)
        yield from _module(f"{ours}.attn.proj", f"{theirs}.attn.c_proj", cfg.bias, turned=True)
        yield from _module(f"{ours}.mlp_norm", f"{theirs}.ln_2", cfg.bias)
        yield from _module(f"{ours}.mlp.fc", f"{theirs}.mlp.c_fc", cfg.bias, turned=True)
        yield from _module(f"{ours}.mlp.proj", f"{theirs}.mlp.c_proj", cfg.bias, turned=True)
    yield from _module("final_norm", "transformer.ln_f", cfg.bias)


# GPT-NeoX, Pythia -------------------------------------------------------------


def _neox(config: Config) -> dict[str, Any]:
    parallel = config.get("use_parallel_residual", True)
    return {
        "n_layer": config["num_hidden_layers"], "n_head": config["num_attention_heads"],
        "n_embd": config["hidden_size"], "block_size": config["max_position_embeddings"], "bias": True,
        "tie_embeddings": config.get("tie_word_embeddings", False), "position": "rope",
        "parallel_residual": parallel, "rope": _rope(config, "rotary_pct"),
        "mlp": {"kind": _gelu(config.get("hidden_act", "gelu")), "width": config["intermediate_size"]},
        "norm": {"eps": config.get("layer_norm_eps", 1e-5), "shared": not parallel},
    }  # fmt: skip


def _neox_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "num_hidden_layers": cfg.n_layer, "num_attention_heads": cfg.n_head, "hidden_size": cfg.n_embd,
        "max_position_embeddings": cfg.block_size, "tie_word_embeddings": cfg.tie_embeddings,
        "use_parallel_residual": cfg.parallel_residual, "intermediate_size": cfg.mlp_width,
        "hidden_act": _gelu_theirs(cfg), "layer_norm_eps": cfg.norm.eps,
        "rotary_pct": cfg.rope.fraction, "rotary_emb_base": cfg.rope.theta, "attention_bias": True,
    } | _rope_theirs(cfg, partial_rotary_factor=cfg.rope.fraction)  # fmt: skip


def _neox_links(cfg: ModelConfig) -> Iterator[Link]:
    yield Same("tok_emb.weight", "gpt_neox.embed_in.weight")
    for n in range(cfg.n_layer):
        ours, theirs = f"blocks.{n}", f"gpt_neox.layers.{n}"
        yield from _module(f"{ours}.attn_norm", f"{theirs}.input_layernorm", True)
        for leaf in ("weight", "bias"):
            yield ByHead(f"{ours}.attn.qkv.{leaf}", f"{theirs}.attention.query_key_value.{leaf}", cfg.n_head)
        yield from _module(f"{ours}.attn.proj", f"{theirs}.attention.dense", True)
        yield from _module(f"{ours}.mlp_norm", f"{theirs}.post_attention_layernorm", True)
        yield from _module(f"{ours}.mlp.fc", f"{theirs}.mlp.dense_h_to_4h", True)
        yield from _module(f"{ours}.mlp.proj", f"{theirs}.mlp.dense_4h_to_h", True)
    yield from _module("final_norm", "gpt_neox.final_layer_norm", True)


# Llama and what came of it ----------------------------------------------------


def _llama(config: Config) -> dict[str, Any]:
    if config.get("attention_bias", False) != config.get("mlp_bias", False):
        raise ConfigError("attention_bias without mlp_bias cannot be expressed", where="config.json")
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return {
        "n_layer": config["num_hidden_layers"], "n_head": config["num_attention_heads"],
        "n_embd": config["hidden_size"], "block_size": config["max_position_embeddings"],
        "bias": config.get("mlp_bias", False), "tie_embeddings": config.get("tie_word_embeddings", False),
        "position": "rope", "rope": _rope(config),
        "attention": {
            "n_kv_head": config.get("num_key_value_heads"), "head_dim": config.get("head_dim"), "window": window,
        },
        "mlp": {"kind": "swiglu", "width": config["intermediate_size"]},
        "norm": {"kind": "rmsnorm", "eps": config.get("rms_norm_eps", 1e-6)},
    }  # fmt: skip


def _qwen2(config: Config) -> dict[str, Any]:
    tree = _llama({"use_sliding_window": False, **config})
    tree["attention"]["qkv_bias"] = True
    return tree


def _qwen3(config: Config) -> dict[str, Any]:
    tree = _llama({"use_sliding_window": False, **config})
    tree["attention"] |= {"qk_norm": True, "qk_gain": True}
    return tree


def _llama_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "num_hidden_layers": cfg.n_layer, "num_attention_heads": cfg.n_head, "hidden_size": cfg.n_embd,
        "max_position_embeddings": cfg.block_size, "tie_word_embeddings": cfg.tie_embeddings,
        "num_key_value_heads": cfg.n_kv_head, "head_dim": cfg.head_dim, "intermediate_size": cfg.mlp_width,
        "hidden_act": "silu", "rms_norm_eps": cfg.norm.eps, "attention_bias": cfg.bias, "mlp_bias": cfg.bias,
    } | _rope_theirs(cfg)  # fmt: skip


def _mistral_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return _llama_theirs(cfg) | {"sliding_window": cfg.attention.window}


def _qwen_theirs(cfg: ModelConfig) -> dict[str, Any]:
    window = cfg.attention.window
    return _llama_theirs(cfg) | {
        "use_sliding_window": window is not None, "sliding_window": window, "max_window_layers": 0,
        "layer_types": ["full_attention" if window is None else "sliding_attention"] * cfg.n_layer,
    }  # fmt: skip


def _llama_links(cfg: ModelConfig, experts: moe_families.Links = moe_families.links) -> Iterator[Link]:
    rows = tuple(n * cfg.head_dim for n in (cfg.n_head, cfg.n_kv_head, cfg.n_kv_head))
    yield Same("tok_emb.weight", "model.embed_tokens.weight")
    for n in range(cfg.n_layer):
        ours, theirs = f"blocks.{n}", f"model.layers.{n}"
        yield Same(f"{ours}.attn_norm.weight", f"{theirs}.input_layernorm.weight")
        for leaf in ("weight", "bias") if cfg.qkv_bias else ("weight",):
            parts = tuple(f"{theirs}.self_attn.{part}_proj.{leaf}" for part in "qkv")
            yield Stacked(f"{ours}.attn.qkv.{leaf}", parts, rows)
        if cfg.attention.qk_gain:
            yield Same(f"{ours}.attn.q_gain.weight", f"{theirs}.self_attn.q_norm.weight")
            yield Same(f"{ours}.attn.k_gain.weight", f"{theirs}.self_attn.k_norm.weight")
        yield from _module(f"{ours}.attn.proj", f"{theirs}.self_attn.o_proj", cfg.bias)
        yield Same(f"{ours}.mlp_norm.weight", f"{theirs}.post_attention_layernorm.weight")
        if n >= cfg.n_layer - cfg.n_moe_layer:
            yield from experts(cfg, ours, theirs)
            continue
        for name, part in (("gate", "gate"), ("fc", "up"), ("proj", "down")):
            yield from _module(f"{ours}.mlp.{name}", f"{theirs}.mlp.{part}_proj", cfg.bias)
    yield Same("final_norm.weight", "model.norm.weight")


# With experts: what is theirs alone is in moe_families.py ----------------------


def _mixtral(config: Config) -> dict[str, Any]:
    return _llama(config) | {"moe": moe_families.mixtral(config)}


def _mixtral_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return _mistral_theirs(cfg) | moe_families.mixtral_theirs(cfg)


def _mixtral_links(cfg: ModelConfig) -> Iterator[Link]:
    return _llama_links(cfg, moe_families.mixtral_links)


def _qwen3_moe(config: Config) -> dict[str, Any]:
    return _qwen3(config) | {"moe": moe_families.qwen3(config)}


def _qwen3_moe_theirs(cfg: ModelConfig) -> dict[str, Any]:
    window = cfg.attention.window
    windows = {"use_sliding_window": window is not None, "sliding_window": window}
    return _llama_theirs(cfg) | windows | moe_families.qwen3_theirs(cfg)


def _glm4_moe(config: Config) -> dict[str, Any]:
    """Biases are those of queries, keys and values alone; half of a head is rotated where nothing is said."""
    tree = _llama({**config, "attention_bias": False, "mlp_bias": False})
    tree["attention"] |= {name: config.get("use_qk_norm", False) for name in ("qk_norm", "qk_gain")}
    tree["attention"]["qkv_bias"] = config.get("attention_bias", False)
    tree["rope"] = _rope({"partial_rotary_factor": 0.5, **config}, "partial_rotary_factor")
    return tree | {"moe": moe_families.glm4(config)}


def _glm4_moe_theirs(cfg: ModelConfig) -> dict[str, Any]:
    turned = {"partial_rotary_factor": cfg.rope.fraction}
    told = {"use_qk_norm": cfg.attention.qk_gain, "attention_bias": cfg.qkv_bias, **turned}
    told["rope_parameters"] = _rope_theirs(cfg) | turned
    return _llama_theirs(cfg) | told | moe_families.glm4_theirs(cfg)


# Keys whose other values would be another model than the one that is made of them
UNKNOWN: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "add_cross_attention": False},
    "gpt_neox": {"attention_bias": True},
    "llama": {"hidden_act": "silu", "pretraining_tp": 1},
    "mistral": {"hidden_act": "silu"},
    "qwen2": {"hidden_act": "silu"},
    "qwen3": {"hidden_act": "silu"},
    "mixtral": {"hidden_act": "silu"},
    "qwen3_moe": {"hidden_act": "silu", "decoder_sparse_step": 1},
    "glm4_moe": {"hidden_act": "silu", "n_group": 1, "topk_group": 1},
    "bert": encoders.KNOWN,
}
FAMILIES = {
    family.model_type: family
    for family in (
        Family("gpt2", "GPT2LMHeadModel", _gpt2, _gpt2_theirs, _gpt2_links),
        Family("gpt_neox", "GPTNeoXForCausalLM", _neox, _neox_theirs, _neox_links, "embed_out.weight"),
        Family("llama", "LlamaForCausalLM", _llama, _llama_theirs, _llama_links),
        Family("mistral", "MistralForCausalLM", _llama, _mistral_theirs, _llama_links),
        Family("qwen2", "Qwen2ForCausalLM", _qwen2, _qwen_theirs, _llama_links),
        Family("qwen3", "Qwen3ForCausalLM", _qwen3, _qwen_theirs, _llama_links),
        Family("mixtral", "MixtralForCausalLM", _mixtral, _mixtral_theirs, _mixtral_links),
        Family("qwen3_moe", "Qwen3MoeForCausalLM", _qwen3_moe, _qwen3_moe_theirs, _llama_links),
        Family("glm4_moe", "Glm4MoeForCausalLM", _glm4_moe, _glm4_moe_theirs, _llama_links),
        Family("bert", "BertForMaskedLM", encoders.ours, encoders.theirs, encoders.links, left_out=encoders.LEFT_OUT),
    )
}
# Told as if they were of transformers, which has no such model: a GPT-2 that may lack its biases
ONLY_READ = {"nanogpt": Family("nanogpt", "", _gpt2, _gpt2_theirs, _gpt2_links)}
