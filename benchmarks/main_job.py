"""The default run against nanoGPT's CPU recipe, and cached against uncached sampling.

nanoGPT's recipe (its README: 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps,
AdamW 1e-3 with cosine decay to 1e-4, no dropout) runs through gptforge's own loop here, in float32 as
nanoGPT runs it on a CPU; so the comparison is of recipes, not of two programs' overhead. Both are
evaluated over the whole validation split of the same nine plays.

    python benchmarks/main_job.py [SEED ...]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NANOGPT = ["experiment=nanogpt_char_cpu"]


def train(run: Path, seed: int, overrides: list[str]) -> dict:
    command = [
        sys.executable,
        "-m",
        "gptforge",
        "train",
        f"hydra.run.dir={run}",
        f"seed={seed}",
        "ui=quiet",
        *overrides,
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return json.loads((run / "summary.json").read_text()) | {"wall": time.perf_counter() - began}


def sampling(run: Path, tokens: int = 400) -> tuple[float, float]:
    """Tokens per second with the cache and without."""
    import torch

    from gptforge.checkpoint import load_model
    from ours import written

    model = load_model(str(run)).model
    began = time.perf_counter()
    written(model, tokens)
    cached = tokens / (time.perf_counter() - began)
    ids = torch.zeros(1, 1, dtype=torch.long)
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in range(tokens):
            logits = model(ids[:, -model.cfg.block_size :], last_only=True)
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return cached, tokens / (time.perf_counter() - began)


def main() -> None:
    seeds = [int(word) for word in sys.argv[1:]] or [1337]
    losses: dict[str, list[float]] = {"gptforge": [], "nanoGPT's recipe": []}
    walls: dict[str, list[float]] = {name: [] for name in losses}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in seeds:
            for name, overrides in (("gptforge", []), ("nanoGPT's recipe", NANOGPT)):
                run = Path(folder, f"{name[:4]}-{seed}")
                summary = train(run, seed, overrides)
                losses[name].append(summary["best_val_loss"])
                walls[name].append(summary["wall"])
                print(f"seed {seed}  {name:18} val_loss {losses[name][-1]:.4f}  {walls[name][-1]:.0f} s", flush=True)
        for name, values in losses.items():
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            median = statistics.median(walls[name])
            print(f"{name:18} val_loss {statistics.mean(values):.4f}{spread}, median {median:.0f} s")
        ratio = statistics.mean(losses["gptforge"]) / statistics.mean(losses["nanoGPT's recipe"])
        print(f"ratio of losses {ratio:.3f}, of times {statistics.median(map(float.__truediv__, *walls.values())):.2f}")
        cached, uncached = sampling(Path(folder, f"gptf-{seeds[0]}"))
        print(
            f"sampling, one text: {cached:.0f} tokens/s cached, {uncached:.0f} uncached, ratio {cached / uncached:.1f}"
        )


if __name__ == "__main__":
    main()
