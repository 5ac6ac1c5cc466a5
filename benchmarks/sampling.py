"""Tokens per second of writing: against a loop without cache, against transformers, and against the memory's limit.

    python benchmarks/sampling.py [--quick] [--rounds N] [--out FILE]

Every text begins with one token. The loop without cache is plain.py's, at temperature 0.8 as on our side. The peer
is transformers' generate with its cache, greedy on both sides, with the very weights of ours: the two models' logits
are compared first. One text needs every weight once for each token, so bytes of weights over the measured reading
speed of the memory is the least time that a token can take.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from measure import Options, Row, alternate, finish, median, options, ratios, row, say
from shapes import BABY, GPT2, Shape, of
from workers import Worker, need_peer

TOKENS = 256  # of each text at the small shape: from one token, the context is full at the end
GPT2_TOKENS = 64
DTYPES = ("float32", "bfloat16")
TARGETS = {"cache": 15.0, "peer": 2.5, "memory": 0.6}


def gptforge(
    shape: Shape, dtype: str, batch: int = 1, temperature: float = 0.0, int8: bool = False, compile: bool | None = None
) -> Worker:
    arguments = {"dtype": dtype, "batch": batch, "temperature": temperature, "int8": int8, "compile": compile}
    return Worker("ours", "sampling", words=shape.words, vocab_size=shape.vocab_size, **arguments)


def speeds(workers: dict[str, Worker], tokens: int, batch: int, rounds: int) -> dict[str, list[float]]:
    """Tokens per second of each side, after one run that is not counted."""
    for worker in workers.values():
        worker.seconds(tokens)
    return alternate({name: lambda w=w: batch * tokens / w.seconds(tokens) for name, w in workers.items()}, rounds)


def against_no_cache(shape: Shape, tokens: int, found: Options) -> list[Row]:
    """One text, sampled; in float32 on both sides, and ours in other formats and without C code as well."""
    say("without a cache: starting")
    sides: dict[str, dict[str, Any]] = {dtype: {"dtype": dtype} for dtype in DTYPES}
    sides["int8"] = {"dtype": "float32", "int8": True}
    sides["float32 by torch's calls"] = {"dtype": "float32", "compile": False}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(gptforge(shape, temperature=0.8, **how)) for name, how in sides.items()}
        workers["no cache"] = stack.enter_context(Worker("plain", "sampling", temperature=0.8, **shape.sizes))
        measured = speeds(workers, tokens, 1, found.rounds)
    rows = []
    for dtype in sides:
        detail = f"{median(measured[dtype]):,.0f} against {median(measured['no cache']):,.0f} tokens/s"
        target = TARGETS["cache"] if dtype == "float32" else None
        values = ratios(measured[dtype], measured["no cache"])
        rows.append(row(f"gptforge {dtype} / loop without cache, 10.7 M, one text", "x", values, target, detail))
    return rows


def against_peer(shape: Shape, tokens: int, found: Options) -> tuple[list[Row], list[str]]:
    """The same weights in transformers, one text and 16 at once."""
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "weights.safetensors"))
        say("transformers: comparing the logits")
        with Worker("hf", "matched", words=shape.words, path=path, **shape.sizes) as same:
            apart, equal = same.facts["logits_apart"], same.facts["greedy_equal"]
        notes.append(f"float32 logits of both models: {apart:.1g} standard deviations apart at most")
        notes.append(f"their greedy tokens: {equal:.0%} equal")
        for dtype in DTYPES:
            for batch in (1, 16):
                with (
                    gptforge(shape, dtype, batch) as ours,
                    Worker("hf", "sampling", path=path, batch=batch, dtype=dtype, **shape.sizes) as peer,
                ):
                    measured = speeds({"gptforge": ours, "transformers": peer}, tokens, batch, found.rounds)
                    notes += [*ours.spun(), *peer.spun()]
                mine, its = measured["gptforge"], measured["transformers"]
                detail = f"{median(mine):,.0f} against {median(its):,.0f} tokens/s"
                target = TARGETS["peer"] if dtype == "float32" else None
                texts = "one text" if batch == 1 else f"{batch} texts"
                label = f"gptforge / transformers generate, {dtype}, 10.7 M, {texts}"
                rows.append(row(label, "x", ratios(mine, its), target, detail))
    return rows, notes


def against_memory(shape: Shape, tokens: int, found: Options) -> list[Row]:
    """Greedy decoding of one text by GPT-2 124 M, as a share of what reading its weights allows."""
    say("GPT-2 124 M: starting")
    rows = []
    with Worker("limits", "bandwidth", size=2**26 if found.quick else 2**30) as memory:
        memory.seconds()
        for dtype in DTYPES:
            with gptforge(shape, dtype) as worker:
                worker.seconds(tokens)
                tasks = {
                    "tokens/s": lambda w=worker: tokens / w.seconds(tokens),
                    "bytes/s": lambda: 3 * memory.facts["bytes"] / memory.seconds(3),
                }
                measured = alternate(tasks, found.rounds)
                read = worker.facts["bytes_a_token"]
            speed, limit = median(measured["tokens/s"]), median(measured["bytes/s"])
            detail = f"{speed:,.1f} of {limit / read:,.0f} tokens/s; the memory reads {limit / 1e9:.1f} GB/s"
            values = [read * share for share in ratios(measured["tokens/s"], measured["bytes/s"])]
            label = f"share of the memory's limit, {dtype}, GPT-2 124 M, one text"
            rows.append(row(label, "%", values, TARGETS["memory"], detail))
    return rows


def main() -> None:
    found = options("sampling", __doc__ or "")
    need_peer()
    small, large = of(BABY, found.quick), of(GPT2, found.quick)
    tokens = min(TOKENS, small.block_size)
    rows = against_no_cache(small, tokens, found)
    more, notes = against_peer(small, tokens, found)
    rows += more + against_memory(large, min(GPT2_TOKENS, large.block_size), found)
    finish("sampling", "Writing text", rows, notes, found)


if __name__ == "__main__":
    main()
