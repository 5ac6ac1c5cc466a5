"""gptforge tokenizer report: how a tokenizer cuts a text, on stdout."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from gptforge.config import CleanConfig, DataConfig, TokenizerReportConfig, TrainConfig
from gptforge.config.saved import load_config
from gptforge.data.files import Source, find
from gptforge.data.prepare import prepare
from gptforge.data.read import Reader
from gptforge.errors import DataError
from gptforge.logs.screen import Screen
from gptforge.logs.tokens import show
from gptforge.notices import say, slow_work
from gptforge.runs import Call, candidates
from gptforge.tokenizers import load_tokenizer, report

CUT = 200  # tokens of the validation part that are shown
SOURCES = 100  # files of a text that are looked into, spread evenly over it


def run(cfg: TokenizerReportConfig, call: Call) -> int:
    """Reports on the tokenizer of cfg.ckpt, or on the one that training would use."""
    tokenizer, data, clean = of_checkpoint(cfg, "data" in call.choices or cfg.data != DataConfig())
    dataset = prepare(data, cfg.tokenizer, tokenizer, slow_work("json" if cfg.json else "auto"), clean)
    ids = dataset.val[:CUT] if cfg.text is None else dataset.tokenizer.encode(cfg.text)
    splits = {"train": dataset.train, "validation": dataset.val}
    found = report.describe(dataset.tokenizer, splits, sources(data), cfg.top)
    found |= {"text": dataset.manifest["label"], "notes": dataset.notes, "cut": report.cut(dataset.tokenizer, ids)}
    found["gpt2"] = report.beside_gpt2(dataset.tokenizer, dataset.val) if cfg.gpt2 else None
    print(json.dumps(found, indent=2)) if cfg.json else show(found, Screen(sys.stdout))
    return 0


def of_checkpoint(cfg: TokenizerReportConfig, data_is_chosen: bool) -> tuple[Any, DataConfig, CleanConfig]:
    """The tokenizer of cfg.ckpt, if there is one, and the text: that which was chosen, else the checkpoint's."""
    if not cfg.ckpt:
        return None, cfg.data, cfg.clean
    paths = candidates(cfg.ckpt)  # a run that is not there is said before torch is imported
    from gptforge.checkpoint import first_sound

    path, warnings = first_sound(paths)
    for warning in warnings:
        say(f"gptforge: warning: {warning}")
    text = cfg if data_is_chosen else load_config(TrainConfig, path / "config.json")
    return load_tokenizer(path, cfg.tokenizer.unknown), text.data, text.clean


def sources(data: DataConfig) -> Iterator[tuple[str, str]]:
    """The files of a text by name, or so many of them, and what each begins with: 4 MB."""
    source = find(data)
    files = list(zip(source.files, source.names, strict=True)) if len(source.files) > 1 else []
    for file, name in files[:: -(-len(files) // SOURCES) or 1]:
        with contextlib.suppress(DataError):  # an empty one
            yield name, next(Reader(Source((file,), name), data).pieces()).text
