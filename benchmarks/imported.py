"""Writing with a pretrained model, SmolLM2-135M: against transformers' generate and against llama.cpp.

    python benchmarks/imported.py [--quick] [--rounds N] [--llama PYTHON] [--out FILE]

All sides have the very weights that `gptforge import smollm2` gives, exported as a directory for transformers and as
GGUF files for llama.cpp, and continue one prompt greedily. transformers has its cache and two threads, as we have.
llama.cpp is measured where `--llama` names a Python that has the package llama-cpp-python.
"""

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

import torch

from gptforge.checkpoint import load_model
from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.interop import as_run, directory, gguf_export, sources, tokenizer_json
from gptforge.interop.export import to_directory
from gptforge.interop.families import FAMILIES
from gptforge.jsonfile import write_json
from gptforge.model import Transformer
from gptforge.runs import Call
from gptforge.tokenizers.byte import ByteTokenizer
from measure import Row, alternate, finish, median, options, ratios, row, say
from workers import Worker, need_peer

PROMPT = "The capital of France is"
TOKENS = 128
TARGET = 2.0  # times the tokens per second of transformers, in bfloat16
OURS = {"float32": {}, "bfloat16": {"dtype": "bfloat16"}, "int8": {"int8": True}}
LLAMAS = {"float32": "float32", "bfloat16": "bfloat16", "int8": "q8_0"}  # our format -> that of the GGUF file
SMALL = {
    "n_layer": 2, "n_embd": 64, "block_size": 256, "attention": {"n_kv_head": 2}, "norm": {"kind": "rmsnorm"},
    "mlp": {"kind": "swiglu"}, "bias": False,
}  # fmt: skip


def stand_in() -> str:
    """A small directory of transformers, for --quick."""
    model = Transformer(build(ModelConfig, SMALL), 256)
    model.init_weights(torch.Generator().manual_seed(0))
    Path("small").mkdir()
    directory.save(model, FAMILIES["llama"], Path("small"))
    write_json(Path("small", "tokenizer.json"), tokenizer_json.of(ByteTokenizer()))
    return "small"


def speeds(sides: dict[str, Worker], rounds: int) -> dict[str, list[float]]:
    """Tokens per second of each side, after one run that is not counted."""
    for worker in sides.values():
        worker.seconds(TOKENS)
    return alternate({name: lambda w=w: TOKENS / w.seconds(TOKENS) for name, w in sides.items()}, rounds)


def compared(ckpt: str, prompt: list[int], llama: str | None, rounds: int) -> tuple[list[Row], list[str]]:
    """One format after the other: ours, transformers where it has the format, llama.cpp if it is there."""
    rows, notes = [], []
    for name, how in OURS.items():
        say(f"{name}: starting")
        with contextlib.ExitStack() as stack:
            sides = {"gptforge": stack.enter_context(Worker("ours", "continuing", ckpt=ckpt, prompt=prompt, **how))}
            if name != "int8":
                peer = Worker("hf", "continuing", path="hf", prompt=prompt, dtype=name)
                sides["transformers generate"] = stack.enter_context(peer)
            if llama:
                peer = Worker("llama", "continuing", llama, path=f"{name}.gguf", prompt=prompt)
                sides["llama.cpp"] = stack.enter_context(peer)
            measured = speeds(sides, rounds)
            if name == "float32":
                texts = {side: worker.facts["tokens"] for side, worker in sides.items()}
                notes += [f"float32: {side} writes {agreement(texts['gptforge'], t)}" for side, t in texts.items()][1:]
            notes += [note for worker in sides.values() for note in worker.spun()]
        for side in list(sides)[1:]:
            detail = f"{median(measured['gptforge']):,.1f} against {median(measured[side]):,.1f} tokens/s"
            target = TARGET if (name, side) == ("bfloat16", "transformers generate") else None
            form = "q8_0" if (name, side) == ("int8", "llama.cpp") else name
            label = f"gptforge / {side}, {name if form == name else f'int8 and {form}'}, SmolLM2-135M, one text"
            rows.append(row(label, "x", ratios(measured["gptforge"], measured[side]), target, detail))
    return rows, notes


def agreement(ours: list[int], theirs: list[int]) -> str:
    same = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
    return (
        f"the same {len(ours)} tokens" if same == len(ours) else f"the same {same} of {len(ours)} tokens, then others"
    )


def main() -> None:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--llama", metavar="PYTHON", help="a Python that has llama-cpp-python")

    found = options("imported", __doc__ or "", add)
    need_peer()
    llama = os.path.abspath(found.extra.llama) if found.extra.llama and not found.quick else None
    out = found.out.absolute() if found.out else None
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run, _ = as_run.write(sources.load(stand_in() if found.quick else "smollm2"), Call())
        loaded = load_model(str(run.path))
        to_directory(loaded, "float32", {}, Path("hf"))
        if llama:
            for name, dtype in LLAMAS.items():
                gguf_export.to_file(loaded, dtype, Path(f"{name}.gguf"))
        prompt = [int(i) for i in loaded.tokenizer.encode(PROMPT)]
        ckpt = str(run.path.absolute())
        del loaded
        rows, notes = compared(ckpt, prompt, llama, found.rounds)
    if not llama:
        notes.append("llama.cpp was not measured: --llama names a Python that has it")
    found.out = out
    finish("imported", "Writing with a pretrained model", rows, notes, found)


if __name__ == "__main__":
    main()
