"""BERT as transformers has it: its config and its tensors. Knows names and numbers, not files, as families.py does."""

from collections.abc import Iterator, Mapping
from typing import Any

from gptforge.config import ModelConfig
from gptforge.errors import ConfigError
from gptforge.interop.tensors import Link, Same, Stacked

# Of BERT's second objective, the next sentence, and of its fine-tuning: not read
LEFT_OUT = ("bert.pooler.", "cls.seq_relationship.")
# Untied, its output has a bias of its own besides the one that is saved in either case
KNOWN = {
    "is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
}  # fmt: skip
GELUS = {"gelu": "gelu_erf", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
SEGMENTS = 2  # of a BERT whose config does not say


def ours(config: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a ModelConfig. Raises KeyError for a key that is missing, ConfigError for what cannot be."""
    act = config.get("hidden_act", "gelu")
    if act not in GELUS:
        raise ConfigError(f"the activation {act} cannot be expressed", where="config.json", fix=" or ".join(GELUS))
    if not (segments := config.get("type_vocab_size", SEGMENTS)):
        raise ConfigError("type_vocab_size=0 cannot be expressed", where="config.json", fix="type_vocab_size=2")
    return {
        "n_layer": config["num_hidden_layers"], "n_head": config["num_attention_heads"],
        "n_embd": config["hidden_size"], "block_size": config["max_position_embeddings"], "bias": True,
        "position": "learned", "segments": segments, "head_transform": True, "head_bias": True,
        "attention": {"causal": False}, "mlp": {"kind": GELUS[act], "width": config["intermediate_size"]},
        "norm": {"place": "post", "embeddings": True, "eps": config.get("layer_norm_eps", 1e-12)},
    }  # fmt: skip


def theirs(cfg: ModelConfig) -> dict[str, Any]:
    """The keys of a config.json."""
    return {
        "num_hidden_layers": cfg.n_layer, "num_attention_heads": cfg.n_head, "hidden_size": cfg.n_embd,
        "max_position_embeddings": cfg.block_size, "intermediate_size": cfg.mlp_width,
        "hidden_act": "gelu" if cfg.mlp.kind == "gelu_erf" else "gelu_new",
        "layer_norm_eps": cfg.norm.eps, "type_vocab_size": cfg.segments or SEGMENTS,
        "tie_word_embeddings": True, "pad_token_id": None,
    }  # fmt: skip


def links(cfg: ModelConfig) -> Iterator[Link]:
    """How the tensors go together."""

    def module(mine: str, other: str) -> Iterator[Link]:
        for leaf in ("weight", "bias"):
            yield Same(f"{mine}.{leaf}", f"{other}.{leaf}")

    yield Same("tok_emb.weight", "bert.embeddings.word_embeddings.weight")
    yield Same("pos_emb.weight", "bert.embeddings.position_embeddings.weight")
    yield Same("seg_emb.weight", "bert.embeddings.token_type_embeddings.weight")
    yield from module("emb_norm", "bert.embeddings.LayerNorm")
    for n in range(cfg.n_layer):
        mine, other = f"blocks.{n}", f"bert.encoder.layer.{n}"
        for leaf in ("weight", "bias"):
            parts = tuple(f"{other}.attention.self.{part}.{leaf}" for part in ("query", "key", "value"))
            yield Stacked(f"{mine}.attn.qkv.{leaf}", parts, (cfg.n_embd,) * 3)
        yield from module(f"{mine}.attn.proj", f"{other}.attention.output.dense")
        yield from module(f"{mine}.attn_norm", f"{other}.attention.output.LayerNorm")
        yield from module(f"{mine}.mlp.fc", f"{other}.intermediate.dense")
        yield from module(f"{mine}.mlp.proj", f"{other}.output.dense")
        yield from module(f"{mine}.mlp_norm", f"{other}.output.LayerNorm")
    yield from module("head_transform.fc", "cls.predictions.transform.dense")
    yield from module("head_transform.norm", "cls.predictions.transform.LayerNorm")
    yield Same("head_bias.bias", "cls.predictions.bias")
