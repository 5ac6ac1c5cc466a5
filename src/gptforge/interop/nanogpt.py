"""nanoGPT's ckpt.pt, told as a GPT-2 of transformers would be. It is a pickle, which unpickle.py opens if trusted."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gptforge.errors import CheckpointError, UsageError
from gptforge.interop.unpickle import TENSORS, VALUES
from gptforge.tensors import read_tensors
from gptforge.tokenizers.char import CharTokenizer

PREFIXES = ("model._orig_mod.", "model.")  # of a model that torch.compile had, and of one that it had not
LINEAR = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # which GPT-2 has the other way round


@dataclass(frozen=True, slots=True)
class NanoGPT:
    """A checkpoint that has been read."""

    path: Path
    config: Mapping[str, Any]
    files: Mapping[str, str]  # by the name in GPT-2, that in the checkpoint
    _tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[self.files[name]]
        return tensor.t().contiguous() if name.endswith(LINEAR) else tensor


def read(path: Path, trust: bool) -> NanoGPT:
    """Reads a checkpoint. Raises UsageError unless it is trusted, CheckpointError for one that is none."""
    values, tensors = opened(path, trust)
    arguments = values.get("model_args")
    if not isinstance(arguments, dict) or not isinstance(values.get("model"), dict):
        raise CheckpointError("it holds no model_args and model, as nanoGPT's checkpoints do", where=str(path))
    prefix = next((p for p in PREFIXES if f"{p}transformer.wte.weight" in tensors), PREFIXES[-1])
    files = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    try:
        return NanoGPT(path, _config(arguments), files, tensors)
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"its model_args are not nanoGPT's: {e}", where=str(path)) from None


def characters(path: Path, trust: bool) -> CharTokenizer:
    """The tokenizer of a meta.pkl. Raises as `read` does."""
    ids = opened(path, trust)[0].get("stoi")
    if not isinstance(ids, dict) or list(ids.values()) != list(range(len(ids))) or list(ids) != sorted(ids):
        raise CheckpointError("it holds no characters in their order, as nanoGPT's meta.pkl does", where=str(path))
    return CharTokenizer("".join(ids))


def opened(path: Path, trust: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is in a trusted pickle: plain values, and tensors by their dotted names. Raises UsageError,
    CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    if not trust:
        what = f"{path.name} is a pickle, which can hold anything a program can do"
        raise UsageError(what, where=str(path), fix="--trust opens it, in a process of its own with bounds")
    with tempfile.TemporaryDirectory(prefix="gptforge-") as folder:
        command = [sys.executable, "-m", "gptforge.interop.unpickle", str(path), folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"its process ended with {done.returncode}"]
            raise CheckpointError(f"this pickle is not one of weights alone: {last[0]}", where=str(path))
        values = json.loads(Path(folder, VALUES).read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}, read_tensors(Path(folder, TENSORS))


def _config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A GPT-2 with nanoGPT's exact GELU. Without `bias` it has none anywhere."""
    names = {"n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "n_positions": "block_size"}
    config = {theirs: int(arguments[ours]) for theirs, ours in names.items()}
    told = {"model_type": "nanogpt", "vocab_size": int(arguments["vocab_size"]), "bias": bool(arguments["bias"])}
    return config | told | {"activation_function": "gelu"}
