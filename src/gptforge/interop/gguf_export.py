"""A trained model as a GGUF file for llama.cpp, read back before it gets its name.

Writes what gguf.py reads, by the package gguf (extra `gguf`). Tensors of one dimension stay float32, as llama.cpp's own
converter keeps them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gptforge.checkpoint import Loaded
from gptforge.durable import make_directories, sync_directory, unique
from gptforge.errors import CheckpointError, ConfigError, DataError, UsageError, from_os_error, missing_extra
from gptforge.interop import directory, gguf
from gptforge.interop.express import family_of
from gptforge.interop.families import Family, links_of
from gptforge.interop.sources import TEMPLATE
from gptforge.model import Transformer
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.bpe import BPETokenizer

KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
TOLERANCE = {"F32": 0.0, "F16": 2**-10, "BF16": 2**-7, "Q8_0": 2**-6}  # of the largest weight of a tensor


def to_file(loaded: Loaded, dtype: str, out: Path) -> None:
    """Writes the file. Raises ConfigError for a model and DataError for a tokenizer that a GGUF file cannot express,
    UsageError for a file that is there, ResourceError, CheckpointError if what was written is another model."""
    try:
        import gguf as package
    except ImportError:
        raise missing_extra("gguf", "format=gguf") from None
    if not loaded.config.model.attention.causal:
        raise ConfigError("gptforge writes no GGUF of an encoder (objective=mlm)", fix="format=hf")
    family, tokens = family_of(loaded.config.model), _tokens(loaded.tokenizer)
    if family.model_type not in gguf.FAMILIES.values():
        known = ", ".join(gguf.FAMILIES.values())
        raise ConfigError(f"gptforge writes no GGUF of {family.model_type}, only of {known}", fix="format=hf")
    if out.exists():
        raise UsageError(f"{out} is there already", fix="out=PATH of a new file")
    temporary = out.with_name(f".tmp-{unique()}-{out.name}")
    try:
        make_directories(out.parent)
        writer = package.GGUFWriter(temporary, family.model_type)
        _describe(writer, loaded, KINDS[dtype], tokens)
        for name, tensor in tensors(loaded.model, family):
            _add(writer, package, name, tensor, KINDS[dtype])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _check(loaded.model, temporary, TOLERANCE[KINDS[dtype]])
        os.rename(temporary, out)
        sync_directory(out.parent)
    except OSError as e:
        raise from_os_error(e, f"{out} cannot be written") from e
    finally:
        temporary.unlink(missing_ok=True)


def tensors(model: Transformer, family: Family) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors by llama.cpp's names, in its order of rows."""
    cfg, own = model.cfg, model.state_dict()
    for link in links_of(family, cfg):
        for name, part in zip(link.names, link.parted(own[link.ours]), strict=True):
            stored = gguf.own_name(name)
            heads = {"attn_q": cfg.n_head, "attn_k": cfg.n_kv_head}.get(stored.split(".")[-2])
            turned = family.model_type == "llama" and heads is not None
            yield stored, gguf.pairs(part, heads) if turned and heads else part


def _tokens(tokenizer: Tokenizer) -> tuple[BPETokenizer, str]:
    """The tokenizer, and llama.cpp's name of how it cuts words. Raises DataError for what has none."""
    if isinstance(tokenizer, BPETokenizer) and tokenizer.vocabulary.merges:
        for name, words in gguf.WORDS.items():
            if gguf.same_words(words, tokenizer.vocabulary.words):
                return tokenizer, name
    what = f"llama.cpp has no tokenizer like this one, which is {tokenizer.kind}"
    raise DataError(what, fix=["format=hf", "train with tokenizer=bpe"])


def _describe(writer: Any, loaded: Loaded, kind: str, tokens: tuple[BPETokenizer, str]) -> None:
    """The keys that llama.cpp looks at."""
    import gguf as package

    cfg, (tokenizer, words) = loaded.config.model, tokens
    writer.add_name(loaded.path.resolve().parents[1].name)
    writer.add_file_type(package.LlamaFileType[{"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")])
    writer.add_block_count(cfg.n_layer)
    writer.add_context_length(cfg.block_size)
    writer.add_embedding_length(cfg.n_embd)
    writer.add_feed_forward_length(cfg.mlp_width)
    writer.add_head_count(cfg.n_head)
    writer.add_head_count_kv(cfg.n_kv_head)
    writer.add_key_length(cfg.head_dim)
    writer.add_value_length(cfg.head_dim)
    writer.add_layer_norm_rms_eps(cfg.norm.eps)
    writer.add_rope_freq_base(cfg.rope.theta)
    writer.add_rope_dimension_count(cfg.rotary_dim)
    if cfg.rope.scaling == "linear":
        writer.add_rope_scaling_type(package.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(cfg.rope.factor)
    elif cfg.rope.scaling != "none":
        raise ConfigError(f"model.rope.scaling={cfg.rope.scaling} is not written as GGUF", fix="format=hf")
    writer.add_vocab_size(loaded.model.vocab_size)
    vocabulary = tokenizer.vocabulary
    names = {i: name for name, i in (vocabulary.special | vocabulary.added).items()}
    special, added = set(vocabulary.special.values()), set(vocabulary.added.values())
    kinds = [gguf.SPECIAL if i in special else gguf.USER if i in added else 1 for i in range(tokenizer.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list([names.get(i) or token or f"[unused{i}]" for i, token in enumerate(vocabulary.tokens)])
    writer.add_token_types(kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(False)
    if (template := loaded.path / TEMPLATE).exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    if tokenizer.eos is not None:
        writer.add_eos_token_id(tokenizer.eos)


def _add(writer: Any, package: Any, name: str, tensor: Tensor, kind: str) -> None:
    array = np.ascontiguousarray(tensor.detach().float().numpy())
    if array.ndim == 1 or kind == "F32":
        writer.add_tensor(name, array)
        return
    chosen = package.GGMLQuantizationType[kind]
    if kind == "Q8_0" and array.shape[-1] % 32:  # its blocks are of 32 values
        chosen = package.GGMLQuantizationType.F16
    writer.add_tensor(name, package.quantize(array, chosen), raw_dtype=chosen)


def _check(model: Transformer, path: Path, tolerance: float) -> None:
    """Raises CheckpointError unless the file gives the weights again, as exactly as its number format can."""
    found = gguf.read(path)
    again = directory.assembled(found.config, found).state_dict()
    for name, tensor in model.state_dict().items():
        most = tolerance * float(tensor.abs().max())
        if float((again[name] - tensor.float()).abs().max()) > most:
            raise CheckpointError(f"{name} comes back as another tensor", where=str(path))
