"""What a user can set about a sweep, beside what its points are."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key

FREE = Resume.FREE
OWN_LAUNCHER = "gptforge"


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """A sweep: gptforge train -m"""

    n_jobs: int = key(1, "how many points train at one time; cores and GPUs are divided among them", resume=FREE, ge=1)
    fail_fast: bool = key(False, "begin no further point once one has failed", resume=FREE)
    halving: int | None = key(
        None, "successive halving: at each rung one in so many goes on; null: all train to their end", resume=FREE, ge=2
    )
    rungs: int = key(2, "how many times halving chooses, each time after a longer training", resume=FREE, ge=1)
    search: str = key(
        "grid",
        "which points: every combination; trials at random; tpe: each by the results before (extra search)",
        resume=FREE,
        choices=("grid", "random", "tpe"),
    )
    trials: int = key(20, "how many points search=random or search=tpe makes", resume=FREE, ge=1)
    search_seed: int = key(1, "of the drawing", resume=FREE, ge=0, le=2**32 - 1)
    retry: bool = key(False, "with resume=SWEEP: run its failed points once more", resume=FREE)
    yes: bool = key(False, "begin a sweep of more than 100 points without asking", resume=FREE)
    launcher: str = key(
        OWN_LAUNCHER, "who starts the points: another of Hydra's launchers, such as submitit_slurm", resume=FREE
    )
    launcher_options: list[str] = key([], "settings of another launcher: hydra.launcher.KEY=VALUE", resume=FREE)

    def problems(self) -> Iterator[Problem]:
        if self.search == "tpe" and self.halving is not None:
            what = "search=tpe finds its points one after the other, halving needs them all at once"
            yield Problem("halving", what, "search=random")
        if self.launcher == OWN_LAUNCHER:
            for option in self.launcher_options:
                yield Problem(option.partition("=")[0], "gptforge's own launcher has no such key", "n_jobs=2")
            return
        if self.search == "tpe":
            what = f"search=tpe finds its points one after the other, launcher={self.launcher} takes them all at once"
            yield Problem("search", what, "search=random")
        if self.fail_fast:
            what = f"launcher={self.launcher} takes all points at once: a failure cannot keep the others back"
            yield Problem("fail_fast", what, "fail_fast=false")
