"""A trained model as a GGUF file for llama.cpp, read back before it gets its name.

Writes what gguf.py reads, by the package gguf (extra `gguf`). Tensors of one dimension stay float32, as llama.cpp's own
converter keeps them.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gptforge.checkpoint import Loaded
from gptforge.errors import CheckpointError, ConfigError, DataError, missing_extra
from gptforge.interop import gguf
from gptforge.interop.directory import TEMPLATE
from gptforge.interop.express import family_of
from gptforge.interop.gguf_names import HEAD, Architecture, architecture_of
from gptforge.interop.place import placed, refuse_existing
from gptforge.interop.precision import check_range
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
    refuse_existing(out, folder=False)
    cfg = loaded.config.model
    family = family_of(cfg, "format=safetensors or format=onnx, which can express every part")
    architecture, words = architecture_of(cfg, family.model_type), _words(loaded.tokenizer)
    check_range(loaded.model, dtype)
    with placed(out, folder=False) as path:
        writer = package.GGUFWriter(path, architecture.name)
        with contextlib.closing(writer):
            _describe(writer, loaded, architecture, KINDS[dtype], words)
            _write(writer, loaded.model, architecture, KINDS[dtype])
        _check(loaded.model, path, TOLERANCE[KINDS[dtype]])


def tensors(model: Transformer, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors by llama.cpp's names, in its order of rows."""
    own = model.state_dict()
    for link in architecture.all_links(model.cfg):
        yield from zip(link.names, link.parted(own[link.ours]), strict=True)
    if architecture.always_head and model.cfg.tie_embeddings:
        yield HEAD, own["tok_emb.weight"]


def _words(tokenizer: Tokenizer) -> str:
    """llama.cpp's name of how the tokenizer cuts words. Raises DataError for one that it has not."""
    if isinstance(tokenizer, BPETokenizer) and tokenizer.vocabulary.merges:
        vocabulary = tokenizer.vocabulary
        for name, words in gguf.WORDS.items():
            if gguf.same_words(words, vocabulary.words) and vocabulary.ignore_merges == (name in gguf.IGNORE_MERGES):
                return name
        what = "llama.cpp has no name for how this tokenizer cuts a text into words"
    else:
        what = f"llama.cpp has no tokenizer of {'characters' if tokenizer.kind == 'char' else 'bytes without merges'}"
    raise DataError(what, fix=["format=hf", "train with tokenizer=bpe"])


def _describe(writer: Any, loaded: Loaded, architecture: Architecture, kind: str, words: str) -> None:
    """The keys that llama.cpp looks at."""
    import gguf as package

    tokenizer = loaded.tokenizer
    assert isinstance(tokenizer, BPETokenizer)
    writer.add_name(loaded.path.resolve().parents[1].name)
    writer.add_file_type(package.LlamaFileType[{"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")])
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key, value in architecture.keys(loaded.config.model).items():
        add[type(value)](f"{architecture.name}.{key}", value)
    writer.add_vocab_size(loaded.model.vocab_size)
    vocabulary = tokenizer.vocabulary
    names = {i: name for name, i in (vocabulary.special | vocabulary.added).items()}
    kinds = dict.fromkeys(vocabulary.special.values(), gguf.SPECIAL)
    kinds |= dict.fromkeys(vocabulary.added.values(), gguf.USER)
    kinds |= {i: gguf.UNUSED for i, token in enumerate(vocabulary.tokens) if token is None and i not in names}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list([names.get(i) or token or f"[unused{i}]" for i, token in enumerate(vocabulary.tokens)])
    writer.add_token_types([kinds.get(i, gguf.NORMAL) for i in range(tokenizer.vocab_size)])
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(False)
    if (template := loaded.path / TEMPLATE).exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    if tokenizer.eos is not None:
        writer.add_eos_token_id(tokenizer.eos)


def _write(writer: Any, model: Transformer, architecture: Architecture, kind: str) -> None:
    """The file, one tensor after the other: quantised, they are never in memory together."""
    import gguf as package

    chosen = {}
    for name, tensor in tensors(model, architecture):
        exact = kind == "F32" or tensor.ndim == 1
        # Blocks of q8_0 are of 32 values
        other = "F16" if kind == "Q8_0" and tensor.shape[-1] % 32 else kind
        chosen[name] = package.GGMLQuantizationType["F32" if exact else other]
        block, size = package.GGML_QUANT_SIZES[chosen[name]]
        writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), tensor.numel() // block * size, chosen[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    for name, tensor in tensors(model, architecture):
        content = package.quantize(np.ascontiguousarray(tensor.detach().float().cpu().numpy()), chosen[name])
        # Not by the writer, whose way past Python's files loses what an operating system says of a full disk
        file.write(content.data)
        writer.write_padding(file, content.nbytes)
    file.flush()
    os.fsync(file.fileno())


def _check(model: Transformer, path: Path, tolerance: float) -> None:
    """Raises CheckpointError unless the file gives the weights again, as exactly as its number format can."""
    again = gguf.read(path).model().state_dict()
    for name, tensor in model.state_dict().items():
        most = tolerance * float(tensor.abs().max())
        if name not in again or not float((again[name] - tensor.float()).abs().max()) <= most:
            raise CheckpointError(f"{name} comes back as another tensor", where=str(path))
