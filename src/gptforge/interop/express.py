"""Which family of transformers is a model of ours, and if none, which parts stand in the way. Knows configs alone."""

from typing import Any

from gptforge.config import ModelConfig
from gptforge.config.schema import flatten, shown, to_dict
from gptforge.errors import ConfigError
from gptforge.interop.families import FAMILIES, Family, model_config

NO_PART = ("dropout", "attention.dropout", "init_std", "init_residual")  # of training, or of its begin


def family_of(cfg: ModelConfig) -> Family:
    """The family. Raises ConfigError that names what the nearest one cannot express."""
    found = {name: differences(cfg, family) for name, family in FAMILIES.items()}
    # An encoder is no decoder with a part missing
    name = min(found, key=lambda name: ("attention.causal" in found[name], len(found[name])))
    if not found[name]:
        return FAMILIES[name]
    told = ", ".join(f"model.{key}={shown(value)}" for key, (value, _) in found[name].items())
    fixes = [f"model.{key}={shown(other)}" for key, (_, other) in found[name].items() if other is not None]
    what = f"no model of transformers has these parts together; the nearest, {name}, lacks {told}"
    raise ConfigError(what, where="model", fix=" ".join(fixes))


def differences(cfg: ModelConfig, family: Family) -> dict[str, tuple[Any, Any]]:
    """The keys in which the model would come back another one: {key: (ours, what it would be)}."""
    try:
        again = model_config({"model_type": family.model_type, **family.theirs(cfg)})
    except ConfigError as e:
        return {e.what: (None, None)}
    mine, other = _resolved(cfg), _resolved(again)
    return {key: (value, other.get(key)) for key, value in mine.items() if other.get(key) != value}


def _resolved(cfg: ModelConfig) -> dict[str, Any]:
    """The keys with what stands for them where they are left open, and without those that mean nothing here."""
    tree = flatten(to_dict(cfg))
    tree |= {"attention.head_dim": cfg.head_dim, "attention.n_kv_head": cfg.n_kv_head, "mlp.width": cfg.mlp_width}
    tree |= {"attention.qkv_bias": cfg.qkv_bias}
    without: set[str] = set(NO_PART)
    if cfg.position != "rope":
        without |= {key for key in tree if key.startswith("rope.")}
    if cfg.rope.scaling != "llama3":
        without |= {"rope.low", "rope.high", "rope.original"} | (
            {"rope.factor"} if cfg.rope.scaling == "none" else set()
        )
    if not cfg.parallel_residual:
        without.add("norm.shared")
    return {key: value for key, value in tree.items() if key not in without}
