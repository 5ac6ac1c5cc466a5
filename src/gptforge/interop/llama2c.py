"""llama2.c's model.bin, told as a Llama of transformers would be: numbers in a row behind a header, no pickle.

Versions 0 (without a number), 1 (float32) and 2 (eight bits in groups) of its export.py. It has no names, so that only
the length of the file tells whether it is one.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptforge.errors import CheckpointError

MAGIC, HEADER = 0x616B3432, 256  # bytes of the header of versions 1 and 2
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
         "vocab_size", "max_position_embeddings")  # fmt: skip
NORMS = {"attention": "input_layernorm", "ffn": "post_attention_layernorm"}
MATRICES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.down_proj", "mlp.up_proj")  # w1, w2, w3
GREATEST = 1 << 24  # of any size: what is beyond is no header


@dataclass(frozen=True, slots=True)
class Llama2C:
    """A file that has been opened; `files` has a reader of each tensor by its name in transformers."""

    path: Path
    config: Mapping[str, Any]
    files: Mapping[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        read: Callable[[], Tensor] = self.files[name]
        tensor = read()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that are no numbers", where=str(self.path))
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        return halves(tensor, self.config[heads]) if heads else tensor


def halves(matrix: Tensor, heads: int) -> Tensor:
    """The rows of a matrix whose pairs are rotated that stand beside each other, with the first of all pairs first."""
    return matrix.view(heads, -1, 2, matrix.size(1)).transpose(1, 2).reshape(matrix.shape)


def read(path: Path) -> Llama2C:
    """Raises CheckpointError for a file that is none."""
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as e:
        raise CheckpointError(f"it cannot be read: {e}", where=str(path)) from None
    try:
        version, start, config, group = _header(content[:HEADER].tobytes())
    except (struct.error, ValueError):
        raise _none(path) from None
    tensors: dict[str, Callable[[], Tensor]] = {}
    for name, shape, quantised in _layout(version, config):
        size = math.prod(shape)
        if quantised and size % group:
            raise _none(path)
        if quantised:
            length = size + 4 * (size // group)
            tensors[name] = lambda at=start, shape=shape: _grouped(content, at, shape, group)
        else:
            length = 4 * size
            tensors[name] = lambda at=start, shape=shape: _floats(content, at, shape)
        start += length
    if start != len(content):
        raise _none(path)
    for unused in [name for name in tensors if name.startswith("freq")]:
        del tensors[unused]
    return Llama2C(path, config, tensors)


def _none(path: Path) -> CheckpointError:
    fix = "PATH of the folder around it, if it is a pytorch_model.bin" if path.name.startswith("pytorch") else ""
    return CheckpointError("its length is not that of a model of llama2.c with this header", where=str(path), fix=fix)


def _header(head: bytes) -> tuple[int, int, dict[str, Any], int]:
    """Version, where the numbers begin, the config, and how many weights have one scale. Raises ValueError."""
    version, at = 0, 0
    if struct.unpack_from("I", head)[0] == MAGIC:
        version, at = struct.unpack_from("i", head, 4)[0], 8
    sizes = dict(zip(SIZES, struct.unpack_from("7i", head, at), strict=True))
    tied, group = sizes["vocab_size"] > 0, 1
    if version:
        tied = bool(head[36])
        group = struct.unpack_from("i", head, 37)[0] if version == 2 else 1
    sizes["vocab_size"] = abs(sizes["vocab_size"])
    heads, kv = sizes["num_attention_heads"], sizes["num_key_value_heads"]
    sound = version in (0, 1, 2) and group > 0 and all(0 < size <= GREATEST for size in sizes.values())
    if not sound or sizes["hidden_size"] % (2 * heads) or heads % kv:
        raise ValueError
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "tie_word_embeddings": tied, **sizes}
    return version, HEADER if version else 28, config, group


def _layout(version: int, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """The tensors in the order of the file: name, shape, and whether they are of eight bits."""
    width, hidden, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = width // config["num_attention_heads"]
    kv = head * config["num_key_value_heads"]
    shapes = {"q": (width, width), "k": (kv, width), "v": (kv, width), "o": (width, width)}
    of_mlp = {"gate": (hidden, width), "down": (width, hidden), "up": (hidden, width)}

    def every(part: str, shape: tuple[int, ...], quantised: bool) -> Iterator[tuple[str, tuple[int, ...], bool]]:
        for n in range(config["num_hidden_layers"]):
            yield f"model.layers.{n}.{part}.weight", shape, quantised

    embedding = ("model.embed_tokens.weight", (vocab, width), version == 2)
    if version:
        for norm in NORMS.values():
            yield from every(norm, (width,), False)
        yield "model.norm.weight", (width,), False
    yield embedding
    if not version:
        yield from every(NORMS["attention"], (width,), False)
    for part in MATRICES:
        yield from every(part, shapes[part[10]], version == 2)
    if not version:
        yield from every(NORMS["ffn"], (width,), False)
    for part in MLP:
        yield from every(part, of_mlp[part[4:-5]], version == 2)
    if not version:
        yield "model.norm.weight", (width,), False
        for table in ("freq_cos", "freq_sin"):  # of its own rotation, which are computed here
            yield table, (config["max_position_embeddings"], head // 2), False
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (vocab, width), version == 2


def _floats(content: np.ndarray, at: int, shape: tuple[int, ...]) -> Tensor:
    values = content[at : at + 4 * math.prod(shape)].view(np.float32)
    return torch.from_numpy(values.reshape(shape).copy())


def _grouped(content: np.ndarray, at: int, shape: tuple[int, ...], group: int) -> Tensor:
    """Eight bits a weight, and behind them a float32 scale for each `group` of them."""
    size = math.prod(shape)
    values = content[at : at + size].view(np.int8).reshape(-1, group).astype(np.float32)
    scales = np.frombuffer(content[at + size : at + size + 4 * (size // group)].tobytes(), np.float32)
    return torch.from_numpy((values * scales[:, None]).reshape(shape))
