"""C5: long lives of runs, with saves, crashes in the middle of them, damage, resumes from anywhere and wrong clocks.

Nothing is trained: the steps are counted on and the weights changed by hand, all else is what a run does.
"""

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import torch

import small
from faults.storage import Change, Died, watched
from faults.suite import Draw, Fault
from gptforge import checkpoint
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.runs import Call, Run, candidates
from gptforge.train import trainer as trainer_module
from gptforge.train.parts import Parts, build_parts
from gptforge.train.trainer import Trainer

EVENTS = ("save", "save", "save", "save", "crash", "crash", "resume", "resume", "damage", "clock")
LONGEST = 70  # changes in one save or start, about


def smallest_parts() -> Parts:
    trainer_module.measured_peak = lambda runtime: 1e12
    small.write_text()
    return build_parts(config(1))[0]


def config(keep: int) -> TrainConfig:
    """Of a run that goes on with itself, and never ends."""
    sizes = {"model__n_embd": 16, "model__block_size": 16}
    return small.config(train__steps=10**6, checkpoint__keep=keep, resume="run", **sizes)


class Killer:
    """Ends the process before its change of that number, in the middle of it if it is a write."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.last = ""

    def __call__(self, change: Change) -> int | None:
        if self.left is None:
            return None
        if self.left <= 0:
            self.last = self.last or str(change)
            raise Died
        self.left -= 1
        return len(change.data) // 2 if self.left == 0 and len(change.data) > 1 else None


@dataclass(slots=True)
class Life:
    """One run, and what must be true of it.

    `held` are the files of all checkpoints that were seen, by their place; `spoilt` those that were damaged. `newest`
    is the step of the checkpoint that must be found, `best` of the best one that is there; `next` and `next_best` what
    they are to be once what is under way has been done.
    """

    run: Run
    keep: int
    draw: Draw
    parts: Parts
    said: list[str] = field(default_factory=list)
    held: dict[Path, dict[str, bytes]] = field(default_factory=dict)
    spoilt: set[Path] = field(default_factory=set)
    newest: int | None = None
    best: int | None = None
    next: int | None = None
    next_best: int | None = None
    late: float = 0.0  # seconds that the clock is wrong
    trainer: Trainer | None = None
    killer: Killer = field(default_factory=Killer)
    process: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    # What happens ---------------------------------------------------------------

    def start(self, text: str = "run") -> None:
        """A process goes on with the run, as `gptforge train resume=` does; the one before ends."""
        self.process.close()
        self.next, self.next_best = self.newest, None
        run, path, warnings = checkpoint.to_go_on_from(text)
        trainer = Trainer(config(self.keep), run, None, self.parts)
        trainer.sinks = self.process.enter_context(trainer.keeper.opened())
        self.next = step_of(path)
        trainer._start(path, warnings)
        self.trainer, self.newest = trainer, self.next
        self.best = self.next_best = trainer.state.best_step if trainer.state.best_step in run.steps() else None
        self.spoilt.clear()
        assert not (litter := small.litter(run.path)), f"{self}: {litter} lie about after a start"

    def end(self) -> None:
        """The process ends, or is dead already."""
        with contextlib.suppress(Died):
            self.process.close()
        self.killer.left = None

    def save(self) -> None:
        assert self.trainer
        state, draw = self.trainer.state, self.draw
        state.step += draw.choice([1, 1, 2, 5])
        with torch.no_grad():
            next(iter(self.parts.model.parameters())).add_(draw.random())
        if draw.random() < 0.4:
            state.judge((state.best_val_loss or 4.0) + draw.choice([-0.1, 0.1]), 3.0)
        self.next = state.step
        self.next_best = state.best_step if state.best_step == state.step else self.best
        kept = {*[*self.run.steps(), state.step][-self.keep :], self.next_best} - {None}
        self.trainer.save()
        self.newest, self.best = self.next, self.next_best
        assert {*self.run.steps()} == kept, f"{self}: there are {self.run.steps()}, to be kept were {kept}"

    def resume(self) -> None:
        self.start(self.somewhere())

    def somewhere(self) -> str:
        """The run, or one of its checkpoints."""
        sound = [path for path in self.run.newest_first() if path not in self.spoilt]
        return str(self.draw.choice(sound)) if sound and self.draw.random() < 0.4 else "run"

    def crash(self, starts: bool = False) -> None:
        """A save or a start that the process does not live to see the end of; then a new process."""
        if starts := starts or self.draw.random() < 0.4:
            self.end()  # of the process before, in peace
        self.killer.left = self.draw.randrange(LONGEST)
        try:
            self.resume() if starts else self.save()
        except Died:
            self.said[-1] += f" in a {'start' if starts else 'save'} before {self.killer.last}"
        self.end()
        self.check(crashed=True)
        self.start()

    def damage(self) -> None:
        """The newest checkpoint loses a bit, if there is one before it; a process that may die finds that."""
        if len(self.run.steps()) < 2:
            return
        self.end()
        newest, before = self.run.newest_first()[:2]
        path = self.draw.choice(sorted(newest.iterdir()))
        content = bytearray(path.read_bytes())
        content[self.draw.randrange(len(content))] ^= 1
        path.write_bytes(content)
        self.spoilt.add(newest)
        self.held[newest] = small.contents(newest)
        self.newest = step_of(before)
        self.crash(starts=True) if self.draw.random() < 0.5 else self.start()

    def clock(self) -> None:
        """The time is another, and so are those of some files."""
        self.late = self.draw.uniform(-1e9, 1e9)
        for path in self.run.path.rglob("*"):
            if self.draw.random() < 0.5:
                os.utime(path, (when := self.draw.uniform(0, 4e9), when))

    # What must be true ------------------------------------------------------------

    def check(self, crashed: bool = False) -> None:
        """Of the disk; after a crash what was under way may have been done or not."""
        for path in sorted(self.run.checkpoints.glob("set-aside-*/step-*")):
            if path not in self.held:
                self.held[path] = self.held.pop(self.run.checkpoints / path.name)
        for path in [*self.run.newest_first(), *self.run.checkpoints.glob("set-aside-*/step-*")]:
            if path not in self.held:
                checkpoint.verify(path)
            found = small.contents(path)
            assert self.held.setdefault(path, found) == found, f"{self}: {path} was rewritten"
        self.held = {path: files for path, files in self.held.items() if path.exists()}
        if self.newest is not None:
            path, warnings = checkpoint.first_sound(candidates("run"))
            may = (self.newest, self.next) if crashed else (self.newest,)
            assert step_of(path) in may, f"{self}: step {step_of(path)} is found, not {may}"
            assert len(warnings) == len(self.spoilt & {*self.run.newest_first()}), f"{self}: {warnings}"
        for name, now, then in (("latest", self.newest, self.next), ("best", self.best, self.next_best)):
            step = self.run.pointer(name)
            assert crashed or step == now, f"{self}: {name} is step {step}, not {now}"
            assert step in (*self.run.steps(), None), f"{self}: {name} is step {step}, there are {self.run.steps()}"
            assert step or now is None or then is None, f"{self}: {name} is none, was {now}, is to be {then}"

    def __str__(self) -> str:
        return f"keep {self.keep}: {', '.join(self.said)}"


def step_of(path: Path | None) -> int | None:
    return int(path.name.removeprefix("step-")) if path else None


def long_life(draw: Draw, parts: Parts) -> None:
    """Ten events or so, and after each of them all that must be true."""
    keep = draw.randint(1, 3)
    life = Life(Run(Path("run").resolve()), keep, draw, parts)
    now = time.time
    with watched(Path.cwd(), life.killer), mock.patch("time.time", lambda: now() + life.late):
        Run.create(as_saved(config(keep), {}), "test", Call(directory=Path("run")))
        life.start()
        for event in draw.choices(EVENTS, k=draw.randint(6, 14)):
            life.said.append(event)
            getattr(life, event)()
            life.check()
        life.end()


FAULTS = [
    Fault(
        "C5",
        "in a long life with crashes a sound checkpoint and the best are always there",
        long_life,
        quick=100,
        full=2000,
        prepared=smallest_parts,
    ),
]
