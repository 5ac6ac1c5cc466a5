"""Directories as Hugging Face's transformers has them: config.json, and safetensors in one file or several.

Knows files and what may be wrong with them; which tensor is which, families.py knows. Never runs code from there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gptforge.errors import CheckpointError, ConfigError
from gptforge.interop.families import Family, links_of, model_config, of
from gptforge.interop.tensors import Link, Links
from gptforge.jsonfile import read_json, write_json
from gptforge.model import Transformer
from gptforge.tensors import announced, write_tensors

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"  # of conversations
MOST_TOKENS = 10_000_000  # the largest vocabularies in use have a quarter of a million
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True, slots=True)
class Shards:
    """The tensors of a directory by name, each read when it is asked for."""

    path: Path
    files: Mapping[str, str]  # the file of each tensor

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError for a file that is missing or damaged, and for values that are no numbers."""
        file = self.path / self.files[name]
        try:
            with safe_open(file, "pt") as opened:
                tensor = opened.get_tensor(name)
        except FileNotFoundError:
            raise CheckpointError(f"{file.name} is missing, which has {name}", where=str(file)) from None
        except (SafetensorError, OSError) as e:
            raise CheckpointError(f"{name} cannot be read: {e}", where=str(file)) from None
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that are no numbers", where=str(file))
        return tensor


class Found(Protocol):
    """Tensors by name, out of one source or another. `files` has the names, `path` is where they are."""

    @property
    def path(self) -> Path: ...

    @property
    def files(self) -> Mapping[str, str]: ...

    def __getitem__(self, name: str) -> Tensor: ...


def load(path: Path) -> Transformer:
    """The model of a directory, in the number format of its files. Raises ConfigError for what gptforge cannot be,
    CheckpointError for what is missing or does not fit."""
    config = read_json(path / CONFIG, "the config")
    if config.get("auto_map"):  # whatever model_type says: the code may compute something else
        what = "this model is code (auto_map), which gptforge does not run"
        raise CheckpointError(what, where=str(path / CONFIG), fix="without auto_map, if its model_type says all of it")
    return assembled(config, shards(path))


def left_out(path: Path) -> list[str]:
    """Of a directory that has been loaded, what to say of tensors that have no part in what the model computes."""
    begins = of(read_json(path / CONFIG, "the config")).left_out
    found = sorted({begin.rstrip(".") for begin in begins for name in shards(path).files if name.startswith(begin)})
    return [f"left out, for other objectives use it: {', '.join(found)}"] if found else []


def assembled(config: Mapping[str, Any], found: Found, links: Links | None = None) -> Transformer:
    """A model out of a config.json and tensors, by their names in transformers unless `links` has others.

    Raises ConfigError, CheckpointError.
    """
    size = config.get("vocab_size")
    if type(size) is not int or not 0 < size <= MOST_TOKENS:
        raise ConfigError(f"vocab_size={size} is no number of tokens", where=CONFIG)
    with torch.device("meta"):
        model = Transformer(model_config(config), size)
    linked = links_of(of(config), model.cfg) if links is None else links(model.cfg)
    model.load_state_dict(dict(_joined(model, linked, found)), assign=True)
    return model.eval()


def shards(path: Path) -> Shards:
    """Where each tensor of a directory is. Raises CheckpointError where there is none."""
    if (path / INDEX).exists():
        held = read_json(path / INDEX, "the index of the weights").get("weight_map")
        if not isinstance(held, dict) or not all(_plain(name) for name in held.values()):
            raise CheckpointError("the index of the weights names no files", where=str(path / INDEX))
        return Shards(path, {str(name): str(file) for name, file in held.items()})
    if (path / WEIGHTS).exists():
        return Shards(path, dict.fromkeys(announced(path / WEIGHTS), WEIGHTS))
    pickled = next((name for name in PICKLES if (path / name).exists()), None)
    what = f"{pickled} is a pickle, which could run anything" if pickled else f"there is no {WEIGHTS}"
    fix = "save it as safetensors: model.save_pretrained(PATH) in transformers" if pickled else ""
    raise CheckpointError(what, where=str(path), fix=fix)


def save(model: Transformer, family: Family, path: Path) -> None:
    """Writes a model's weights and config into a directory, which must be there. Raises OSError."""
    cfg, own = model.cfg, model.state_dict()
    links = links_of(family, cfg)
    theirs = {n: part for link in links for n, part in zip(link.names, link.parted(own[link.ours]), strict=True)}
    dtype = str(own["tok_emb.weight"].dtype).removeprefix("torch.")  # routers' biases are float32 all the same
    told = {"architectures": [family.architecture], "model_type": family.model_type, "torch_dtype": dtype}
    write_tensors(path / WEIGHTS, theirs, {"format": "pt"})
    write_json(path / CONFIG, told | {"vocab_size": model.vocab_size} | family.theirs(cfg))


def _plain(name: Any) -> bool:
    """Whether this is the name of a file in the directory itself."""
    return isinstance(name, str) and name == Path(name).name and name not in ("", ".", "..")


def _as_there(name: str, files: Mapping[str, str]) -> str:
    """A tensor's name in a file: it may lack the prefix, or be one of the first years' (BERT's), when a norm had gamma
    and beta."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    bare = name.partition(".")[2]
    return next((form for form in (name, old) if form in files), bare)


def _joined(model: Transformer, links: Iterator[Link], found: Found) -> Iterator[tuple[str, Tensor]]:
    """Our tensors by name. Those of a bare model may lack the prefix that the whole one has, as GPT-2's do."""
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for link in links:
        names = [_as_there(name, found.files) for name in link.names]
        if lost := [name for name, own in zip(link.names, names, strict=True) if own not in found.files]:
            raise CheckpointError(f"there is no tensor {lost[0]}", where=str(found.path))
        parts = [found[name] for name in names]
        try:
            own = link.joined(parts)
        except RuntimeError:  # torch's, of shapes that cannot be put together
            shapes = " + ".join(f"{name} {tuple(part.shape)}" for name, part in zip(names, parts, strict=True))
            what = f"{shapes}: no {tuple(wanted[link.ours])} can be made of that"
            raise CheckpointError(what, where=str(found.path)) from None
        if own.shape != wanted[link.ours]:
            shapes = f"{tuple(own.shape)} where {tuple(wanted[link.ours])} is wanted"
            raise CheckpointError(f"{' + '.join(names)} is of shape {shapes}", where=str(found.path))
        yield link.ours, own
