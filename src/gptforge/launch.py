"""Runs a function on several processes of this machine, and gives each its place among them.

The config is composed and checked once; the processes receive it finished and never run Hydra. Started by torchrun,
gptforge starts nothing itself but takes the place that the environment tells. Knows nothing of the work.

Who ends what: a signal to the process that was typed is passed on to all, and they stop together after a step. A
process that fails says why and ends with its exit code; the others are then ended. If the one that was typed is
killed, the others are told by the kernel (on Linux), save and end.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing import resource_tracker
from typing import Any

import torch
import torch.distributed as c10d

from gptforge.config import ParallelConfig, TrainConfig
from gptforge.config.schema import config_error
from gptforge.dist import Dist, peers
from gptforge.errors import EXIT_BUG, EXIT_DONE, EXIT_STOPPED, ConfigError, PeerLost, ResourceError, Stopped, UserError
from gptforge.notices import say
from gptforge.signals import StopSignals, end_with_parent

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # what torchrun and `run` tell a process
PATIENCE = timedelta(hours=1)  # that a process has for the others, who may be preparing a large text
LAST_WORDS = 10.0  # seconds that a process whose peer has gone waits to be ended by whoever noticed why


def processes(cfg: TrainConfig) -> int:
    """How many processes to start for a config; 1 when this one does the work itself. Raises ConfigError."""
    if cfg.parallel.kind == "none" or is_placed():
        return 1
    gpus = torch.cuda.device_count() if cfg.runtime.device in (None, "cuda") else 0
    count = cfg.parallel.nproc or gpus
    if not count:
        raise ConfigError(
            "parallel=ddp starts one process a GPU, and there is none to count",
            where="parallel.nproc",
            fix="parallel.nproc=2 for two processes on the CPU",
        )
    if gpus and count > gpus:
        raise ConfigError(
            f"parallel.nproc={count}: this machine has {gpus} GPUs, and each process needs its own",
            where="parallel.nproc",
            fix=[f"parallel.nproc={gpus}", "runtime.device=cpu"],
        )
    if problems := list(cfg.train.share_problems(count)):
        raise config_error(problems)
    return count


# Starting them -----------------------------------------------------------------


def run(function: Callable[..., int], arguments: tuple[Any, ...], count: int) -> int:
    """Runs function(*arguments), which gives an exit code, on `count` new processes; the exit code of them all.

    Both are pickled. The function itself says what went wrong, on the process where it did; a process that is ended
    from outside is told of here, as ResourceError or RuntimeError.
    """
    _quiet_agent()
    resource_tracker.ensure_running()  # now, for starting it would let through the signals that are held back below
    outcome: list[tuple[int, int] | BaseException] = []
    # In a thread, because torch's agent would take over the signals of the main one
    agent = threading.Thread(target=_agent, args=(function, arguments, count, outcome), daemon=True)
    with StopSignals() as signals, signals.polled():
        workers = _Workers()
        signals.pass_on = workers.tell
        agent.start()
        while agent.is_alive():
            agent.join(0.1)
            workers.tell_again()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    rank, code = result
    if code < 0 and signals.asked:  # it was not yet ready to listen
        say("gptforge: stopped before the first step")
        return EXIT_STOPPED
    if code < 0:
        raise _ended(f"process {rank} of {count}", -code)
    return code


class _Workers:
    """The processes that the agent has started, for signals to be passed on to; each gets the first one once."""

    def __init__(self) -> None:
        self._strangers = {child.pid for child in multiprocessing.active_children()}
        self._told: set[int] = set()
        self._number: int | None = None

    def tell(self, number: int) -> None:
        """Passes a first signal on; on a second one nobody waits any longer."""
        if self._number is None:
            self._number = number
            self.tell_again()
        else:
            for pid in self._pids():
                _send(pid, signal.SIGKILL)

    def tell_again(self) -> None:
        """The first signal, to those that were not there yet."""
        if self._number is not None:
            for pid in self._pids() - self._told:
                self._told.add(pid)
                _send(pid, self._number)

    def _pids(self) -> set[int]:
        return {c.pid for c in multiprocessing.active_children() if c.pid is not None} - self._strangers


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _agent(function: Callable[..., int], arguments: tuple[Any, ...], count: int, outcome: list[Any]) -> None:
    """Puts into `outcome` how the processes ended: the rank of the first that failed and its exit code, or (0, 0)."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port, as `torchrun --standalone` does
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),  # else a folder is left behind
    )
    if hasattr(signal, "pthread_sigmask"):  # the processes inherit this until they have left the terminal's group
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        launch_agent(config, _work, [function, arguments, os.getpid()])
        outcome.append((0, EXIT_DONE))
    except ChildFailedError as e:
        rank, failure = e.get_first_failure()
        outcome.append((rank, failure.exitcode))
    except BaseException as e:
        outcome.append(e)


def _work(function: Callable[..., int], arguments: tuple[Any, ...], parent: int) -> None:
    """In a new process: the function. Any exit code but 0 ends the process, and by that the agent ends the others."""
    if sys.platform == "linux":
        end_with_parent()
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing need leave it
    if os.getppid() != parent:
        sys.exit(EXIT_BUG)
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches the first process alone, which passes it on
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # torch takes a KeyboardInterrupt for a good end
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    code = function(*arguments)
    if code or os.getppid() != parent:  # or there is nobody to report to
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)  # past the end of libraries whose threads may still run, which now and then is an abort


def _ended(name: str, number: int) -> Exception:
    """The error for a process that was ended by a signal."""
    ended = f"{name} was ended by {signal.Signals(number).name}"
    if number != signal.SIGKILL:
        return RuntimeError(ended)
    fixes = ["more memory, fewer processes, a smaller model or train.micro_batch_size", "gptforge train resume=latest"]
    return ResourceError(f"{ended}, most often for want of memory", fix=fixes)


def _quiet_agent() -> None:
    """Keeps torch's agent from telling in its own words what is told in ours."""
    if os.environ.get("GPTFORGE_DEBUG"):
        return
    for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


# In one of them ----------------------------------------------------------------


def is_placed() -> bool:
    """Whether this process was started as one of several, by `run` or by torchrun."""
    return all(name in os.environ for name in PLACE)


@contextlib.contextmanager
def place(cfg: ParallelConfig) -> Iterator[tuple[Dist, StopSignals]]:
    """This process's place among those of the run, and its signals. Alone it is the first of one."""
    size = int(os.environ["WORLD_SIZE"]) if is_placed() else 1
    if size > 1 and cfg.kind == "none":
        raise ConfigError(f"torchrun has started {size} processes, but parallel=none", fix="parallel=ddp")
    if size == 1:
        with StopSignals() as signals:
            yield Dist(torch.device("cpu")), signals
        return
    signals = StopSignals(int(os.environ["RANK"]))
    with _joined(cfg, signals) as dist, signals:
        yield dist, signals


@contextlib.contextmanager
def _joined(cfg: ParallelConfig, signals: StopSignals) -> Iterator[Dist]:
    """Meets the other processes, and sees to it that of several that fail one speaks.

    gloo connects main memories, NCCL the GPUs.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, size, local_rank, local_size = (int(os.environ[name]) for name in PLACE)
    if cfg.nproc not in (None, local_size):
        raise ConfigError(f"parallel.nproc={cfg.nproc}, but torchrun has started {local_size} processes here")
    cuda = torch.cuda.is_available()
    if cuda and local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    with peers():
        store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        ours = PrefixStore("gptforge", store)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        c10d.init_process_group(backend, store=ours, rank=rank, world_size=size, timeout=PATIENCE)
    dist = Dist(torch.device("cpu"), rank, size, local_rank, local_size, ours)
    try:
        yield dist
    except PeerLost:
        _await_end(dist, signals)
        raise
    except Stopped:
        raise
    except Exception as e:
        told = str(e) if isinstance(e, UserError) else "".join(traceback.format_exception(e))
        if not dist.claim_failure(told):
            raise SystemExit(getattr(e, "exit_code", EXIT_BUG)) from None
        raise
    c10d.destroy_process_group()


def _await_end(dist: Dist, signals: StopSignals) -> None:
    """What a process does whose peer has gone: it leaves the word to the one that failed, or to the agent.

    Returns only if nobody has said anything for a while, so that it must speak itself.
    """
    if signals.asked:  # by the user, or by the agent, which has seen the other one end
        raise SystemExit(EXIT_STOPPED)
    time.sleep(LAST_WORDS)  # a signal ends this, the handlers being gone
    if dist.failure():
        raise SystemExit(EXIT_BUG)
