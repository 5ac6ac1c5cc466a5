"""Where a model of another program comes from: a name, a directory or a file; and what comes with it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptforge import assets
from gptforge.config.schema import nearest
from gptforge.errors import CheckpointError, DataError, UsageError
from gptforge.interop import directory, gguf, hub, llama2c, nanogpt, plain
from gptforge.interop.directory import TEMPLATE
from gptforge.jsonfile import read_json
from gptforge.model import Transformer
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.bpe import BPETokenizer, gpt2
from gptforge.tokenizers.hf import of_stored, read_hf

NAMES: Mapping[str, Callable[[], Path]] = {"smollm2": assets.smollm2}
PICKLES = (".pt", ".pth", ".pkl")
OTHERWISE = (
    "tokenizer_path=PATH of a byte-level BPE with the same ids, if there is one",
    "in Python, the weights alone: gptforge.interop.directory.load(PATH)",
)
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it was found, with its tokenizer and, if it is one to talk with, the template of its conversations.

    `name` is what it is called, `path` where it was; `notes` say what was decided as it was read.
    """

    name: str
    path: Path
    model: Transformer
    tokenizer: Tokenizer
    chat_template: str | None
    notes: tuple[str, ...] = ()


def load(source: str, tokenizer: str | None = None, trust: bool = False) -> Source:
    """The model that a word stands for, with another tokenizer if one is given; `trust`: pickles may be opened.

    Raises CheckpointError for what is no model or damaged, ConfigError for one that gptforge cannot be, DataError
    for a tokenizer that is not there or does not fit.
    """
    if not source:
        raise UsageError("which model?", fix=[f"gptforge import {name}" for name in (*NAMES, "PATH")])
    path = path_of(source)
    model, found, template, notes = _found(source, path, trust, own_tokenizer=tokenizer is None)
    if tokenizer is None and found is None and not (path / TOKENIZER).exists():
        fixes = [
            "tokenizer_path=PATH/tokenizer.json",
            "tokenizer_path=gpt2",
            "tokenizer_path=PATH/meta.pkl (nanoGPT's characters)",
        ]
        raise DataError("the model comes without a tokenizer that gptforge knows", fix=fixes)
    # A folder may have any name, also that of a tokenizer
    coder = _tokenizer(tokenizer, trust) if tokenizer is not None else found or _in_file(path)
    name = source.rpartition("/")[2] if hub.is_name(source) else path.stem
    coder = _fitting(coder, model.vocab_size)
    return Source(name, path, model, coder, template, (*notes, *coder.notes))


def path_of(source: str) -> Path:
    """Where the files of a model are; one that is known by its name is fetched, if it is not there yet."""
    if source in NAMES:
        return NAMES[source]()
    return hub.fetch(source) if hub.is_name(source) else Path(source).expanduser()


def _found(
    source: str, path: Path, trust: bool, own_tokenizer: bool
) -> tuple[Transformer, Tokenizer | None, str | None, list[str]]:
    """The model, and what else is in one with it: a tokenizer that is not in a tokenizer.json, if it is wanted, a
    template, notes."""
    if path.suffix == ".gguf":
        file = gguf.read(path)
        return file.model(), _in_gguf(file) if own_tokenizer else None, file.chat_template, []
    if path.suffix in PICKLES:
        checkpoint = nanogpt.read(path, trust)
        return directory.assembled(checkpoint.config, checkpoint), None, None, []
    if path.suffix == ".bin" and path.is_file():
        numbers = llama2c.read(path)
        return directory.assembled(numbers.config, numbers), None, None, []
    if not (path / directory.CONFIG).exists():
        raise _no_model(source, path)
    if plain.is_one(read_json(path / directory.CONFIG, "the config")):
        return *plain.load(path), _template(path), []
    return directory.load(path), None, _template(path), directory.left_out(path)


def _in_gguf(file: gguf.GGUF) -> Tokenizer | None:
    try:
        return of_stored(file.tokenizer) if file.tokenizer else None
    except ValueError as e:
        what = f"the tokenizer in it cannot be used: {e}"
        raise DataError(what, where=str(file.path), fix="tokenizer_path=PATH") from None


def _fitting(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """The tokenizer with as many ids as the model has. Raises DataError for one that cannot be the model's."""
    what = f"the tokenizer has {tokenizer.vocab_size:,} tokens, the model {vocab_size:,}"
    fix = "tokenizer_path=PATH of the one that the model was trained with"
    if tokenizer.vocab_size == vocab_size:
        return tokenizer
    if tokenizer.vocab_size > vocab_size or not isinstance(tokenizer, BPETokenizer):
        raise DataError(what, fix=fix)
    try:
        return tokenizer.padded(vocab_size)
    except ValueError as e:
        raise DataError(f"{what}: {e}", fix=fix) from None


def _tokenizer(named: str, trust: bool) -> Tokenizer:
    """GPT-2's, the characters of nanoGPT's meta.pkl, or a tokenizer.json."""
    if named == "gpt2":
        return gpt2()
    if Path(named).suffix in PICKLES:
        return nanogpt.characters(Path(named), trust)
    return _in_file(Path(named))


def _in_file(path: Path) -> Tokenizer:
    """That of a tokenizer.json, or of the folder that has one."""
    try:
        return read_hf(path)
    except DataError as e:
        raise DataError(e.what, where=e.where, fix=OTHERWISE) from None


def _template(path: Path) -> str | None:
    """That of a directory: in a file of its own, or in tokenizer_config.json."""
    try:
        if (path / TEMPLATE).exists():
            return (path / TEMPLATE).read_text(encoding="utf-8")
        held: Any = json.loads((path / TOKENIZER_CONFIG).read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return held if isinstance(held, str) else None


def _no_model(source: str, path: Path) -> CheckpointError:
    near = nearest(source, list(NAMES), 1)
    what = f"{path} is no .gguf file, nor a folder with a config.json" if path.exists() else f"there is no {path}"
    return CheckpointError(
        what, fix=f"gptforge import {near[0] if near else 'PATH, OWNER/NAME of the hub, or smollm2'}"
    )
