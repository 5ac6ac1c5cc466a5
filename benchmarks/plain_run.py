"""nanoGPT's CPU recipe by the plain loop of plain.py, as a whole process: its loss is what ours is timed against.

    python benchmarks/plain_run.py TEXT SEED [STEPS]

The recipe is in nanoGPT's README: 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, AdamW 1e-3 with
100 steps of warm-up and cosine decay to 1e-4, no dropout. Characters are tokens, the last tenth of the text is the
validation split, and the loss over all of it, in nats per character, is printed. Fewer STEPS only show that it works.
"""

import json
import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from plain import PlainGPT, Shape, adamw

STEPS, WARM_UP, BATCH, CONTEXT = 2000, 100, 12, 64
PEAK, LOWEST = 1e-3, 1e-4


def learning_rate(step: int, steps: int) -> float:
    if step < WARM_UP:
        return PEAK * (step + 1) / (WARM_UP + 1)
    progress = (step - WARM_UP) / max(1, steps - WARM_UP)
    return LOWEST + 0.5 * (1 + math.cos(math.pi * progress)) * (PEAK - LOWEST)


def train(ids: Tensor, vocab_size: int, steps: int) -> PlainGPT:
    model = PlainGPT(Shape(4, 4, 128, CONTEXT, vocab_size)).train()
    optimizer = adamw(model)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,))
        windows = torch.stack([ids[i : i + CONTEXT + 1] for i in starts.tolist()])
        loss = model.loss(windows[:, :-1], windows[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model


@torch.no_grad()
def loss_over(model: PlainGPT, ids: Tensor) -> float:
    """The mean loss over all of a split, in windows that lie side by side; what is left at the end is one more."""
    model.eval()
    total = 0.0
    pieces = ids.split(CONTEXT)
    pairs = [(ids[n * CONTEXT : (n + 1) * CONTEXT], ids[n * CONTEXT + 1 :][:CONTEXT]) for n in range(len(pieces))]
    whole = [(x, y) for x, y in pairs if len(y) == CONTEXT]
    for first in range(0, len(whole), BATCH):
        x, y = (torch.stack(part) for part in zip(*whole[first : first + BATCH], strict=True))
        total += float(model.loss(x, y)) * y.numel()
    for x, y in pairs[len(whole) :]:
        if len(y):
            total += float(model.loss(x[None, : len(y)], y[None])) * len(y)
    return total / (len(ids) - 1)


def main() -> None:
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    torch.manual_seed(int(sys.argv[2]))
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else STEPS
    number = {character: n for n, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[character] for character in text])
    cut = int(0.9 * len(ids))
    model = train(ids[:cut], len(number), steps)
    print(json.dumps({"val_loss": loss_over(model, ids[cut:]), "steps": steps}))


if __name__ == "__main__":
    main()
