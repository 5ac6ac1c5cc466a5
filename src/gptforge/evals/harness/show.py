"""What tasks gave, on a terminal and as the name of a file. Knows the JSON form only, see run.py."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptforge.evals.show import Table, run_of, write
from gptforge.logs.screen import Screen

HEADS = ("", ">shots", ">examples", "figure", "better", ">", ">standard error")


def show(result: Mapping[str, Any], screen: Screen) -> None:
    """Writes the result for people: drawn on a terminal, as plain aligned text elsewhere."""
    write(_head(result), _tables(result), screen)
    screen.line(f"\n{sum(task['examples'] for task in result['tasks']):,} examples in {result['seconds']:.1f} s")


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    checkpoint, how = result["checkpoint"], result["how"]
    where = f"step {checkpoint['step']:,}, tasks of the lm-evaluation-harness {how['lm_eval']}"
    yield f"{run_of(Path(checkpoint['path'])).name}, {where}; {how['dtype']} on {how['device']}"
    if how["limit"] is not None:
        yield f"limit={how['limit']}: of each task the first examples only"


def _tables(result: Mapping[str, Any]) -> Iterator[Table]:
    tasks = [
        (task["name"], str(task["num_fewshot"]), f"{task['examples']:,}", task["figures"]) for task in result["tasks"]
    ]
    yield Table("tasks", HEADS, [row for task in tasks for row in _rows(*task)])
    if result["groups"]:
        groups = [(group["name"], "", "", group["figures"]) for group in result["groups"]]
        yield Table("groups of tasks", HEADS, [row for group in groups for row in _rows(*group)])


def _rows(name: str, shots: str, examples: str, figures: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A row for each figure; whose it is stands in the first."""
    for n, figure in enumerate(figures):
        label = figure["metric"] if figure["filter"] == "none" else f"{figure['metric']}, {figure['filter']}"
        better = {True: "higher", False: "lower", None: ""}[figure["higher_is_better"]]
        stderr = "" if figure["stderr"] is None else f"{figure['stderr']:.4f}"
        whose = ("", "", "") if n else (name, shots, examples)
        yield (*whose, label, better, f"{figure['value']:.4f}", stderr)


def file_name(result: Mapping[str, Any]) -> str:
    """Tells evaluations of one run apart: by step, tasks, shots and limit; the same one again has the same name."""
    names = [task["name"] for task in result["tasks"]]
    asked = {key: result["how"][key] for key in ("num_fewshot", "limit")}
    label = re.sub(r"[^\w.-]+", "-", "-".join(names))[:60]
    shots = "" if asked["num_fewshot"] is None else f"-{asked['num_fewshot']}-shot"
    limit = "" if asked["limit"] is None else f"-limit{asked['limit']}"
    digest = hashlib.sha256(json.dumps([names, asked]).encode()).hexdigest()[:8]
    return f"eval-{result['checkpoint']['step']:06d}-tasks-{label}{shots}{limit}-{digest}.json"
