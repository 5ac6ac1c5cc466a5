"""A gptforge command line that tells when it comes to a phase, and stays there a while: python -m faults.held.

    python -m faults.held PHASE NTH SECONDS WORD ...

At the NTH call of a function of the PHASE it writes a line to stdout, waits so many seconds, and goes on. Knows nothing
of what is done to it meanwhile.
"""

import importlib
import itertools
import sys
import time
from typing import Any

# Where a phase is to be found: MODULE:NAME, the first of these that is called
PHASES = {
    "start": ("gptforge.compose:from_command_line",),
    "import": ("gptforge.cli:perform",),
    "prepare": ("gptforge.train.parts:prepare", "gptforge.data.prepare:collect", "gptforge.data.store:commit"),
    "train": ("gptforge.data.loader:TrainLoader.batch",),
    "evaluate": ("gptforge.train.evaluation:evaluate",),
    "save": ("gptforge.checkpoint:_write_synced", "gptforge.checkpoint:sync_directory"),
    "sample": ("gptforge.train.evaluation:generate_text",),
    "end": ("gptforge.train.keeper:Keeper.finish",),
    "exit": ("gptforge.cli:flushed",),
}


def hold(phase: str, nth: int, seconds: float) -> None:
    """Has the nth call in a phase wait."""
    calls = itertools.count(1)
    for place in PHASES[phase]:
        module, _, name = place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, last = name.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, last, _held(getattr(owner, last), calls, nth, seconds))


def _held(function: Any, calls: Any, nth: int, seconds: float) -> Any:
    def held(*arguments: Any, **options: Any) -> Any:
        if next(calls) == nth:
            print("here", flush=True)
            time.sleep(seconds)
        return function(*arguments, **options)

    return held


def main() -> None:
    phase, nth, seconds, *words = sys.argv[1:]
    hold(phase, int(nth), float(seconds))
    from gptforge import cli

    sys.argv = ["gptforge", *words]
    cli.main()


if __name__ == "__main__":
    main()
