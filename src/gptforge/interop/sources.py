"""Where a model of another program comes from: a name, a directory or a file; and what comes with it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptforge import assets
from gptforge.config.schema import nearest
from gptforge.errors import CheckpointError, DataError, UsageError
from gptforge.interop import directory, gguf, nanogpt
from gptforge.model import Transformer
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.bpe import gpt2
from gptforge.tokenizers.hf import of_stored, read_hf

NAMES: Mapping[str, Callable[[], Path]] = {"smollm2": assets.smollm2}
PICKLES = (".pt", ".pth", ".pkl")
OTHERWISE = (
    "tokenizer_path=PATH of a byte-level BPE with the same ids, if there is one",
    "in Python, the weights alone: gptforge.interop.directory.load(PATH)",
)
TOKENIZER, TEMPLATE, TOKENIZER_CONFIG = "tokenizer.json", "chat_template.jinja", "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it was found, with its tokenizer and, if it is one to talk with, the template of its conversations.
    `notes` say what was decided as it was read."""

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
    path = NAMES[source]() if source in NAMES else Path(source).expanduser()
    notes: list[str] = []
    if path.suffix == ".gguf":
        found = gguf.read(path)
        model, stored, template = directory.assembled(found.config, found), found.tokenizer, found.chat_template
    elif path.suffix in PICKLES:
        checkpoint = nanogpt.read(path, trust)
        model, stored, template = directory.assembled(checkpoint.config, checkpoint), None, None
    elif (path / directory.CONFIG).exists():
        model, stored, template = directory.load(path), None, _template(path)
        notes = directory.left_out(path)
    else:
        raise _no_model(source, path)
    if tokenizer is None and stored is None and not (path / TOKENIZER).exists():
        fixes = [
            "tokenizer_path=PATH/tokenizer.json",
            "tokenizer_path=gpt2",
            "tokenizer_path=PATH/meta.pkl (nanoGPT's characters)",
        ]
        raise DataError("the model comes without a tokenizer that gptforge knows", fix=fixes)
    try:
        coder = of_stored(stored) if tokenizer is None and stored else _tokenizer(tokenizer or str(path), trust)
    except ValueError as e:
        raise DataError(
            f"the tokenizer in it cannot be used: {e}", where=str(path), fix="tokenizer_path=PATH"
        ) from None
    if coder.vocab_size > model.vocab_size:
        what = f"the tokenizer has {coder.vocab_size:,} tokens, the model {model.vocab_size:,}"
        raise DataError(what, fix="tokenizer_path=PATH of the one that the model was trained with")
    return Source(path, model, coder, template, (*notes, *coder.notes))


def _tokenizer(named: str, trust: bool) -> Tokenizer:
    """GPT-2's, the characters of nanoGPT's meta.pkl, or a tokenizer.json."""
    if named == "gpt2":
        return gpt2()
    if Path(named).suffix in PICKLES:
        return nanogpt.characters(Path(named), trust)
    try:
        return read_hf(Path(named))
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
    return CheckpointError(what, fix=f"gptforge import {near[0] if near else 'PATH, or smollm2'}")
