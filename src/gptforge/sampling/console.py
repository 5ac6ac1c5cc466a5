"""Prompts in, texts out: from the command line, a file or stdin, to stdout; knows no model."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptforge.config import SampleConfig
from gptforge.errors import DataError
from gptforge.sampling.engine import unescaped


def prompts(cfg: SampleConfig) -> list[str]:
    """The prompts in order: one from the command line or stdin, or one a line of a file. Raises DataError."""
    if cfg.prompt_file is None:
        return [unescaped(cfg.prompt) if cfg.prompt is not None else "\n"]
    from_stdin = cfg.prompt_file == "-"
    try:
        content = sys.stdin.buffer.read() if from_stdin else Path(cfg.prompt_file).read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"the prompts cannot be read: {e}", where=cfg.prompt_file) from None
    if from_stdin:
        return [text]
    if not text:
        raise DataError("the file of prompts is empty", where=cfg.prompt_file, fix="one prompt a line")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def write(prompt: str, growing: Iterator[list[str]], cfg: SampleConfig, facts: Mapping[str, Any]) -> None:
    """Writes the texts that continue one prompt: as they grow, whole and parted by ---, or as JSON with `facts`."""
    n = cfg.sample.num_samples
    if n == 1 and not cfg.json and cfg.sample.stream is not False:
        out(prompt)
        for (piece,) in growing:
            out(piece)
        return out("\n")
    texts = [prompt] * n
    for pieces in growing:
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    for i, text in enumerate(texts):
        if cfg.json:
            out(json.dumps({"prompt": prompt, "text": text, "sample": i, **facts}, ensure_ascii=False) + "\n")
        else:
            out(text + ("\n---\n" if i + 1 < n else "\n"))


def out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
