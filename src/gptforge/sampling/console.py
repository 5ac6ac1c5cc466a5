"""Prompts in, texts out: from the command line, a file or stdin, to stdout; knows no model."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
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


def batches(prompts: Sequence[str], cfg: SampleConfig, rows: int) -> Iterator[list[str]]:
    """The prompts in groups that make up to `rows` texts; one by one where each is to be shown as it grows."""
    alone = cfg.sample.stream or cfg.sample.lookup or cfg.draft
    size = 1 if alone else max(1, rows // cfg.sample.num_samples)
    for start in range(0, len(prompts), size):
        yield list(prompts[start : start + size])


def write(prompts: Sequence[str], growing: Iterator[list[str]], cfg: SampleConfig, facts: Mapping[str, Any]) -> None:
    """Writes the texts that continue the prompts: one as it grows, else whole and parted by ---, or as JSON."""
    n = cfg.sample.num_samples
    if n * len(prompts) == 1 and not cfg.json and cfg.sample.stream is not False:
        out(prompts[0])
        for (piece,) in growing:
            out(piece)
        return out("\n")
    begun = [prompt for prompt in prompts for _ in range(n)]
    texts = begun
    for pieces in growing:
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    for i, (prompt, text) in enumerate(zip(begun, texts, strict=True)):
        if cfg.json:
            out(json.dumps({"prompt": prompt, "text": text, "sample": i % n, **facts}, ensure_ascii=False) + "\n")
        else:
            out(text + ("\n---\n" if i % n + 1 < n else "\n"))


def out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
