"""Small directories of transformers, as somebody would have them to be imported."""

import json
from pathlib import Path

import torch

from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.interop import directory, tokenizer_json
from gptforge.interop.families import FAMILIES
from gptforge.model import Transformer
from gptforge.tokenizers.byte import ByteTokenizer

LLAMA = {"n_layer": 1, "n_embd": 32, "block_size": 32, "norm": {"kind": "rmsnorm"}, "mlp": {"kind": "swiglu"}}


def published(vocab_size: int, name: str = "published") -> Path:
    """A directory of transformers whose tokenizer has the 256 bytes."""
    model = Transformer(build(ModelConfig, LLAMA), vocab_size)
    model.init_weights(torch.Generator().manual_seed(0))
    Path(name).mkdir()
    directory.save(model, FAMILIES["llama"], Path(name))
    Path(name, "tokenizer.json").write_text(json.dumps(tokenizer_json.of(ByteTokenizer())))
    return Path(name)
