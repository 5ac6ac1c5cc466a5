"""How much of the machine's matrix product a training step uses.

    python benchmarks/peak.py [--quick] [--rounds N] [--out FILE]

The peak is the best matrix product of several shapes in the dtype that gptforge computes in, measured again in every
round beside the steps. A step's arithmetic is model/cost.py's: 6 FLOPs for each weight of a matrix product and
token, and the attention's, whose masked half is counted. Dropout is 0.
"""

import contextlib
from dataclasses import dataclass

from measure import Options, Row, alternate, finish, median, options, ratios, row, say
from shapes import BABY, GPT2, Shape, of
from training_step import gptforge
from workers import NO_COMPILER, Worker, can_compile

WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Case:
    """A shape, how many steps make a round, and the shares that compiled and eager steps should reach."""

    name: str
    shape: Shape
    steps: int
    compiled: float | None
    eager: float | None


CASES = (
    Case("6 layers, width 384, context 256", BABY, 2, 0.65, 0.55),
    Case("GPT-2 124 M, context 256", GPT2, 1, 0.65, None),
)


def peaks(found: Options) -> list[Row]:
    """The matrix product by itself."""
    with (
        Worker("limits", "matrix_peak", dtype="float32") as fp32,
        Worker("limits", "matrix_peak", dtype="bfloat16") as bf16,
    ):
        measured = alternate({"fp32": fp32.figure, "bf16": bf16.figure}, found.rounds)
    return [row(f"matrix product, {name}", "GFLOP/s", [v / 1e9 for v in values]) for name, values in measured.items()]


def shares(case: Case, found: Options) -> list[Row]:
    """Our share of the peak, compiled and eager."""
    shape = of(case.shape, found.quick)
    say(f"{case.name}: starting")
    kinds = {"compiled": True, "eager": False} if can_compile() and not found.quick else {"eager": False}
    targets = {"compiled": case.compiled, "eager": case.eager}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(gptforge(shape, 0.0, compiled)) for name, compiled in kinds.items()}
        facts = workers["eager"].facts
        peak = stack.enter_context(Worker("limits", "matrix_peak", dtype=facts["dtype"]))
        for worker in workers.values():
            worker.seconds(WARM_UP)

        def flops(worker: Worker) -> float:
            return case.steps * worker.tokens * facts["flops_per_token"] / worker.seconds(case.steps)

        tasks = {name: lambda w=w: flops(w) for name, w in workers.items()}
        measured = alternate(tasks | {"peak": peak.figure}, found.rounds)
    rows = []
    for name in workers:
        detail = (
            f"{median(measured[name]) / 1e9:,.0f} of {median(measured['peak']) / 1e9:,.0f} GFLOP/s in {facts['dtype']}"
        )
        values = ratios(measured[name], measured["peak"])
        rows.append(row(f"share of the peak, {name}, {case.name}", "%", values, targets[name], detail))
    return rows


def main() -> None:
    found = options("peak", __doc__ or "")
    rows = peaks(found)
    for case in CASES:
        rows += shares(case, found)
    finish("peak", "Share of the machine's matrix product", rows, [] if can_compile() else [NO_COMPILER], found)


if __name__ == "__main__":
    main()
