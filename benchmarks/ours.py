"""gptforge's side: the steps of a real Trainer, and the public sampling.

The text is made up and the tokenizer a stand-in that gives random ids, so that any vocabulary can be had without
a download; everything else is what `gptforge train` builds.
"""

import atexit
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptforge import compose, runtime
from gptforge.arguments import Grammar, parse
from gptforge.checkpoint import load_model
from gptforge.config import SCHEMAS, ModelConfig, RuntimeConfig, SamplingConfig, TrainConfig
from gptforge.config.saved import as_saved
from gptforge.data.batch import Batch
from gptforge.data.loader import TrainLoader
from gptforge.data.order import WindowOrder
from gptforge.logs import open_sinks
from gptforge.model import Transformer
from gptforge.model.cost import count_parameters, flops_per_token
from gptforge.runs import Call, Run
from gptforge.sampling import How, choose_step, generate, quantize
from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.base import id_dtype
from gptforge.train.parts import build_parts
from gptforge.train.trainer import Trainer
from gptforge.usage import COMMANDS
from text import write_text
from workers import Subject

TEXT_CHARACTERS = 1_000_000
SHOWN = 64  # tokens that are compared
BYTES = {"float32": 4, "bfloat16": 2}


class RandomIds(Tokenizer):
    """As many ids as a text has characters, evenly drawn from a vocabulary of any size; they stand for nothing."""

    kind = "random"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str) -> np.ndarray:
        drawn = np.random.default_rng(len(text)).integers(0, self.vocab_size, len(text))
        return drawn.astype(id_dtype(self.vocab_size))

    def missing(self, characters: str) -> str:
        return ""

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        return b"?" * len(list(ids))

    def token_bytes(self) -> np.ndarray:
        return np.ones(self.vocab_size, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocab_size": self.vocab_size}


def config(words: Iterable[str]) -> TrainConfig:
    """The config of `gptforge train WORDS`."""
    dirs = [compose.conf_dir()]
    grammar = Grammar("train", SCHEMAS["train"], compose.options("train", dirs), COMMANDS["train"].positionals)
    return compose.compose("train", parse(list(words), grammar), dirs).config


def trainer(words: list[str], vocab_size: int) -> Trainer:
    """The Trainer of `gptforge train WORDS`, ready to take steps, in a folder of its own."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    os.chdir(folder.name)
    os.environ["GPTFORGE_CACHE"] = str(Path(folder.name, "cache"))
    cfg = config([f"data={write_text(Path('text.txt'), TEXT_CHARACTERS)}", "train.steps=1000000", *words])
    parts, dist = build_parts(cfg, RandomIds(vocab_size))
    run = Run.create(as_saved(cfg, {}), "benchmark", Call(directory=Path("run")))
    made = Trainer(cfg, run, dist, parts)
    made.sinks = open_sinks(run.path, "quiet")
    parts.model.train()
    return made


def training(words: list[str], vocab_size: int) -> Subject:
    """A unit is one optimizer step of `gptforge train WORDS`, without what is done between steps."""
    made = trainer(words, vocab_size)

    def steps(n: int) -> None:
        for _ in range(n):
            made.step()

    return Subject(steps, facts(made, vocab_size))


def waiting(words: list[str], vocab_size: int) -> Subject:
    """The same; its figure is the share of the time in which steps wait for their batch."""
    made = trainer(words, vocab_size)
    load, waited = made.parts.loader.batch, [0.0]

    def timed(step: int, rows: slice = slice(None)) -> Batch:
        began = time.perf_counter()
        batch = load(step, rows)
        waited[0] += time.perf_counter() - began
        return batch

    made.parts.loader.batch = timed

    def steps(n: int) -> float:
        waited[0], began = 0.0, time.perf_counter()
        for _ in range(n):
            made.step()
        return waited[0] / (time.perf_counter() - began)

    return Subject(steps, facts(made, vocab_size))


def loading(path: str, block_size: int, batch_size: int) -> Subject:
    """A unit is one batch out of a file of uint16 tokens, mapped as gptforge maps its own."""
    tokens = np.memmap(path, dtype=np.uint16, mode="r")
    loader = TrainLoader(tokens, block_size, batch_size, WindowOrder(len(tokens), block_size, seed=0))
    position = [0]

    def batches(n: int) -> None:
        for step in range(position[0], position[0] + n):
            loader.batch(step)
        position[0] += n

    return Subject(batches, {"tokens": len(tokens)})


def facts(made: Trainer, vocab_size: int) -> dict[str, Any]:
    cfg, chosen = made.cfg, made.decisions.runtime
    return {
        "tokens": cfg.train.batch_size * cfg.model.block_size,
        "parameters": sum(count_parameters(cfg.model, vocab_size).values()),
        "flops_per_token": flops_per_token(cfg.model, vocab_size),
        "dtype": str(chosen.dtype.value),
        "compile": bool(chosen.compile.value),
    }


def built(words: list[str], vocab_size: int, dtype: str = "float32", seed: int = 0) -> Transformer:
    """A model as `gptforge sample` has it before it writes, with weights drawn from a seed."""
    chosen = runtime.choose(RuntimeConfig(dtype=dtype), runtime.probe())
    runtime.apply(chosen, False)
    model = Transformer(model_config(words), vocab_size)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model.to(chosen.torch_device).eval().to(chosen.torch_dtype)


def model_config(words: list[str]) -> ModelConfig:
    return config(["data=pydoc", *words]).model


def sampling(
    words: list[str],
    vocab_size: int,
    dtype: str = "float32",
    batch: int = 1,
    temperature: float = 0.0,
    int8: bool = False,
    compile: bool | None = None,
) -> Subject:
    """A unit is one token of each of `batch` texts that begin with one token."""
    model = built(words, vocab_size, dtype)
    step = choose_step(compile, model, None)
    how = How(quantize(model) if int8 else None, str(step.value))
    read = bytes_read(model.cfg, vocab_size, dtype)
    return Subject(lambda n: written(model, n, batch, temperature, how), {"bytes_a_token": read})


def continuing(ckpt: str, prompt: list[int], dtype: str = "float32", int8: bool = False) -> Subject:
    """A unit is one token that goes on from a prompt, by a checkpoint. `facts` has what is written."""
    chosen = runtime.choose(RuntimeConfig(dtype=dtype), runtime.probe())
    runtime.apply(chosen, False)
    model = load_model(ckpt).model.to(chosen.torch_dtype)
    how = How(quantize(model) if int8 else None, str(choose_step(None, model, None).value))
    cfg = replace(SamplingConfig(), temperature=0.0)

    def write(n: int) -> list[int]:
        return (
            torch.tensor(list(generate(model, [prompt], replace(cfg, max_new_tokens=n), 0, how=how))).flatten().tolist()
        )

    return Subject(write, {"tokens": write(SHOWN)})


def written(
    model: Transformer, n: int, batch: int = 1, temperature: float = 0.0, how: How | None = None
) -> torch.Tensor:
    """n tokens of each of `batch` texts, (batch, n): the only place here that calls gptforge's sampling."""
    cfg = replace(SamplingConfig(), max_new_tokens=n, num_samples=batch, temperature=temperature)
    return torch.tensor(list(generate(model, [[0]], cfg, seed=0, how=how))).T


def bytes_read(cfg: ModelConfig, vocab_size: int, dtype: str) -> int:
    """Bytes of weights that one decoded token needs: all but the rows of tables that it does not look up."""
    parts = count_parameters(cfg, vocab_size)
    looked_up = parts["positions"] + (0 if cfg.tie_embeddings else parts["token_embedding"])
    return (sum(parts.values()) - looked_up) * BYTES[dtype]
