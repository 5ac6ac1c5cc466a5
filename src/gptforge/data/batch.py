"""What one call of a model's loss sees; knows nothing of where the tokens come from."""

from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100  # a label where nothing is learnt; the value that torch's cross entropy leaves out


@dataclass(slots=True)
class Batch:
    """B sequences of T tokens.

    `inputs` (B, T) int64; `labels` (B, T) int64, the token that follows each input, IGNORE where nothing is
    learnt; `documents` (B, T) int64, which document each input is of, or None when each row is one: inputs see those
    of their own document only; `extra` for objectives that need more. With `both_sides` inputs see those after them
    too, and a label is the input's own.
    """

    inputs: Tensor
    labels: Tensor
    documents: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    both_sides: bool = False

    @property
    def learnt(self) -> int:
        """How many labels count."""
        return int((self.labels != IGNORE).sum())

    @property
    def seen(self) -> int:
        """How many tokens count as read: of next-token prediction those that are learnt, else all inputs."""
        return self.inputs.numel() if self.both_sides else self.learnt

    def rows(self, first: int, last: int) -> "Batch":
        """Sequences first to last-1: a micro-batch."""
        documents = None if self.documents is None else self.documents[first:last]
        extra = {name: tensor[first:last] for name, tensor in self.extra.items()}
        return Batch(self.inputs[first:last], self.labels[first:last], documents, extra, self.both_sides)

    def cut(self, pieces: int) -> "Batch":
        """The same tokens in shorter sequences: each row in `pieces` of one length, the last filled with IGNORE."""
        if pieces == 1:
            return self
        short = -self.inputs.size(1) % pieces

        def pieced(x: Tensor, fill: int) -> Tensor:
            return F.pad(x, (0, short), value=fill).reshape(len(x) * pieces, -1)

        documents = self.documents
        if documents is None and short and self.both_sides:  # else what fills the last piece would be seen
            documents = torch.zeros_like(self.inputs)
        documents = None if documents is None else pieced(documents, -1)
        extra = {name: pieced(tensor, 0) for name, tensor in self.extra.items()}
        return Batch(pieced(self.inputs, 0), pieced(self.labels, IGNORE), documents, extra, self.both_sides)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; to CUDA through pinned memory, without waiting for the copy."""
        device = torch.device(device)
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = _moved(value, device)
            elif isinstance(value, dict):
                moved[name] = {key: _moved(tensor, device) for key, tensor in value.items()}
        return Batch(**moved)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
