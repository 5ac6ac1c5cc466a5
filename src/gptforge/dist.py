"""Where this process stands among the processes of a run: rank, world size, device. Alone, it is 0 of 1."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Dist:
    """One process of `world_size`, computing on `device`."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
