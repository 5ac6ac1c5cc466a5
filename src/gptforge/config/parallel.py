"""What a user can set about training with several processes."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key


@dataclass(kw_only=True, slots=True)
class ParallelConfig:
    """Several processes for one run."""

    kind: str = key(
        "none",
        "ddp: each process has the whole model and computes its share of the batch",
        resume=Resume.ALLOW,
        choices=("none", "ddp"),
    )
    nproc: int | None = key(None, "processes on this machine; null: one a GPU", resume=Resume.ALLOW, ge=1, le=1024)

    @property
    def processes(self) -> int | None:
        """How many processes share a batch; None where that depends on the machine."""
        return self.nproc if self.kind == "ddp" else 1

    def problems(self) -> Iterator[Problem]:
        if self.kind == "none" and self.nproc not in (None, 1):
            yield Problem("parallel.nproc", "parallel.nproc is used only with parallel=ddp", "parallel.kind=ddp")
