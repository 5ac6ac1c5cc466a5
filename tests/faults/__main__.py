"""Does harm to gptforge and tells whether its promises hold: one line a fault.

    cd tests; python -m faults [ID ...] [--full] [--trials N] [--seed N] [--workers N]

`make faults` runs the quick set, `make faults-full` the full one. A line is

    id  passed/N  seconds of the slowest trial  seed  the promise

and the seed is that of the first failure; `python -m faults ID --seed N --trials 1` replays it.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import gptforge
from faults import (
    changes,
    configs,
    damage,
    disk,
    exports,
    fuzz,
    inputs,
    kills,
    leaks,
    lives,
    numbers,
    offline,
    security,
    source,
    stops,
    together,
    worlds,
)  # fmt: skip
from faults.suite import FIRST_SEED, Fault, Verdict, run, say


def all_faults() -> list[Fault]:
    """Every fault there is, in the order in which they are run."""
    modules = (
        kills, worlds, stops, changes, damage, disk, exports, lives, together,
        inputs, numbers, configs, source, security, fuzz, leaks, offline,
    )  # fmt: skip
    return [fault for module in modules for fault in module.FAULTS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="faults to run (default: all)")
    parser.add_argument("--full", action="store_true", help="as many trials as docs/reliability.md reports")
    parser.add_argument("--trials", type=int, help="so many trials of each")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first trial")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    given = parser.parse_args()
    faults = all_faults()
    if unknown := set(given.ids) - {fault.id for fault in faults}:
        parser.error(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(f.id for f in faults)}")
    # The commands that trials start in other folders must be those of this source, however it was named
    source = str(Path(gptforge.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.perf_counter()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="gptforge-faults-", ignore_cleanup_errors=True) as folder:
        os.environ["GPTFORGE_FAULTS"] = folder
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))  # trials work in other folders
        os.environ.setdefault("GPTFORGE_CACHE", os.environ.get("GPTFORGE_TEST_CACHE") or f"{folder}/cache")
        for fault in faults:
            if given.ids and fault.id not in given.ids:
                continue
            trials = given.trials or (fault.full if given.full else fault.quick)
            if not trials:
                continue
            found = Verdict(fault, list(run(fault, range(given.seed, given.seed + trials), given.workers)))
            print(found.line(), flush=True)
            broken += not found.kept
            failed = [outcome for outcome in found.outcomes if outcome.wrong]
            for outcome in failed[:1]:
                say(f"--- {fault.id}, seed {outcome.seed}\n{outcome.wrong}")
            if failed[1:]:
                say(f"--- {fault.id} failed as well with the seeds {', '.join(str(o.seed) for o in failed[1:])}")
    verdict = f"{broken} promises are broken" if broken else "all promises hold"
    say(f"{verdict}; {time.perf_counter() - began:.0f} s")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
