"""Which family of transformers is a model of ours, and if none, which parts stand in the way. Knows configs alone."""

import contextlib
from collections.abc import Mapping
from typing import Any

from gptforge.config import ModelConfig
from gptforge.config.schema import flatten, shown, to_dict
from gptforge.errors import ConfigError
from gptforge.interop import moe_families
from gptforge.interop.families import FAMILIES, Family, model_config

NO_PART = ("dropout", "attention.dropout", "init_std", "init_residual", "moe.bias_rate")  # of training, or of its begin


def family_of(cfg: ModelConfig, otherwise: str = "") -> Family:
    """The family. Raises ConfigError that names what the nearest one cannot express; `otherwise` is a way out of it."""
    name, lacking, instead = nearest_family(cfg)
    if not lacking:
        return FAMILIES[name]
    what = f"no model of transformers has these parts together; the nearest, {name}, lacks {', '.join(lacking)}"
    raise ConfigError(what, where="model", fix=[" ".join(instead), otherwise])


def nearest_family(cfg: ModelConfig) -> tuple[str, list[str], list[str]]:
    """The family that lacks least of a model's parts: its name, those parts, and what it has instead, as typed."""
    found = {}
    for name, family in FAMILIES.items():
        if name in moe_families.MODEL_TYPES and not cfg.moe.n_expert:  # without experts it is another family's
            continue
        with contextlib.suppress(ConfigError):  # of shapes that this family cannot have at all
            found[name] = differences(cfg, {"model_type": family.model_type, **family.theirs(cfg)})
    if not found:
        return "gpt2", [f"model.attention.head_dim={cfg.head_dim}"], ["model.attention.head_dim=null"]
    # An encoder is no decoder with a part missing
    name = min(found, key=lambda name: ("attention.causal" in found[name], len(found[name])))
    differing = found[name]
    if "position" in differing:  # how is rotated means nothing to one that does not
        differing = {key: values for key, values in differing.items() if not key.startswith("rope.")}
    lacking = [f"model.{key}={shown(value)}" for key, (value, _) in differing.items()]
    instead = [f"model.{key}={shown(other)}" for key, (_, other) in differing.items()]
    return name, lacking, instead


def differences(cfg: ModelConfig, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys in which the model of a config.json is another one: {key: (ours, what it would be)}.

    Raises ConfigError if no model can be made of it.
    """
    again = model_config(config)
    mine, other = _resolved(cfg), _resolved(again)
    if cfg.rotary_dim == again.rotary_dim:  # of a fraction, only what is rotated matters
        other["rope.fraction"] = mine.get("rope.fraction")
    if cfg.attention.qkv_bias is None and again.qkv_bias == again.bias:  # it goes with the other biases
        del mine["attention.qkv_bias"]
    return {key: (value, other.get(key)) for key, value in mine.items() if other.get(key) != value}


def _resolved(cfg: ModelConfig) -> dict[str, Any]:
    """The keys with what stands for them where they are left open, and without those that mean nothing here."""
    tree = flatten(to_dict(cfg))
    tree |= {"attention.head_dim": cfg.head_dim, "attention.n_kv_head": cfg.n_kv_head, "mlp.width": cfg.mlp_width}
    tree |= {"attention.qkv_bias": cfg.qkv_bias, "moe.width": cfg.expert_width}
    without: set[str] = set(NO_PART)
    if cfg.position != "rope":
        without |= {key for key in tree if key.startswith("rope.")}
    if cfg.rope.scaling != "llama3":
        without |= {"rope.low", "rope.high", "rope.original"} | (
            {"rope.factor"} if cfg.rope.scaling == "none" else set()
        )
    if cfg.moe.n_expert is None:
        without |= {key for key in tree if key.startswith("moe.")} - {"moe.n_expert"}
    elif not cfg.moe.first_dense:  # no layer has an MLP
        without.add("mlp.width")
    if not cfg.parallel_residual:
        without.add("norm.shared")
    return {key: value for key, value in tree.items() if key not in without}
