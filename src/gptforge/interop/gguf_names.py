"""llama.cpp's architectures: the keys of a model in a GGUF file, and the names and rows of its tensors, both ways.

Knows names and numbers, not files. The reference are llama.cpp's converter and the tables of the package gguf.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptforge.config import ModelConfig
from gptforge.config.schema import shown
from gptforge.errors import ConfigError
from gptforge.interop.express import differences
from gptforge.interop.tensors import Link, Same, Stacked

Values = Mapping[str, Any]  # of an architecture's keys, without its name before them
HEAD = "output.weight"
SCALINGS = {"none": "default", "linear": "linear"}  # of rotary positions, with their names in transformers


@dataclass(frozen=True, slots=True)
class Architecture:
    """`config` makes a config.json of the keys, which `keys` makes of a model. `always_head`: llama.cpp wants one also
    where it is the embedding of tokens."""

    name: str
    model_type: str
    config: Callable[[Values], dict[str, Any]]
    keys: Callable[[ModelConfig], dict[str, Any]]
    links: Callable[[ModelConfig], Iterator[Link]]
    always_head: bool = False

    def all_links(self, cfg: ModelConfig) -> Iterator[Link]:
        """Of every tensor of a model how it comes of those in a file."""
        yield from self.links(cfg)
        if not cfg.tie_embeddings:
            yield Same("head.weight", HEAD)


def architecture_of(cfg: ModelConfig, model_type: str) -> Architecture:
    """That which a model of this family of transformers becomes. Raises ConfigError with the parts that it cannot
    express."""
    name = WRITTEN.get(model_type)
    if name is None:
        known = ", ".join(WRITTEN)
        raise ConfigError(f"gptforge writes no GGUF of {model_type}, only of {known}", where="model", fix="format=hf")
    architecture = ARCHITECTURES[name]
    told = {**architecture.config(architecture.keys(cfg)), "tie_word_embeddings": cfg.tie_embeddings}
    if cfg.bias:
        told |= {"attention_bias": True, "mlp_bias": True}
    found = differences(cfg, {"model_type": architecture.model_type, **told})
    found = {key: values for key, values in found.items() if not _same_number(*values)}
    if found:
        parts = ", ".join(f"model.{key}={shown(value)}" for key, (value, _) in found.items())
        fixes = ["format=hf", " ".join(f"model.{key}={shown(other)}" for key, (_, other) in found.items())]
        raise ConfigError(f"no {name} of llama.cpp has {parts}", where="model", fix=fixes)
    return architecture


# Blocks of queries, keys and values in one, as GPT-2 and GPT-NeoX have them -----------------------------------------


def _common(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "block_count": cfg.n_layer, "context_length": cfg.block_size, "embedding_length": cfg.n_embd,
        "feed_forward_length": cfg.mlp_width, "attention.head_count": cfg.n_head,
    }  # fmt: skip


def _gpt2(values: Values) -> dict[str, Any]:
    return {
        "n_layer": values["block_count"], "n_head": values["attention.head_count"],
        "n_embd": values["embedding_length"], "n_positions": values["context_length"],
        "n_inner": values["feed_forward_length"], "layer_norm_epsilon": short(values["attention.layer_norm_epsilon"]),
    }  # fmt: skip


def _gpt2_keys(cfg: ModelConfig) -> dict[str, Any]:
    return _common(cfg) | {"attention.layer_norm_epsilon": cfg.norm.eps}


def _gpt2_links(cfg: ModelConfig) -> Iterator[Link]:
    yield Same("pos_emb.weight", "position_embd.weight")
    yield from _neox_links(cfg)


def _neox(values: Values) -> dict[str, Any]:
    width, heads = values["embedding_length"], values["attention.head_count"]
    rotated = values.get("rope.dimension_count", width // heads)
    return {
        "num_hidden_layers": values["block_count"], "num_attention_heads": heads, "hidden_size": width,
        "intermediate_size": values["feed_forward_length"], "max_position_embeddings": values["context_length"],
        "use_parallel_residual": values.get("use_parallel_residual", True),
        "layer_norm_eps": short(values["attention.layer_norm_epsilon"]),
        "rope_parameters": _rope(values) | {"partial_rotary_factor": rotated / (width // heads)},
    }  # fmt: skip


def _neox_keys(cfg: ModelConfig) -> dict[str, Any]:
    told = {"attention.layer_norm_epsilon": cfg.norm.eps, "use_parallel_residual": cfg.parallel_residual}
    return _common(cfg) | told | _rope_keys(cfg)


def _neox_links(cfg: ModelConfig) -> Iterator[Link]:
    names = {
        "attn_norm": "attn_norm", "attn.qkv": "attn_qkv", "attn.proj": "attn_output", "mlp_norm": "ffn_norm",
        "mlp.fc": "ffn_up", "mlp.proj": "ffn_down",
    }  # fmt: skip
    yield Same("tok_emb.weight", "token_embd.weight")
    for leaf in ("weight", "bias"):
        for n in range(cfg.n_layer):
            yield from (Same(f"blocks.{n}.{ours}.{leaf}", f"blk.{n}.{own}.{leaf}") for ours, own in names.items())
        yield Same(f"final_norm.{leaf}", f"output_norm.{leaf}")


# Llama and what came of it ----------------------------------------------------


def _llama(values: Values) -> dict[str, Any]:
    heads = values["attention.head_count"]
    return {
        "num_hidden_layers": values["block_count"], "num_attention_heads": heads,
        "num_key_value_heads": values.get("attention.head_count_kv", heads), "hidden_size": values["embedding_length"],
        "intermediate_size": values["feed_forward_length"], "max_position_embeddings": values["context_length"],
        "rms_norm_eps": short(values["attention.layer_norm_rms_epsilon"]), "rope_parameters": _rope(values),
        "head_dim": values.get("attention.key_length", values["embedding_length"] // heads),
    }  # fmt: skip


def _llama_keys(cfg: ModelConfig) -> dict[str, Any]:
    told = {
        "attention.head_count_kv": cfg.n_kv_head, "attention.key_length": cfg.head_dim,
        "attention.value_length": cfg.head_dim, "attention.layer_norm_rms_epsilon": cfg.norm.eps,
    }  # fmt: skip
    return _common(cfg) | told | _rope_keys(cfg)


def _llama_links(cfg: ModelConfig) -> Iterator[Link]:
    return _in_parts(cfg, (cfg.n_head, cfg.n_kv_head, 0))


def _qwen_links(cfg: ModelConfig) -> Iterator[Link]:
    return _in_parts(cfg, ())


def _in_parts(cfg: ModelConfig, turned_heads: tuple[int, ...]) -> Iterator[Link]:
    rows = tuple(n * cfg.head_dim for n in (cfg.n_head, cfg.n_kv_head, cfg.n_kv_head))
    leaves = ("weight", "bias") if cfg.bias else ("weight",)
    yield Same("tok_emb.weight", "token_embd.weight")
    for n in range(cfg.n_layer):
        ours, own = f"blocks.{n}", f"blk.{n}"
        for leaf in ("weight", "bias") if cfg.qkv_bias else ("weight",):
            parts = tuple(f"{own}.attn_{part}.{leaf}" for part in "qkv")
            yield Stacked(f"{ours}.attn.qkv.{leaf}", parts, rows, turned_heads)
        names = {"attn_norm": "attn_norm", "mlp_norm": "ffn_norm"}
        if cfg.attention.qk_gain:
            names |= {"attn.q_gain": "attn_q_norm", "attn.k_gain": "attn_k_norm"}
        yield from (Same(f"{ours}.{name}.weight", f"{own}.{theirs}.weight") for name, theirs in names.items())
        names = {"attn.proj": "attn_output", "mlp.gate": "ffn_gate", "mlp.fc": "ffn_up", "mlp.proj": "ffn_down"}
        for leaf in leaves:
            yield from (Same(f"{ours}.{name}.{leaf}", f"{own}.{theirs}.{leaf}") for name, theirs in names.items())
    yield Same("final_norm.weight", "output_norm.weight")


# What they have in common -----------------------------------------------------


def _same_number(one: Any, other: Any) -> bool:
    """Whether two numbers are one in the float32 of a file."""
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=1e-6)


def short(value: float) -> float:
    """A float32 as it was typed: 1e-5 and not 9.999999747378752e-06."""
    return float(f"{value:.7g}")


def _rope(values: Values) -> dict[str, Any]:
    scaling = values.get("rope.scaling.type", "none")
    told = {"rope_type": SCALINGS.get(scaling, scaling), "factor": short(values.get("rope.scaling.factor", 1.0))}
    return told | {"rope_theta": short(values.get("rope.freq_base", 10_000.0))}


def _rope_keys(cfg: ModelConfig) -> dict[str, Any]:
    told: dict[str, Any] = {"rope.freq_base": cfg.rope.theta, "rope.dimension_count": cfg.rotary_dim}
    if cfg.rope.scaling == "linear":
        told |= {"rope.scaling.type": "linear", "rope.scaling.factor": cfg.rope.factor}
    return told


ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("gpt2", "gpt2", _gpt2, _gpt2_keys, _gpt2_links),
        Architecture("gptneox", "gpt_neox", _neox, _neox_keys, _neox_links, always_head=True),
        Architecture("llama", "llama", _llama, _llama_keys, _llama_links),
        Architecture("qwen2", "qwen2", _llama, _llama_keys, _qwen_links),
        Architecture("qwen3", "qwen3", _llama, _llama_keys, _qwen_links),
    )
}
# By family of transformers; llama.cpp takes a Mistral for a Llama, which has no window
WRITTEN = {architecture.model_type: name for name, architecture in ARCHITECTURES.items()} | {"mistral": "llama"}
