"""A model under gptforge's own names: model.safetensors, config.json and tokenizer.json, which any program can read.

There is no model that this cannot express; `gptforge import` of the directory gives it back. Knows files, no family.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gptforge.checkpoint import Loaded
from gptforge.config import SCHEMA_VERSION, TrainConfig
from gptforge.config.saved import load_config
from gptforge.config.schema import to_dict
from gptforge.durable import write
from gptforge.errors import CheckpointError
from gptforge.interop.directory import CONFIG, TEMPLATE, WEIGHTS
from gptforge.interop.place import placed, refuse_existing
from gptforge.interop.precision import DTYPES, check_range
from gptforge.jsonfile import write_json
from gptforge.model import Transformer
from gptforge.tensors import read_tensors, write_tensors
from gptforge.tokenizers import FILE_NAME, Tokenizer, load_tokenizer

MODEL_TYPE = "gptforge"


def to_directory(loaded: Loaded, dtype: str, out: Path) -> None:
    """Writes the directory, reads it back, and gives it its name if everything in it is the same.

    Raises UsageError for a directory that is there and for values that the number format cannot tell, ResourceError,
    CheckpointError if what was written is another model.
    """
    refuse_existing(out, folder=True)
    check_range(loaded.model, dtype)
    tensors = {name: tensor.to(DTYPES[dtype]) for name, tensor in loaded.model.state_dict().items()}
    told = {"model_type": MODEL_TYPE, "torch_dtype": dtype, "vocab_size": loaded.model.vocab_size}
    saved = {"schema_version": SCHEMA_VERSION, "choices": {}, "config": {"model": to_dict(loaded.config.model)}}
    with placed(out, folder=True) as path:
        write_tensors(path / WEIGHTS, tensors, {"format": "pt"})
        write_json(path / CONFIG, told | saved)
        write_json(path / FILE_NAME, loaded.tokenizer.stored())
        if (template := loaded.path / TEMPLATE).exists():
            write(path / TEMPLATE, template.read_bytes())
        model, tokenizer = load(path)
        same = all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
        if not same or tokenizer.fingerprint != loaded.tokenizer.fingerprint or model.cfg != loaded.config.model:
            raise CheckpointError("what was written is another model than the one in memory", where=str(path))


def is_one(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of such a directory."""
    return config.get("model_type") == MODEL_TYPE


def load(path: Path) -> tuple[Transformer, Tokenizer]:
    """The model of a directory, in the number format of its file, and its tokenizer. Raises CheckpointError."""
    cfg, tokenizer = load_config(TrainConfig, path / CONFIG).model, load_tokenizer(path)
    tensors = read_tensors(path / WEIGHTS)
    if len(tensors) < cfg.n_layer:  # before so many layers are made
        what = f"{len(tensors)} tensors are too few for the {cfg.n_layer} layers of its config"
        raise CheckpointError(what, where=str(path / WEIGHTS))
    with torch.device("meta"):
        model = Transformer(cfg, tokenizer.vocab_size)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        what = f"{name} is {found.get(name, 'missing')}, the model of its config has {wanted.get(name, 'none')}"
        raise CheckpointError(what, where=str(path / WEIGHTS))
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{broken[0]} has values that are no numbers", where=str(path / WEIGHTS))
    model.load_state_dict(tensors, assign=True)
    return model.eval(), tokenizer
