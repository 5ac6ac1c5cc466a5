"""Tokens per second of a training step, against a plain loop and against transformers.

    python benchmarks/training_step.py [--quick] [--rounds N] [--out FILE]

One shape: 6 layers, 6 heads, width 384, context 256, 16 sequences a step, 65 tokens. gptforge trains GPT-2's
architecture here (learned positions, LayerNorm with bias, GELU, tied embeddings); its own Trainer takes the steps, in
the number format that it chooses on this machine, with AdamW, eager and compiled. One row more is the preset
model=medium with its own optimizer. The
plain loop is plain.py, the peer hf.py. With dropout 0.2 the plain loop drops attention weights too, as nanoGPT
does; gptforge drops embeddings and residuals only, unless it is told otherwise, which keeps the fused kernel.
"""

import contextlib
from collections.abc import Mapping

from measure import Options, Row, alternate, finish, median, options, ratios, row, say
from shapes import BABY, SAME_OPTIMIZER, Shape, of
from workers import NO_COMPILER, Worker, can_compile, need_peer

STEPS = 2  # of each side in a round
WARM_UP = 2  # before the first round: allocation, and compilation
OURS = ("gptforge eager", "gptforge compiled")
PLAIN, FP32, BF16 = "plain loop", "transformers fp32", "transformers bf16"


def gptforge(shape: Shape, dropout: float, compiled: bool) -> Worker:
    words = [*shape.words, f"model.dropout={dropout}", *shape.batch_words, SAME_OPTIMIZER]
    words.append(f"runtime.compile={str(compiled).lower()}")
    return Worker("ours", "training", words=words, vocab_size=shape.vocab_size)


def sides(shape: Shape, dropout: float, quick: bool) -> dict[str, Worker]:
    """Every side at one dropout, ready: started one after the other, for starting uses the cores."""
    found = {OURS[0]: gptforge(shape, dropout, compiled=False)}
    if can_compile() and not quick:
        found[OURS[1]] = gptforge(shape, dropout, compiled=True)
    found[PLAIN] = Worker("plain", "training", batch_size=shape.batch_size, dropout=dropout, **shape.sizes)
    if dropout:
        preset = ["model=medium", "model.dropout=0.2", *shape.batch_words, "runtime.compile=false"]
        small = [word for word in shape.words if word.startswith("model.n_") or "block_size" in word] if quick else []
        found["gptforge model=medium"] = Worker("ours", "training", words=preset + small, vocab_size=shape.vocab_size)
    else:
        for name, bf16 in ((FP32, False), (BF16, True)):
            found[name] = Worker("hf", "training", batch_size=shape.batch_size, bf16=bf16, **shape.sizes)
    return found


def speeds(shape: Shape, dropout: float, found: Options) -> tuple[dict[str, list[float]], list[str]]:
    """Tokens per second of every side in every round; and notes."""
    say(f"dropout {dropout}: starting every side")
    with contextlib.ExitStack() as stack:
        workers = sides(shape, dropout, found.quick)
        for worker in workers.values():
            stack.callback(worker.close)
            worker.seconds(WARM_UP)
        tasks = {name: lambda w=w: STEPS * w.tokens / w.seconds(STEPS) for name, w in workers.items()}
        measured = alternate(tasks, found.rounds)
        dtypes = {str(w.facts["dtype"]) for w in workers.values() if "dtype" in w.facts}
        notes = [note for worker in workers.values() for note in worker.spun()]
    return measured, [*notes, f"gptforge computed in {', '.join(sorted(dtypes))} at dropout {dropout}"]


def compared(
    measured: Mapping[str, list[float]], against: str, targets: tuple[float, float | None], what: str
) -> list[Row]:
    """The rows of gptforge against one baseline; the targets are for compiled and eager."""
    rows = []
    for name, target in zip(reversed(OURS), targets, strict=True):
        if name in measured:
            detail = f"{median(measured[name]):,.0f} against {median(measured[against]):,.0f} tokens/s"
            values = ratios(measured[name], measured[against])
            rows.append(row(f"{name} / {against}, {what}", "x", values, target, detail))
    return rows


def main() -> None:
    found = options("training_step", __doc__ or "")
    need_peer()
    shape = of(BABY, found.quick)
    dropped, notes = speeds(shape, 0.2, found)
    undropped, more = speeds(shape, 0.0, found)
    rows = compared(dropped, PLAIN, (3.0, None), "dropout 0.2")
    rows += compared(undropped, PLAIN, (1.8, None), "dropout 0")
    rows += compared(undropped, FP32, (1.9, None), "dropout 0")
    rows += compared(undropped, BF16, (1.15, None), "dropout 0")
    preset = dropped["gptforge model=medium"]
    detail = f"{median(preset):,.0f} against {median(dropped[PLAIN]):,.0f} tokens/s"
    rows.append(
        row("gptforge model=medium, eager / plain loop, dropout 0.2", "x", ratios(preset, dropped[PLAIN]), None, detail)
    )
    notes += more + ([] if can_compile() else [NO_COMPILER])
    finish("training_step", "A training step: 6 layers, width 384, context 256, batch 16", rows, notes, found)


if __name__ == "__main__":
    main()
