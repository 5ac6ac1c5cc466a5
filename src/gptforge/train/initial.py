"""The weights that a run begins with where `init` names another one; knows checkpoints, and not how is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gptforge.checkpoint import MODEL, digests, first_sound, load_tensors
from gptforge.config import ModelConfig
from gptforge.errors import CheckpointError
from gptforge.model import Transformer
from gptforge.runs import candidates
from gptforge.runtime import Choice
from gptforge.tensors import read_tensors


@dataclass(frozen=True, slots=True)
class Begin:
    """A verified checkpoint, and the SHA-256 of its file of weights."""

    path: Path
    sha256: str

    @property
    def choice(self) -> Choice:
        return Choice(self.sha256, str(self.path))

    def model(self, cfg: ModelConfig, vocab_size: int) -> Transformer:
        """The model with these weights; of learnt positions as many as its block_size. Raises CheckpointError."""
        with torch.device("meta"):
            model = Transformer(cfg, vocab_size)
        tensors = read_tensors(self.path / MODEL)
        if (positions := tensors.get("pos_emb.weight")) is not None:
            tensors["pos_emb.weight"] = positions[: cfg.block_size].clone()
        load_tensors(model, tensors, str(self.path / MODEL))
        return model.train()


def find(init: str, saved_decisions: Mapping[str, Any]) -> Begin:
    """The checkpoint that `init` means. Raises CheckpointError for none, and for other weights than those that a run
    which is begun anew has begun with."""
    path, warnings = first_sound(candidates(init))
    if warnings:
        raise CheckpointError(f"the newest checkpoint of init={init} is damaged: {warnings[0]}", fix=f"init={path}")
    found = Begin(path, digests(path)[MODEL])
    before = saved_decisions.get("init", {}).get("value", found.sha256)
    if before != found.sha256:
        what = f"init={init} has other weights than the run began with"
        raise CheckpointError(what, where=f"{MODEL} {found.sha256:.16}…, then {before:.16}…")
    return found


def kept(saved_decisions: Mapping[str, Any]) -> Choice | None:
    """What a run that goes on has begun with, if with other weights than new ones."""
    held = saved_decisions.get("init")
    return Choice(held["value"], held["reason"]) if held else None
