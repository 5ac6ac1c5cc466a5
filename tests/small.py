"""Small runs for tests: a made-up text, a config of the smallest model, and the command line in this process."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptforge import cli
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.config.schema import build
from gptforge.runs import Call, Run
from gptforge.train.parts import Parts, build_parts
from gptforge.train.trainer import Trainer

TIMED = ("seconds", "tokens_per_second", "peak_share", "data_wait")  # what differs between equal runs
SMALLEST = {
    "model.n_layer": 1,
    "model.n_head": 2,
    "model.n_embd": 32,
    "model.block_size": 32,
    "model.dropout": 0.1,
    "data.source": "files",
    "data.path": "text.txt",
    "train.steps": 12,
    "train.batch_size": 8,
    "train.grad_accum": 2,
    "eval.every": 4,
    "checkpoint.every": 3,
    "log.every": 1,
    "sample.max_new_tokens": 8,
    "runtime.threads": 1,
    "ui": "quiet",
}


def write_text(path: Path = Path("text.txt"), words: int = 1200, seed: int = 0) -> Path:
    """Lines of made-up words that all occur often; the same for the same arguments."""
    draw = random.Random(seed)
    known = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 7))) for _ in range(60)]
    drawn = draw.choices(known, k=words)
    lines = [" ".join(drawn[n : n + 8]) for n in range(0, words, 8)]
    path.write_text(".\n".join(lines) + ".\n", encoding="utf-8")
    return path


def config(**changes: Any) -> TrainConfig:
    """The smallest config with keys changed; `__` stands for the dot: train__steps=3."""
    tree: dict[str, Any] = {}
    for key, value in (SMALLEST | {k.replace("__", "."): v for k, v in changes.items()}).items():
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    return build(TrainConfig, tree)


def trainer(cfg: TrainConfig, directory: str | Path = "run", parts: Parts | None = None) -> Trainer:
    """A Trainer in a new run directory, as `gptforge train` makes it."""
    built, dist = (parts, None) if parts else build_parts(cfg)
    run = Run.create(as_saved(cfg, {}), "test", Call(directory=Path(directory)))
    return Trainer(cfg, run, dist, built)


def gptforge(*words: str) -> int:
    """The exit code of a command line, run in this process."""
    return cli.guarded(lambda: cli.dispatch(list(words)))


def command(*words: str) -> list[str]:
    """The same for a process of its own."""
    return [sys.executable, "-m", "gptforge", *words]


def start(*words: str, **options: Any) -> subprocess.Popen[str]:
    """Starts a command line in a process of its own, with its stderr to read."""
    options = {"stderr": subprocess.PIPE, "text": True, "env": dict(os.environ)} | options
    return subprocess.Popen(command(*words), **options)


def typed(cfg: TrainConfig, directory: str | Path) -> list[str]:
    """The words that start a run of a config, made by `config`, through its saved form."""
    path = Path(f"{directory}.json")
    path.write_text(json.dumps(as_saved(cfg, {})), encoding="utf-8")
    return ["train", f"config={path}", f"hydra.run.dir={directory}"]


def records(run: str | Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what differs between equal runs."""
    lines = Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


@contextlib.contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of a folder under the same name, for a moment."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(folder, Path(place, folder.name)))


def summary(run: str | Path) -> dict[str, Any]:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


def log(run: str | Path) -> str:
    return Path(run, "train.log").read_text(encoding="utf-8")


def litter(folder: Path) -> list[str]:
    """Files and folders that were to be renamed or removed."""
    return [str(p) for p in folder.rglob("*") if p.name != ".lock" and (p.name[0] == "." or p.name.endswith(".tmp"))]


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def course(run: str | Path) -> tuple[str, str, list[dict[str, Any]]]:
    """What must be equal bit for bit: hashes of the weights and of the newest optimizer state, and the records."""
    newest = Run(Path(run)).newest_first()[0]
    return summary(run)["weights_sha256"], sha256(newest / "optimizer.safetensors"), records(run)
