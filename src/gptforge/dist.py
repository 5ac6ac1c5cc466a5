"""Where this process stands among the processes of a run, and the small things they tell each other.

Alone, a process is 0 of 1, and telling is doing nothing. Knows neither models nor files; gradients are parallel.py's,
how processes come to be is launch.py's.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as c10d

from gptforge.errors import PeerLost

if TYPE_CHECKING:  # a torch without c10d will do for a process alone
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
FAILED = "gptforge/failed"  # in the store: how many processes have failed, and what the first one said
REASON = "gptforge/reason"
# How gloo, NCCL and the store speak of a process that has gone
LOST = re.compile(r"gloo|NCCL|connection (was )?(closed|reset|refused)|broken pipe|recvValue|sendBytes", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dist:
    """One process of `world_size`, computing on `device`; the `local_rank`-th of `local_size` on its machine.

    Every method is called by all processes at the same point of their work, or they wait for each other forever.
    All raise PeerLost when another process has gone.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: "Store | None" = field(default=None, repr=False, compare=False)  # outlives each of the processes

    @property
    def main(self) -> bool:
        """Whether this is the first process: it alone writes and speaks."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """The sums of the values over all processes, in float64: the same bits on each."""
        if self.world_size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with peers():
            c10d.all_reduce(sums)
        return sums.tolist()

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, in its place, on its device."""
        if self.world_size > 1:
            with peers():
                c10d.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any process."""
        return self.sum(flag)[0] > 0

    def first(self, action: Callable[[], T]) -> T:
        """What an action gives on the first process, which alone performs it."""
        if self.world_size == 1:
            return action()
        box: list[Any] = [action() if self.main else None]
        with peers():
            c10d.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def in_turn(self, action: Callable[[], T]) -> T:
        """What an action gives on each process; the first one goes ahead, so that the others find what it left."""
        if self.main:
            result = action()
            self.barrier()
            return result
        self.barrier()
        return action()

    def gathered(self, value: T) -> list[T]:
        """The values of all processes in their order, on the first one; elsewhere nothing."""
        if self.world_size == 1:
            return [value]
        found: list[Any] | None = [None] * self.world_size if self.main else None
        with peers():
            c10d.gather_object(value, found)
        return found or []

    def barrier(self) -> None:
        """Waits until every process is here."""
        self.sum(0)

    def claim_failure(self, told: str) -> bool:
        """Leaves word of this process's failure; false when another one was first."""
        if self.store is None:
            return True
        try:
            if self.store.add(FAILED, 1) > 1:
                return False
            self.store.set(REASON, f"process {self.rank} of {self.world_size}: {told}")
        except RuntimeError:  # whoever keeps the store has gone: nobody else will tell
            return True
        return True

    def failure(self) -> str:
        """What the process that failed first has said, or nothing."""
        try:
            return self.store.get(REASON).decode() if self.store is not None and self.store.check([REASON]) else ""
        except RuntimeError:
            return ""


@contextlib.contextmanager
def peers(there: bool = True) -> Iterator[None]:
    """Turns what torch says when another process has gone into PeerLost; where none are `there`, nothing has to be."""
    try:
        yield
    except RuntimeError as e:
        if not there or (not isinstance(e, c10d.DistError) and not LOST.search(str(e))):
            raise
        raise PeerLost(
            f"a process of the run was lost: {str(e).splitlines()[0][:200]}", fix="gptforge train resume=latest"
        ) from e
