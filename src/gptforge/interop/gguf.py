"""GGUF files of llama.cpp, told as transformers would: a config.json, tensors by their names, a tokenizer.json.

Knows llama.cpp's names, its order of rotated rows and its kinds of tokens; the package gguf (extra `gguf`) reads the
bytes and unpacks what is quantised. Weights come out as float32.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptforge.errors import CheckpointError, UserError, missing_extra

FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # general.architecture: model_type
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_NAME = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)")
SPECIAL, USER = 3, 4  # of llama.cpp's kinds of tokens: control, defined by a user
_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
WORDS = {  # tokenizer.ggml.pre: how a text is cut before pairs are merged, as the tokenizers of these models do
    "gpt-2": _BYTES, "default": _BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTES]},
}  # fmt: skip
BROKEN = (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, OSError, MemoryError)


@dataclass(frozen=True, slots=True)
class GGUF:
    """A file that has been opened. `files` has each tensor's name as transformers has it, and its own."""

    path: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None
    chat_template: str | None
    files: Mapping[str, str]
    _tensor: Callable[[str], Any]

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError for a tensor that cannot be unpacked."""
        import gguf

        held, own = self._tensor(self.files[name]), self.files[name]
        try:
            tensor = torch.from_numpy(gguf.dequantize(held.data, held.tensor_type).copy()).float()
        except (NotImplementedError, *BROKEN) as e:
            raise CheckpointError(f"{own} cannot be unpacked: {e}", where=str(self.path)) from None
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{own} has values that are no numbers", where=str(self.path))
        if self.config["model_type"] == "llama" and (kind := own.split(".")[-2]) in ("attn_q", "attn_k"):
            heads = self.config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
            return _halves(tensor, heads)
        return tensor


def _halves(x: Tensor, heads: int) -> Tensor:
    """Rows of rotated pairs from beside each other, as llama.cpp has Llama's, to one in each half of a head."""
    return x.view(heads, -1, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape).contiguous()


def pairs(x: Tensor, heads: int) -> Tensor:
    """The other way round."""
    return x.view(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape).contiguous()


def own_name(theirs: str) -> str:
    """llama.cpp's name of a tensor that transformers calls so."""
    module, _, leaf = theirs.rpartition(".")
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    table = {name: own for own, name in (IN_BLOCK if match else TOP).items()}
    return f"blk.{match[1]}.{table[match[2]]}.{leaf}" if match else f"{table[module]}.{leaf}"


def same_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two pre_tokenizers cut texts alike; some keys are of decoders alone."""

    def bare(step: Any) -> Any:
        if isinstance(step, list):
            return [bare(item) for item in step]
        if not isinstance(step, dict):
            return step
        return {key: bare(value) for key, value in step.items() if key != "trim_offsets"}

    return bare(one) == bare(other)


def read(path: Path) -> GGUF:
    """Opens a file. Raises CheckpointError for one that is none or is of a model that is not known, UserError without
    the package."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise missing_extra("gguf", "GGUF", UserError) from None
    try:
        reader = GGUFReader(str(path))
        values = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        return _opened(path, values, tensors)
    except BROKEN as e:
        raise CheckpointError(f"this GGUF file cannot be read: {e}", where=str(path)) from None


def _opened(path: Path, values: Mapping[str, Any], tensors: Mapping[str, Any]) -> GGUF:
    architecture = str(values.get("general.architecture"))
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"its architecture is {architecture}, known are {known}", where=str(path))
    if int(values.get(f"{architecture}.expert_count", 0)):
        what = "its experts are not read from GGUF files, only from a directory of transformers"
        raise CheckpointError(what, where=str(path))
    if "rope_freqs.weight" in tensors:
        raise CheckpointError("its rope_freqs, a scaling of its own, cannot be expressed", where=str(path))
    files = {name: own for own in tensors if (name := _named(own)) is not None}
    config = _config(values, architecture, "lm_head.weight" not in files)
    return GGUF(path, config, _tokenizer(values), values.get("tokenizer.chat_template"), files, tensors.__getitem__)


def _named(own: str) -> str | None:
    """A tensor's name in transformers."""
    match = _NAME.fullmatch(own)
    if match is None:
        return None
    block, part, leaf = match.groups()
    theirs = (TOP if block is None else IN_BLOCK).get(part)
    return None if theirs is None else f"{'' if block is None else f'model.layers.{block}.'}{theirs}.{leaf}"


def _config(values: Mapping[str, Any], architecture: str, tied: bool) -> dict[str, Any]:
    def of(key: str) -> Any:
        return values[f"{architecture}.{key}"]

    def maybe(key: str, otherwise: Any) -> Any:
        return values.get(f"{architecture}.{key}", otherwise)

    heads = of("attention.head_count")
    scaling = maybe("rope.scaling.type", "none")
    rope: dict[str, Any] = {"rope_type": "default" if scaling == "none" else scaling}
    rope |= {"factor": maybe("rope.scaling.factor", 1.0), "rope_theta": maybe("rope.freq_base", 10_000.0)}
    tokens = values.get("tokenizer.ggml.tokens")
    return {
        "model_type": FAMILIES[architecture], "num_hidden_layers": of("block_count"), "num_attention_heads": heads,
        "num_key_value_heads": maybe("attention.head_count_kv", heads), "hidden_size": of("embedding_length"),
        "intermediate_size": of("feed_forward_length"), "max_position_embeddings": of("context_length"),
        "rms_norm_eps": _short(of("attention.layer_norm_rms_epsilon")), "rope_parameters": rope,
        "head_dim": maybe("attention.key_length", of("embedding_length") // heads), "tie_word_embeddings": tied,
        "vocab_size": len(tokens) if tokens else of("vocab_size"),
    }  # fmt: skip


def _short(value: float) -> float:
    """A float32 as it was typed: 1e-5 and not 9.999999747378752e-06."""
    return float(f"{value:.7g}")


def _tokenizer(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a tokenizer.json would say; None of a kind that is not byte-level BPE, or cuts texts in an unknown way."""
    words = WORDS.get(str(values.get("tokenizer.ggml.pre", "default")))
    if values.get("tokenizer.ggml.model") != "gpt2" or words is None:
        return None
    tokens, kinds = values["tokenizer.ggml.tokens"], values.get("tokenizer.ggml.token_type", [])
    named = [(i, kind) for i, kind in enumerate(kinds) if kind in (SPECIAL, USER)]
    return {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": list(values.get("tokenizer.ggml.merges", [])),
        },
        "pre_tokenizer": words,
        "added_tokens": [{"content": tokens[i], "id": i, "special": kind == SPECIAL} for i, kind in named],
    }
