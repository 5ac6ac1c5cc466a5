"""R1 to R3, R7: runs that are killed or stopped at any moment go on bit for bit as if nothing had been."""

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import killing
import small
from faults.forks import Forked, done
from faults.suite import Draw, Fault
from gptforge.runs import Run
from killing import Moment, Peaceful

KILLS = 5  # at most in one run
STOPPED_STEPS = 40


# R1, R7: kill -9, in forks -------------------------------------------------------------------------------------


def killed(draw: Draw, ground: Any) -> None:
    """A run of a drawn kind, killed one to five times, by turns."""
    small.write_text(words=draw.choice([600, 1200]), seed=draw.randrange(1000))  # an epoch: 10 or 21 steps
    wanted = draw.in_turn(range(1, KILLS + 1), shuffled=False)
    words = small.typed(small.config(**drawn_run(draw)), "drawn")[:-1]  # without hydra.run.dir=, each run has its own
    peaceful = killing.in_peace(Forked, words)
    killing.kill_repeatedly(Forked, words, peaceful, moments(draw, peaceful, wanted), wanted)


def drawn_run(draw: random.Random) -> dict[str, Any]:
    """What has a state of its own to lose: dropout, micro-batches, averages, optimizers, number formats, epochs."""
    return {
        "model__dropout": draw.choice([0.0, 0.1, 0.3]),
        "train__steps": draw.randint(24, 48),
        "train__grad_accum": draw.choice([1, 2, 4]),
        "optimizer__kind": draw.choice(["adamw", "muon"]),
        "optimizer__ema_decay": draw.choice([None, 0.9]),
        "runtime__dtype": draw.choice(["float32", "bfloat16"]),
        "schedule__kind": draw.choice(["cosine", "wsd"]),
        "eval__every": draw.randint(3, 12),
        "checkpoint__every": draw.randint(1, 12),
        "checkpoint__keep": draw.randint(1, 3),
        "log__every": draw.choice([1, 1, 5]),
    }


def moments(draw: random.Random, peaceful: Peaceful, wanted: int) -> Iterator[Moment]:
    """Two of three at any time; the others in the middle of a save, a rotation, an evaluation or a sample."""
    anywhere = killing.at_any_time(draw, peaceful, wanted)
    while True:
        aimed = [
            killing.once_there("checkpoints/.tmp-step-*", draw.randint(1, 3), draw.uniform(0, 0.03)),
            killing.once_there("checkpoints/step-*", draw.randint(1, 3), draw.uniform(0, 0.01)),
            killing.once_there("checkpoints/.trash-*", draw.randint(1, 2), draw.uniform(0, 0.002)),
            killing.once_there("samples/step-*", 1, draw.uniform(0, 0.01)),
        ]
        yield draw.choice(aimed) if draw.random() < 1 / 3 else next(anywhere)


# R2: kill -9, of the real command ------------------------------------------------------------------------------

REAL_KILLS = 3  # in a trial
REAL = ["data=text.txt", "model=tiny", "model.dropout=0.1", "train.batch_size=8"]
REAL += ["train.grad_accum=2", "eval.every=15", "checkpoint.every=4", "log.every=1", "sample.max_new_tokens=10"]
REAL += ["runtime.threads=1", "ui=quiet"]


def killed_command(draw: Draw, ground: Any) -> None:
    """`gptforge train` in fresh processes, killed at any time, while it prepares its text, and while it compiles."""
    way = draw.in_turn(["anywhere", "prepare", "anywhere", "anywhere", "compile"], shuffled=False)
    small.write_text(words=40_000, seed=draw.randrange(1000))
    words = ["train", *REAL, *(["tokenizer=bpe", "tokenizer.vocab_size=600"] if way == "prepare" else [])]
    words += ["runtime.compile=true", "train.steps=20"] if way == "compile" else ["train.steps=60"]
    start = in_new_cache if way == "prepare" else partial(killing.Command, env=own_cache())
    peaceful = killing.in_peace(start, words)
    anywhere = killing.at_any_time(draw, peaceful, REAL_KILLS)
    at = {
        "prepare": lambda: in_preparation(draw.uniform(0, 0.2)),
        "compile": lambda: killing.after(peaceful.started + draw.uniform(0, 0.8) * peaceful.trained),
        "anywhere": lambda: next(anywhere),
    }[way]
    killing.kill_repeatedly(start, words, peaceful, (at() for _ in iter(int, 1)), REAL_KILLS)


def own_cache() -> Mapping[str, str]:
    """The environment of a process with a cache in the working directory."""
    return os.environ | {"GPTFORGE_CACHE": str(Path("cache").absolute())}


def in_new_cache(*words: str) -> killing.Victim:
    """A run that begins finds nothing prepared; one that goes on finds what it left."""
    if not any(word.startswith("resume=") for word in words):
        shutil.rmtree("cache", ignore_errors=True)
    return killing.Command(*words, env=own_cache())


def in_preparation(seconds: float) -> Moment:
    """So long after tokens begin to be made, if they still are then."""
    unfinished = "cache/tokens/.tmp-*"

    def moment(victim: killing.Victim, run: Path) -> bool:
        there = killing.once_there(unfinished, 1, seconds)(victim, Path())
        return there and any(Path().glob(unfinished))

    return moment


# R3: planned stops ---------------------------------------------------------------------------------------------

KINDS = list(product(["float32", "bfloat16"], ["char", "bpe"]))
STOPS = list(product(range(1, STOPPED_STEPS + 1), KINDS))


def stopped_run(dtype: str, tokenizer: str) -> list[str]:
    changes: dict[str, Any] = {"runtime__dtype": dtype, "tokenizer__kind": tokenizer, "train__steps": STOPPED_STEPS}
    if tokenizer == "bpe":
        changes["tokenizer__vocab_size"] = 300
    return small.typed(small.config(**changes), f"{dtype}-{tokenizer}")


def uninterrupted() -> dict[tuple[str, str], Any]:
    """The course of each kind of run."""
    small.write_text()
    courses = {}
    for kind in KINDS:
        words = stopped_run(*kind)
        code, said = done(*words)
        assert code == 0, said
        courses[kind] = small.course("-".join(kind))
    return courses


def stopped(draw: Draw, ground: dict[tuple[str, str], Any]) -> None:
    """train.stop_after at one step of one kind of run, by turns at each of each."""
    step, kind = draw.in_turn(STOPS)
    small.write_text()
    words, run = stopped_run(*kind), "-".join(kind)
    code, said = done(*words, f"train.stop_after={step}")
    assert code == (75 if step < STOPPED_STEPS else 0), f"exit {code} after step {step}: {said}"
    assert small.summary(run)["steps"] == step == Run(Path(run)).steps()[-1], f"step {step} is not saved"
    code, said = done("train", f"resume={run}")
    assert code == 0, f"exit {code}: {said}"
    weights, optimizer, records = small.course(run)
    expected = ground[kind]
    assert weights == expected[0] and optimizer == expected[1], f"{run}, stopped after step {step}, is another run"
    assert records == expected[2], f"{run}, stopped after step {step}: {records}"
    killing.assert_told_once(run, f"stopped after step {step}")
    assert not killing.litter(run)


FAULTS = [
    Fault(
        "R1",
        "a run killed 1 to 5 times (501 kills in 168 runs, 51 in 18) ends bit for bit as if left in peace",
        killed,
        quick=18,
        full=168,
    ),
    Fault("R2", "the same by the real command, 3 kills a run", killed_command, quick=2, full=20),
    Fault(
        "R3",
        "a stop after any step, float32 or bfloat16, characters or BPE: goes on bit for bit",
        stopped,
        quick=16,
        full=len(STOPS),
        prepared=uninterrupted,
    ),
]
