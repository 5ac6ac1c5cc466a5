"""gptforge sample: text from a trained model on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from gptforge import runtime
from gptforge.checkpoint import Loaded, load_model
from gptforge.config import SampleConfig
from gptforge.errors import DataError
from gptforge.runs import Call
from gptforge.sampling import generate_text, unescaped


def run(cfg: SampleConfig, call: Call) -> int:
    """Writes cfg.sample.num_samples texts for each prompt."""
    sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="replace")  # type: ignore[union-attr]
    chosen = runtime.choose(cfg.runtime, runtime.probe())
    runtime.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    if cfg.runtime.dtype == "bfloat16":  # float32 unless asked for: a text should not depend on the machine
        loaded.model.to(torch.bfloat16)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    for prompt in prompts(cfg):
        write(cfg, loaded, prompt)
    return 0


def prompts(cfg: SampleConfig) -> Iterator[str]:
    """The prompts in order: one from the command line or stdin, or one a line of a file."""
    if cfg.prompt_file is None:
        yield unescaped(cfg.prompt) if cfg.prompt is not None else "\n"
    elif cfg.prompt_file == "-":
        yield sys.stdin.read()
    else:
        try:
            lines = Path(cfg.prompt_file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(f"the prompts cannot be read: {e}", where=cfg.prompt_file) from None
        if not lines:
            raise DataError("the file of prompts is empty", where=cfg.prompt_file, fix="one prompt a line")
        yield from lines


def write(cfg: SampleConfig, loaded: Loaded, prompt: str) -> None:
    """Writes the texts that continue one prompt: as they grow, or whole and parted by ---, or as JSON lines."""
    block_size = loaded.model.cfg.block_size
    if len(loaded.tokenizer.encode(prompt)) > block_size:
        say(f"the prompt is longer than the context: the model sees its last {block_size} tokens")
    growing = generate_text(loaded.model, loaded.tokenizer, prompt, cfg.sample, cfg.seed)
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
            entry = {"prompt": prompt, "text": text, "sample": i, "seed": cfg.seed, "step": loaded.step}
            out(json.dumps(entry | {"checkpoint": str(loaded.path)}, ensure_ascii=False) + "\n")
        else:
            out(text + ("\n---\n" if i + 1 < n else "\n"))


def out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    print(f"gptforge: {text}", file=sys.stderr, flush=True)
