"""A sweep from its frozen points to its table; and one that was interrupted, from where it stood.

Knows neither Hydra, which finds the points, nor torch, which their processes use.
"""

import contextlib
import copy
import itertools
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from gptforge.config import SweepConfig
from gptforge.config.schema import build
from gptforge.config.sweep import OWN_LAUNCHER
from gptforge.durable import make_directories
from gptforge.errors import EXIT_BUG, EXIT_DONE, EXIT_STOPPED, ConfigError
from gptforge.hardware import gpus, physical_cores, shares
from gptforge.history import DONE, FAILED, STOPPED
from gptforge.jsonfile import read_json, write_json
from gptforge.logs.screen import Screen, still
from gptforge.notices import say
from gptforge.runs import SWEEP, held
from gptforge.signals import StopSignals
from gptforge.sweep import halving
from gptforge.sweep.board import Board
from gptforge.sweep.elsewhere import Elsewhere, Launch
from gptforge.sweep.points import CUT, SKIPPED, WAITING, Point, Sweep, read, reconcile
from gptforge.sweep.pool import Pool, Task
from gptforge.sweep.table import importance, rows, table

ATTEMPTS = 3  # to bring a point to a rung, if its newest checkpoint turns out to be damaged


Keep = Callable[[Sweep], Path | None]  # writes the best point as an option, if there is one


@dataclass(frozen=True, slots=True)
class Frozen:
    """A point with its frozen config, or with the reason why it has none."""

    point: Point
    saved: Mapping[str, Any] | None
    error: str = ""


class Source(Protocol):
    """Where a search finds its points, one after the other, each with the results of those before in mind.

    `keys` are what they differ in.
    """

    keys: list[str]

    def ask(self, number: int) -> Frozen | None:
        """The next point; None where there is no other."""
        ...

    def tell(self, point: Point) -> None:
        """How a point has ended."""
        ...


def begin(path: Path, cfg: SweepConfig, frozen: list[Frozen], launch: Launch) -> None:
    """Writes down every point as it will be run, then runs them. A failing one does not stop the others.

    `launch` is how another launcher is reached, if cfg names one.
    """
    sweep = Sweep(path, cfg, [one.point for one in frozen])
    for one in frozen:
        _freeze(sweep, one)
    sweep.write()
    _train(sweep, launch, closed=cfg.fail_fast and any(p.status == FAILED for p in sweep.points))


def search(path: Path, cfg: SweepConfig, words: list[str], source: Source) -> None:
    """Runs the points that a source names, up to cfg.trials; of one that goes on, first those that are unfinished."""
    sweep = continued(path, asdict(cfg)) if (path / SWEEP).exists() else Sweep(path, cfg, [], words, source.keys)
    sweep.write()
    for point in sweep.points:
        if point.status in (DONE, FAILED):
            source.tell(point)
    with _pool(sweep) as pool:
        pool.on_ended = source.tell
        unfinished = [Task(p) for p in sweep.points if p.status not in (DONE, FAILED)]
        pool.run(itertools.chain(unfinished, _asked(sweep, source, pool)))


def _asked(sweep: Sweep, source: Source, pool: Pool) -> Iterator[Task]:
    """What a source names, while more is wanted."""
    while len(sweep.points) < sweep.cfg.trials and not pool.stopping():
        one = source.ask(len(sweep.points))
        if one is None:  # there are no more than these
            sweep.cfg.trials = len(sweep.points)
            sweep.write()
            return
        sweep.points.append(one.point)
        _freeze(sweep, one)
        sweep.write()
        if one.point.status != FAILED:
            yield Task(one.point)
            continue
        source.tell(one.point)
        pool.closed |= sweep.cfg.fail_fast


def go_on(path: Path, typed: Mapping[str, Any], keep: Keep, launch: Launch) -> int:
    """Goes on with a sweep: finished points stay, interrupted ones go on, failed ones are tried again with `retry`.

    `typed` are the keys of SweepConfig that are not as the sweep was begun.
    """
    with held(path):
        sweep = continued(path, typed)
        _train(sweep, launch)
        return finish(sweep, keep)


def continued(path: Path, typed: Mapping[str, Any]) -> Sweep:
    """A sweep as it stands, for another start of it."""
    sweep = read(path)
    sweep.cfg = build(SweepConfig, asdict(sweep.cfg) | {"retry": False, "yes": False, **typed})
    reconcile(sweep, sweep.cfg.retry)
    return sweep


def _freeze(sweep: Sweep, one: Frozen) -> None:
    """Writes a point's config; one that cannot be has failed, and is told of."""
    saved, error, point = one.saved, one.error, one.point
    if saved is not None and (sweep.cfg.halving is not None or sweep.cfg.search == "tpe"):
        try:
            halving.check_bits(saved)
            if sweep.cfg.halving is not None:
                saved = halving.prepared(saved, sweep.cfg.halving, sweep.cfg.rungs)
        except ConfigError as e:
            saved, error = None, str(e)
    if saved is None:
        point.status, point.exit_code, point.error = FAILED, ConfigError.exit_code, error
        say(f"point {point.number} cannot be: {' '.join(sweep.swept(point))}\ngptforge: {error}")
    else:
        make_directories(sweep.frozen(point).parent)
        write_json(sweep.frozen(point), with_threads(saved, sweep.cfg.n_jobs))


def with_threads(saved: Mapping[str, Any], n_jobs: int) -> Mapping[str, Any]:
    """A frozen config with a job's share of the cores, if several run at a time and it does not say how many.

    The number is frozen, for the last bits of a result may depend on it.
    """
    config = saved["config"]
    if n_jobs == 1 or config["runtime"]["threads"] is not None:
        return saved
    processes = config["parallel"]["nproc"] or 1 if config["parallel"]["kind"] != "none" else 1
    changed = copy.deepcopy(dict(saved))
    changed["config"]["runtime"]["threads"] = max(1, physical_cores() // n_jobs // processes)
    return changed


def _train(sweep: Sweep, launch: Launch, closed: bool = False) -> None:
    """Runs what has not been run, rung by rung if it is halved. `closed`: a failure has kept all from beginning."""
    with _elsewhere(sweep, launch) if sweep.cfg.launcher != OWN_LAUNCHER else _pool(sweep) as pool:
        pool.closed = closed
        alive = [p for p in sweep.points if sweep.frozen(p).exists() or not sweep.cfg.halving]
        for power in range(sweep.cfg.rungs if sweep.cfg.halving else 0, 0, -1):
            alive = _rung(sweep, pool, alive, power)
        pool.run(Task(p) for p in alive if p.status not in (DONE, FAILED, CUT))


@contextlib.contextmanager
def _pool(sweep: Sweep) -> Iterator[Pool]:
    """Places for the processes of a sweep, and signals that reach them; at the end the sweep is as it is written."""
    own = shares(gpus(), sweep.cfg.n_jobs) if sweep.cfg.n_jobs > 1 else [[]]
    environments = [{"CUDA_VISIBLE_DEVICES": ",".join(names)} if names else {} for names in own]
    board = make_board(sweep)
    with StopSignals() as signals, signals.polled():
        pool = Pool(sweep, environments, board, signals)
        try:
            yield pool
        finally:
            signals.pass_on = None
            _close(sweep, board)


@contextlib.contextmanager
def _elsewhere(sweep: Sweep, launch: Launch) -> Iterator[Elsewhere]:
    """The same for a launcher that is not ours."""
    board = Board(sweep)
    try:
        yield Elsewhere(sweep, board, launch)
    finally:
        _close(sweep, board)


def _close(sweep: Sweep, board: Board) -> None:
    board.close()
    for point in sweep.points:
        point.status = SKIPPED if point.status == WAITING else point.status
    sweep.write()


def _rung(sweep: Sweep, pool: Pool | Elsewhere, alive: list[Point], power: int) -> list[Point]:
    """Brings all points to a rung; those that go on. None, if it was stopped on the way.

    Of a sweep that goes on, points that were cut or have failed since are judged once more by what they had reached:
    the choice is the one that was made before.
    """
    eta = sweep.cfg.halving or 1
    steps = {p.number: halving.rung(read_json(sweep.frozen(p), "the frozen config"), eta, power) for p in alive}
    for _ in range(ATTEMPTS):
        going = [p for p in alive if p.status not in (FAILED, CUT)]
        behind = [p for p in going if halving.bits_at(sweep, p, steps[p.number]) is None]
        pool.run(Task(p, steps[p.number]) for p in behind)
    bits = {p.number: halving.bits_at(sweep, p, steps[p.number]) for p in alive}
    if pool.stopping():
        return []
    for point in alive:
        if point.status != FAILED and bits[point.number] is None:
            point.status, point.exit_code = FAILED, EXIT_BUG
            point.error = f"it did not come to step {steps[point.number]}"
    known = {number: b for number, b in bits.items() if b is not None}
    together = [[p.number for p in row.points if p in alive] for row in rows(sweep)]
    chosen = halving.best(together, known, eta)
    for point in alive:
        if point.status not in (FAILED, DONE) and point.number not in chosen:
            point.status = CUT
        elif point.status == CUT:  # one that failed before was tried again, so there is room for more
            point.status = WAITING
    sweep.write()
    return [p for p in alive if p.number in chosen]


def make_board(sweep: Sweep) -> Board:
    """The board for this stderr, whose lines are drawn over only on a real terminal."""
    if sys.stderr is not None and not still() and Screen(sys.stderr).can_draw():
        from gptforge.sweep.live import LiveBoard  # rich takes 0.1 s to import, which pipes need not wait for

        return LiveBoard(sweep, Screen(sys.stderr))
    return Board(sweep)


# The end --------------------------------------------------------------------------------------------------------


def finish(sweep: Sweep, keep: Keep) -> int:
    """Tells the table and each failure in a line. The exit code: the first failure's, 75 if points are left, else 0."""
    for line in table(sweep):
        say(line)
    shares_of = importance(sweep)
    if len(shares_of) > 1:
        told = ", ".join(f"{key} {share:.0%}" for key, share in shares_of.items())
        say(f"what made the difference (share of the variance of bits/byte): {told}")
    failed = [p for p in sweep.points if p.status == FAILED]
    for p in failed:
        say(f"point {p.number} ({' '.join(sweep.swept(p))}) failed: {(p.error.splitlines() or [''])[0]}")
    done = sum(p.status == DONE for p in sweep.points)
    cut = sum(p.status == CUT for p in sweep.points)
    also = f", {cut} cut on the way" if cut else ""
    say(f"sweep in {sweep.path}: {done} of {len(sweep.points)} points done{also}")
    place = shlex.quote(str(sweep.path))
    left = any(p.status in (STOPPED, SKIPPED) for p in sweep.points) or len(sweep.points) < sweep.size
    if left:
        say(f"next:   gptforge train -m resume={place}")
    elif written := keep(sweep):
        say(f"next:   gptforge train --config-dir {place} experiment={written.stem}")
    if failed:
        if not left and any(sweep.frozen(p).exists() for p in failed):
            say(f"        gptforge train -m resume={place} retry=true   runs the failed ones again")
        return max(failed[0].exit_code or 0, 0) or EXIT_BUG  # below 0: ended by a signal
    return EXIT_STOPPED if left else EXIT_DONE
