"""What a user can set about what is learnt of a text: each next token, or hidden ones."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gptforge.config.schema import Problem, Resume, default_of, key, shown

TRAJECTORY = Resume.UNLESS_ALLOWED
MLM = "mlm"


@dataclass(kw_only=True, slots=True)
class ObjectiveConfig:
    """What is learnt."""

    kind: str = key(
        "next_token",
        "each token by those before it; or hidden ones by those on both sides (masked language modelling)",
        resume=Resume.REFUSE,
        choices=("next_token", MLM),
    )
    mask_rate: float = key(
        0.15, "with kind=mlm: share of the tokens that are to be found", resume=TRAJECTORY, gt=0, lt=1
    )
    mask_fraction: float = key(
        0.8, "share of those in whose place the mask stands, so that they are hidden", resume=TRAJECTORY, ge=0, le=1
    )
    random_fraction: float = key(
        0.1,
        "share of those in whose place a random token stands; the rest stay as they are",
        resume=TRAJECTORY,
        ge=0,
        le=1,
    )

    def problems(self) -> Iterator[Problem]:
        if self.mask_fraction + self.random_fraction > 1 + 1e-9:
            what = f"{self.mask_fraction:g} masks and {self.random_fraction:g} random tokens are more than all"
            yield Problem("objective.random_fraction", what, f"objective.random_fraction={1 - self.mask_fraction:.2g}")
        for f in fields(self):
            value = getattr(self, f.name)
            if self.kind != MLM and f.name != "kind" and value != default_of(f):
                what = f"objective.{f.name} is used only with objective=mlm, not with {self.kind}"
                yield Problem(f"objective.{f.name}", what, f"objective=mlm objective.{f.name}={shown(value)}")
