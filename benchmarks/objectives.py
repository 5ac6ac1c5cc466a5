"""What next tokens and hidden tokens teach: one text, model and budget, and what each is good at.

    python benchmarks/objectives.py [--quick] [--rounds SEEDS] [--out FILE]
    python benchmarks/objectives.py --draw       docs/objectives.md and its pictures from the stored result

Trains experiment=compare_objectives with either objective for each seed, on one core, and asks both kinds of model the
same of each of their checkpoints. *The next token*: of a full window the last one is to be said. The decoder does what
it was made for; the encoder sees the prefix with one mask at its end. *A hidden token*: the one in the middle of a
window. The encoder sees both sides. The decoder sees its left side; and, fairer, of the ten tokens that it then holds
for the likeliest it chooses the one with which it finds the whole window likeliest. Windows are those of the validation
text, evenly spread, the same for all.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gptforge.checkpoint import load_model
from gptforge.data.prepare import prepare
from gptforge.model import Transformer
from gptforge.report.overlay import Line, draw_runs
from gptforge.tokenizers.mask import mask_of, without_mask
from measure import RESULTS, ROOT, Row, finish, load, options, row, say
from processes import gptforge, seconds

NAME = Path(__file__).stem
SEEDS, WINDOWS, CANDIDATES, BATCH = 3, 800, 10, 64
KINDS = ("next_token", "mlm")
COMMON = ["experiment=compare_objectives", "ui=quiet", "runtime.threads=1", "runtime.dtype=float32"]
QUICK = [
    *("data=pydoc", "model.n_layer=1", "model.n_embd=32", "model.block_size=32", "train.steps=60"),
    *("eval.every=30", "optimizer.lr=1e-2"),
]
NOTE = "median and extent are over seeds; trained and asked in float32 on one core, whatever the machine would choose"
PAGE, PICTURES = ROOT / "docs" / "objectives.md", ROOT / "docs" / "pictures"
BEGIN, END = "<!-- results: written by benchmarks/objectives.py -->", "<!-- end of results -->"


class Task(NamedTuple):
    """What is asked of whom: `key` in the data, what it is called, and which picture it is drawn in."""

    key: str
    label: str
    picture: str


NEXT, CLOZE = "the next token: loss, nats", "a hidden token: right, %"
TASKS = (
    Task("decoder_next_loss", "the next token: decoder", NEXT),
    Task("encoder_next_loss", "the next token: encoder, a mask after the prefix", NEXT),
    Task("decoder_next_right", "the next token: decoder", ""),
    Task("encoder_next_right", "the next token: encoder, a mask after the prefix", ""),
    Task("decoder_left_right", "a hidden token: decoder, its left side alone", CLOZE),
    Task("decoder_rank_right", f"a hidden token: decoder, whole window with each of {CANDIDATES}", CLOZE),
    Task("encoder_right", "a hidden token: encoder, both sides", CLOZE),
    Task("decoder_left_loss", "a hidden token: decoder, its left side alone", ""),
    Task("encoder_loss", "a hidden token: encoder, both sides", ""),
)
FILES = {NEXT: "objectives-next.svg", CLOZE: "objectives-cloze.svg"}


# What is asked --------------------------------------------------------------------------


def in_batches(ask: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([ask(part) for part in windows.split(BATCH)])


def decoded(model: Transformer, windows: Tensor, at: int) -> Tensor:
    """Log-probabilities of token `at` of each window (N, T) after those before it, (N, V)."""
    return in_batches(lambda w: model(w[:, :at], last_only=True)[:, 0].log_softmax(-1), windows)


def found(model: Transformer, windows: Tensor, at: int, mask: int) -> Tensor:
    """The same of an encoder that sees all of the windows, with the mask in place of that token. The mask itself, which
    is no token of a text, is no answer."""
    masked = windows.clone()
    masked[:, at] = mask

    def ask(w: Tensor) -> Tensor:
        logits = model.logits(model.hidden(w)[:, at])
        return logits[:, torch.arange(logits.size(1)) != mask].log_softmax(-1)

    return in_batches(ask, masked)


def ranked(model: Transformer, windows: Tensor, at: int, before: Tensor) -> Tensor:
    """Which token a decoder finds likeliest with all of the window, of those likeliest by what is before: (N,)."""
    chosen = before.topk(min(CANDIDATES, before.size(1))).indices
    whole = []
    for token in chosen.unbind(1):
        filled = windows.clone()
        filled[:, at] = token
        # Up to the hidden token all are alike: what differs are that one and what follows
        whole.append(in_batches(lambda w: -nats(model, w)[:, at - 1 :].sum(1), filled))
    return chosen.gather(1, torch.stack(whole, 1).argmax(1, keepdim=True))[:, 0]


def nats(model: Transformer, windows: Tensor) -> Tensor:
    """Of windows (N, T) the loss of each token but the first, (N, T - 1)."""
    logits = model(windows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none").view(len(windows), -1)


def asked_of(checkpoint: Path, windows: Tensor, mask: int | None) -> dict[str, float]:
    """Every figure of one checkpoint; `mask` is that of an encoder."""
    model = load_model(str(checkpoint)).model
    last, middle = windows.size(1) - 1, windows.size(1) // 2
    figures: dict[str, float] = {}

    def judge(name: str, log_p: Tensor, at: int) -> None:
        figures[f"{name}_loss"] = float(-log_p.gather(1, windows[:, at, None]).mean())
        figures[f"{name}_right"] = float((log_p.argmax(1) == windows[:, at]).float().mean())

    if mask is not None:
        judge("encoder_next", found(model, windows, last, mask), last)
        judge("encoder", found(model, windows, middle, mask), middle)
        return figures
    judge("decoder_next", decoded(model, windows, last), last)
    before = decoded(model, windows, middle)
    judge("decoder_left", before, middle)
    figures["decoder_rank_right"] = float((ranked(model, windows, middle, before) == windows[:, middle]).float().mean())
    return figures


def windows_of(run: Path, n: int) -> tuple[Tensor, int | None]:
    """Windows of the validation text of a run, evenly spread: (n, block_size); and its mask, if it has one."""
    loaded = load_model(str(run))
    config, coder = loaded.config, loaded.tokenizer
    data = prepare(config.data, config.tokenizer, without_mask(coder), clean=config.clean)
    size = config.model.block_size
    starts = np.linspace(0, len(data.val) - size, n).astype(np.int64)
    windows = torch.from_numpy(data.val[starts[:, None] + np.arange(size)].astype(np.int64))
    return windows, None if config.model.attention.causal else mask_of(coder)


# Training, and all of it ------------------------------------------------------------------


def measured(seed: int, more: Sequence[str], n: int) -> dict[str, list[list[float]]]:
    """Of each task its figure at each checkpoint: pairs of tokens read and figure."""
    curves: dict[str, list[list[float]]] = {}
    figures: dict[str, float] = {}
    for kind in KINDS[:: 1 if seed % 2 else -1]:
        run = Path(f"{kind}-{seed}")
        seconds(gptforge("train", *COMMON, f"objective={kind}", f"seed={seed}", f"hydra.run.dir={run}", *more))
        windows, mask = windows_of(run, n)
        config = load_model(str(run)).config
        per_step = config.train.batch_size * config.model.block_size
        for path in sorted((run / "checkpoints").glob("step-*")):
            tokens = per_step * int(path.name.removeprefix("step-"))
            figures = asked_of(path, windows, mask)
            for key, value in figures.items():
                curves.setdefault(key, []).append([tokens, value])
        say(f"  {kind}, seed {seed}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    return curves


def rows_of(curves: Sequence[Mapping[str, list[list[float]]]]) -> list[Row]:
    rows = []
    for task in TASKS:
        share = task.key.endswith("_right")
        values = [of[task.key][-1][1] for of in curves]
        name = f"{task.label}, {'right' if share else 'loss'}"
        rows.append(row(name, "%" if share else "nats", values))
    return rows


def main() -> None:
    opened = options(NAME, __doc__ or "", lambda p: p.add_argument("--draw", action="store_true", help="only that"))
    if opened.extra.draw:
        for path in draw():
            say(f"wrote {path.relative_to(ROOT)}")
        return
    seeds = range(1, (opened.extra.rounds or (1 if opened.quick else SEEDS)) + 1)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the runs too
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        curves = [measured(seed, QUICK if opened.quick else [], 64 if opened.quick else WINDOWS) for seed in seeds]
    title = "Next tokens against hidden ones, the same text, model and budget"
    notes = [NOTE]
    finish(NAME, title, rows_of(curves), notes, opened, {"curves": curves})
    if not opened.quick:
        draw()


# The page ---------------------------------------------------------------------------------


def table(curves: Sequence[Mapping[str, list[list[float]]]]) -> str:
    """Mean and standard deviation over the seeds, at the end of training."""
    tasks: dict[str, dict[str, str]] = {}
    for task in TASKS:
        values = [of[task.key][-1][1] for of in curves]
        share = task.key.endswith("_right")
        mean, spread = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
        shown = f"{100 * mean:.1f} ± {100 * spread:.1f} %" if share else f"{mean:.3f} ± {spread:.3f}"
        tasks.setdefault(task.label, {})["right" if share else "loss"] = shown
    lines = ["| asked of whom, seeing what | right | loss, nats |", "|---|---|---|"]
    lines += [f"| {label} | {one.get('right', '')} | {one.get('loss', '')} |" for label, one in tasks.items()]
    return "\n".join(lines)


def picture(curves: Sequence[Mapping[str, list[list[float]]]], name: str) -> str:
    """The curves of a task over the tokens read, one line a seed; a kind of answer has its colour in all pictures."""
    lines = []
    for task in (task for task in TASKS if task.picture == name):
        group = 2 if "rank" in task.key else 1 if "encoder" in task.key else 0
        label = task.label.partition(": ")[2]
        for seed, of in enumerate(curves, 1):
            scale = 100 if task.key.endswith("_right") else 1
            points = [(tokens, scale * value) for tokens, value in of[task.key]]
            lines.append(Line("ABC"[group], f"{label}, seed {seed}", group, points))
    return draw_runs(lines, name.partition(":")[0].capitalize(), "tokens read", name.partition(": ")[2])


def written() -> dict[Path, str]:
    """The page and its pictures as the stored result has them."""
    result, _ = load(RESULTS / f"{NAME}.json")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    machine, curves = result["machine"], result["curves"]
    how = f"{len(curves)} seeds, {WINDOWS} windows; {machine['date']}, {machine['cpu']}, one core. "
    how += "After ± is the standard deviation over the seeds."
    images = "\n\n".join(f"![{name}](pictures/{file})" for name, file in FILES.items())
    page = f"{before}{BEGIN}\n\n{table(curves)}\n\n{how}\n\n{images}\n\n{END}{after}"
    return {PAGE: page} | {PICTURES / file: picture(curves, name) for name, file in FILES.items()}


def draw() -> list[Path]:
    """Writes what is not as it should be."""
    wanted = {p: text for p, text in written().items() if not p.exists() or p.read_text(encoding="utf-8") != text}
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(wanted)


if __name__ == "__main__":
    main()
