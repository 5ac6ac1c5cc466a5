"""GGUF files of llama.cpp: a config.json as transformers would have it, tensors by llama.cpp's names, a tokenizer.json.

Knows the file and llama.cpp's kinds of tokens; its architectures, gguf_names.py knows. The package gguf (extra `gguf`)
reads the bytes and unpacks what is quantised. Weights come out as float32.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptforge.config import ModelConfig
from gptforge.errors import CheckpointError, UserError, missing_extra
from gptforge.interop import directory, gguf_header
from gptforge.interop.gguf_names import ARCHITECTURES, HEAD, Architecture
from gptforge.interop.tensors import Link
from gptforge.model import Transformer

NORMAL, SPECIAL, USER, UNUSED = 1, 3, 4, 5  # of llama.cpp's kinds of tokens: control, defined by a user, none at all
_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _pattern(digits: str) -> dict[str, Any]:
    """The words of Llama 3 and Qwen2, which differ in how many digits go together."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTES, "use_regex": False}]}


WORDS = {  # tokenizer.ggml.pre: how a text is cut before pairs are merged, as the tokenizers of these models do
    "gpt-2": _BYTES, "default": _BYTES, "olmo": _BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTES]},
    "qwen2": _pattern(r"\p{N}"), "llama-bpe": _pattern(r"\p{N}{1,3}"),
}  # fmt: skip
IGNORE_MERGES = ("llama-bpe",)  # a word that is a token is taken whole
BROKEN = (ValueError, IndexError, KeyError, TypeError, ArithmeticError, AttributeError, OSError, MemoryError)


@dataclass(frozen=True, slots=True)
class GGUF:
    """A file that has been opened. `files` has the names of its tensors."""

    path: Path
    architecture: Architecture
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None
    chat_template: str | None
    files: Mapping[str, str]
    _tensor: Callable[[str], Any]

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError for a tensor that cannot be unpacked."""
        import gguf

        held = self._tensor(name)
        try:
            tensor = torch.from_numpy(gguf.dequantize(held.data, held.tensor_type).copy()).float()
        except (NotImplementedError, *BROKEN) as e:
            raise CheckpointError(f"{name} cannot be unpacked: {e}", where=str(self.path)) from None
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that are no numbers", where=str(self.path))
        return tensor

    def model(self) -> Transformer:
        """The model in it. Raises ConfigError for what gptforge cannot be, CheckpointError for what is missing, does
        not fit, or has no place in a model of its architecture."""

        def links(cfg: ModelConfig) -> Iterator[Link]:
            made = list(self.architecture.all_links(cfg))
            left = self.files.keys() - {name for link in made for name in link.names}
            if left:
                what = f"its tensor {min(left)} has no place in a {self.architecture.name} as gptforge knows it"
                raise CheckpointError(what, where=str(self.path))
            return iter(made)

        return directory.assembled(self.config, self, links)


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
        gguf_header.check(path)
        reader = GGUFReader(str(path))
        values = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        return _opened(path, values, tensors)
    except BROKEN as e:
        raise CheckpointError(f"this GGUF file cannot be read: {e}", where=str(path)) from None


def _opened(path: Path, values: Mapping[str, Any], tensors: Mapping[str, Any]) -> GGUF:
    name = str(values.get("general.architecture"))
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise CheckpointError(f"its architecture is {name}, known are {known}", where=str(path))
    if int(values.get(f"{name}.expert_count", 0)):
        what = "its experts are not read from GGUF files, only from a directory of transformers"
        raise CheckpointError(what, where=str(path))
    if "rope_freqs.weight" in tensors:
        raise CheckpointError("its rope_freqs, a scaling of its own, cannot be expressed", where=str(path))
    architecture, files = ARCHITECTURES[name], {own: own for own in tensors}
    keys = {key.removeprefix(f"{name}."): value for key, value in values.items()}
    tokens = values.get("tokenizer.ggml.tokens")
    config = {
        **architecture.config(keys), "model_type": architecture.model_type,
        "vocab_size": len(tokens) if tokens else keys["vocab_size"],
        "attention_bias": architecture.model_type == "gpt_neox" or "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }  # fmt: skip
    if architecture.always_head and _equal(tensors.get(HEAD), tensors.get("token_embd.weight")):
        del files[HEAD]  # the embedding once more
    config["tie_word_embeddings"] = HEAD not in files
    template = values.get("tokenizer.chat_template")
    return GGUF(path, architecture, config, _tokenizer(values), template, files, tensors.__getitem__)


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors are stored with the same bits."""
    return bool(one and other and one.tensor_type == other.tensor_type and (one.data == other.data).all())


def _tokenizer(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a tokenizer.json would say; None of a kind that is not byte-level BPE, or cuts texts in an unknown way."""
    pre = str(values.get("tokenizer.ggml.pre", "default"))
    words = WORDS.get(pre)
    if values.get("tokenizer.ggml.model") != "gpt2" or words is None:
        return None
    tokens, kinds = values["tokenizer.ggml.tokens"], values.get("tokenizer.ggml.token_type", [])
    named = [(i, kind) for i, kind in enumerate(kinds) if kind in (SPECIAL, USER)]
    unused = {i for i, kind in enumerate(kinds) if kind == UNUSED}
    return {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens) if i not in unused},
            "merges": list(values.get("tokenizer.ggml.merges", [])),
            "ignore_merges": pre in IGNORE_MERGES,
        },
        "pre_tokenizer": words,
        "added_tokens": [{"content": tokens[i], "id": i, "special": kind == SPECIAL} for i, kind in named],
    }
