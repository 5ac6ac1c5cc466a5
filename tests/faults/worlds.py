"""R4: a run that was stopped goes on with another number of processes, with the same samples in the same order."""

import math
from itertools import pairwise, permutations
from typing import Any

import killing
import small
from faults.suite import Draw, Fault
from gptforge.errors import EXIT_STOPPED

SIZES = 1, 2, 3, 4
PAIRS = list(permutations(SIZES, 2))
BATCH = 12  # each of the sizes divides it
STOPPED = 5
MOST_APART = 1e-4  # nats: gradients are added up in another order
LOSSES = ("train_loss", "val_loss")


def alone() -> list[dict[str, Any]]:
    """The records of a run that one process made without a stop."""
    small.write_text()
    process = killing.Command(*words(), *processes(1))
    assert process.ended() == 0, process.said()
    records = small.records("run")
    losses = [one["train_loss"] for one in records if "train_loss" in one]
    # Else a batch that is learnt in place of another would not be noticed
    assert all(abs(a - b) > 2 * MOST_APART for a, b in pairwise(losses)), losses
    return records


def words() -> list[str]:
    changes: dict[str, Any] = {"model__dropout": 0.0, "runtime__dtype": "float32", "train__batch_size": BATCH}
    return small.typed(small.config(**changes, train__grad_accum=1), "run")


def processes(number: int) -> list[str]:
    return [f"parallel.kind={'ddp' if number > 1 else 'none'}", f"parallel.nproc={number if number > 1 else 'null'}"]


def resized(draw: Draw, expected: list[dict[str, Any]]) -> None:
    """From each number of processes to each other one."""
    before, after = draw.in_turn(PAIRS)
    small.write_text()
    process = killing.Command(*words(), *processes(before), f"train.stop_after={STOPPED}")
    assert process.ended() == EXIT_STOPPED, process.said()
    process = killing.Command("train", "resume=run", *processes(after))
    assert process.ended() == 0, process.said()
    found, what = small.records("run"), f"from {before} processes to {after}"
    assert f"world_size {before} -> {after}" in small.log("run"), f"{what}: it is not told"
    assert [one["step"] for one in found] == [one["step"] for one in expected], what
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["tokens"] == theirs["tokens"], f"{what}: {mine}, expected {theirs}"
        apart = max((abs(mine[key] - theirs[key]) for key in LOSSES if key in theirs), default=0.0)
        assert math.isfinite(apart) and apart < MOST_APART, f"{what}: {mine}, expected {theirs}"


FAULTS = [
    Fault(
        "R4",
        "stopped and continued with another number of processes, 1 to 4: the same samples, losses within 1e-4",
        resized,
        quick=1,
        full=len(PAIRS),
        prepared=alone,
    )
]
