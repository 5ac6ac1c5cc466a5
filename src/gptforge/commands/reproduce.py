"""gptforge reproduce: trains a run anew and says whether it comes to the same weights."""

import json
import sys
from typing import Any

from gptforge import history, launch
from gptforge.config import ReproduceConfig
from gptforge.config.schema import shown
from gptforge.errors import EXIT_DIFFERENT, EXIT_DONE, Stopped, UserError
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.runs import Call
from gptforge.train.again import Goal, goal, train_again


def run(cfg: ReproduceConfig, call: Call) -> int:
    """The exit code: 0 for the same weights, 8 for others."""
    aim = goal(history.find(cfg.run), cfg.ui)
    if (count := launch.processes(aim.config)) > 1:
        return launch.run(in_place, (aim, call, cfg.json), count)
    return here(aim, call, cfg.json)


def in_place(aim: Goal, call: Call, as_json: bool) -> int:
    """The same as one of several processes."""
    try:
        return here(aim, call, as_json)
    except UserError as e:
        say(f"gptforge: {e}")
        return e.exit_code
    except Stopped as e:
        return e.exit_code


def here(aim: Goal, call: Call, as_json: bool) -> int:
    with launch.place(aim.config.parallel) as (dist, signals):
        found = train_again(aim, call, dist, signals)
    if dist.main and as_json:
        print(json.dumps(found, indent=2))
    elif dist.main:
        tell(found, Screen(sys.stdout))
    return EXIT_DONE if found["same"] or not dist.main else EXIT_DIFFERENT


def tell(found: dict[str, Any], screen: Screen) -> None:
    hashes, names = found["weights_sha256"], f"{found['run']} and {found['new']}"
    lines = [f"{'the same' if found['same'] else 'other'} weights after step {found['step']:,}: {names}"]
    lines += [f"  sha256 {hashes['run']}"] if found["same"] else [f"  sha256 {hashes[n]} ({n})" for n in ("run", "new")]
    lines += found["notes"]
    if found["differs"]:
        lines.append("what differs:")
        lines += [f"  {name}: {shown(then)} -> {shown(now)}" for name, (then, now) in found["differs"].items()]
    elif not found["same"] and not found["changed_on_the_way"]:
        lines.append(
            "nothing that is known of the machines differs; runtime.deterministic=true refuses kernels that vary"
        )
    for line in lines:
        screen.line(screen.clean(line))
