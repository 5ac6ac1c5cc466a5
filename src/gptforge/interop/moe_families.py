"""What families with experts have beside Llama's: their keys in a config.json, and their tensors.

Knows names and numbers, not files. The reference are the published modelling files of transformers. On disk each expert
has tensors of its own, whatever transformers makes of them in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gptforge.config import ModelConfig
from gptforge.errors import ConfigError
from gptforge.interop.tensors import Link, Piled, Same

MODEL_TYPES = ("mixtral", "qwen3_moe", "glm4_moe")
Config = Mapping[str, Any]
Links = Callable[[ModelConfig, str, str], Iterator[Link]]  # of our layer's and their layer's prefix


def mixtral(config: Config) -> dict[str, Any]:
    """The keys of `model.moe`. Mixtral's experts are as wide as its MLP would be."""
    return {
        "n_expert": config["num_local_experts"], "top_k": config["num_experts_per_tok"],
        "score": "softmax", "bias": False,
    }  # fmt: skip


def mixtral_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "num_local_experts": cfg.moe.n_expert, "num_experts_per_tok": cfg.moe.top_k,
        "intermediate_size": cfg.expert_width,
    }  # fmt: skip


def mixtral_links(cfg: ModelConfig, ours: str, theirs: str) -> Iterator[Link]:
    yield from _links(cfg, f"{ours}.mlp", f"{theirs}.block_sparse_moe", ("w1", "w3", "w2"))


def qwen3(config: Config) -> dict[str, Any]:
    dense = list(config.get("mlp_only_layers") or [])
    if dense != list(range(len(dense))):
        raise ConfigError("mlp_only_layers other than the first cannot be expressed", where="config.json")
    return {
        "n_expert": config["num_experts" if "num_experts" in config else "num_local_experts"],
        "top_k": config["num_experts_per_tok"], "width": config["moe_intermediate_size"], "score": "softmax",
        "bias": False, "normalize": config.get("norm_topk_prob", False), "first_dense": len(dense),
    }  # fmt: skip


def qwen3_theirs(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "num_experts": cfg.moe.n_expert, "num_experts_per_tok": cfg.moe.top_k,
        "moe_intermediate_size": cfg.expert_width, "norm_topk_prob": cfg.moe.normalize, "decoder_sparse_step": 1,
        "mlp_only_layers": list(range(cfg.moe.first_dense)),
    }  # fmt: skip


def glm4(config: Config) -> dict[str, Any]:
    return {
        "n_expert": config["n_routed_experts" if "n_routed_experts" in config else "num_local_experts"],
        "top_k": config["num_experts_per_tok"], "width": config["moe_intermediate_size"],
        "n_shared": config.get("n_shared_experts", 1), "first_dense": config.get("first_k_dense_replace", 1),
        "normalize": config.get("norm_topk_prob", True), "scale": float(config.get("routed_scaling_factor", 1.0)),
    }  # fmt: skip


def glm4_theirs(cfg: ModelConfig) -> dict[str, Any]:
    moe = cfg.moe
    return {
        "n_routed_experts": moe.n_expert, "num_experts_per_tok": moe.top_k, "moe_intermediate_size": cfg.expert_width,
        "n_shared_experts": moe.n_shared or 1, "first_k_dense_replace": moe.first_dense, "n_group": 1, "topk_group": 1,
        "norm_topk_prob": moe.normalize, "routed_scaling_factor": moe.scale, "num_nextn_predict_layers": 0,
    }  # fmt: skip


def links(cfg: ModelConfig, ours: str, theirs: str) -> Iterator[Link]:
    """Those of Qwen3 and GLM-4.5."""
    parts = ("gate_proj", "up_proj", "down_proj")
    yield from _links(cfg, f"{ours}.mlp", f"{theirs}.mlp", parts)
    if cfg.moe.bias:
        yield Same(f"{ours}.mlp.router.choice_bias", f"{theirs}.mlp.gate.e_score_correction_bias")
    if cfg.moe.n_shared:
        for name, part in zip(("gate", "fc", "proj"), parts, strict=True):
            yield Same(f"{ours}.mlp.shared.{name}.weight", f"{theirs}.mlp.shared_experts.{part}.weight")


def _links(cfg: ModelConfig, ours: str, theirs: str, parts: tuple[str, str, str]) -> Iterator[Link]:
    """The router, and the experts; `parts` are their names of gate, fc and proj."""
    yield Same(f"{ours}.router.weight", f"{theirs}.gate.weight")
    for name, part in zip(("gate", "fc", "proj"), parts, strict=True):
        each = tuple(f"{theirs}.experts.{n}.{part}.weight" for n in range(cfg.moe.n_expert or 0))
        yield Piled(f"{ours}.{name}.weight", each)
