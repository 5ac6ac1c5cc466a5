"""gptforge doctor: what this machine has, and what to do about what it lacks."""

import dataclasses
import json
import sys

from gptforge.config import DoctorConfig
from gptforge.doctor import Check, checks
from gptforge.logs.screen import Screen, visible
from gptforge.runs import Call


def run(config: DoctorConfig, call: Call) -> int:
    """Print the report to stdout. A warning is no failure: the exit code is 0."""
    found = checks()
    screen = Screen(sys.stdout)
    if config.json:
        screen.line(json.dumps([dataclasses.asdict(check) for check in found], indent=2))
    elif screen.can_draw():
        _table(screen, found)
    else:
        _lines(screen, found)
    return 0


def _lines(screen: Screen, found: list[Check]) -> None:
    for check in found:
        screen.line(f"{'ok' if check.ok else 'warning':<8} {check.name:<11} {visible(check.value)}")
        if check.advice:
            screen.line(f"{'':<8} {'':<11} -> {visible(check.advice)}")


def _table(screen: Screen, found: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for check in found:
        value = Text(visible(check.value))
        if check.advice:
            value.append(f"\n-> {visible(check.advice)}", "yellow")
        table.add_row(Text("ok" if check.ok else "warning", "green" if check.ok else "yellow"), check.name, value)
    Console(file=screen, force_terminal=True).print(table)  # type: ignore[arg-type] - has what rich asks of a file
