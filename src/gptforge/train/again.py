"""A run trained anew from what it left, to see whether it comes to the same weights; and what differs if it does not.

The config, the decisions and the machinery are those of any run. What the new one is measured by is read before it
begins: the hash of the final weights, or that of the newest checkpoint of a run that has not ended.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptforge import history
from gptforge.checkpoint import first_sound, load_model, newest_sound, weights_sha256
from gptforge.config import TrainConfig
from gptforge.config.saved import OF_ONE_START, as_saved, of_new_start, read_saved
from gptforge.config.units import shown_count
from gptforge.dist import Dist
from gptforge.errors import CheckpointError, DataError, Stopped
from gptforge.jsonfile import read_json
from gptforge.notices import slow_work
from gptforge.runs import Call, Run, run_name
from gptforge.signals import StopSignals
from gptforge.train.parts import Parts, build_parts
from gptforge.train.plan import REFUSED, fingerprint
from gptforge.train.trainer import Trainer

KINDS: dict[str, type | tuple[type, ...]] = {  # of the decisions that a new start takes over
    "device": str, "dtype": str, "compile": bool, "threads": int, "tf32": (bool, type(None)), "micro_batch_size": int,
    "context_warmup": int, "dropout": (int, float), "processes": int, "init": str,
}  # fmt: skip
MOODS = ("memory_free_bytes", "cuda_memory_free_bytes")  # of env.json, what has no influence
OF_MACHINE = ("device", "dtype", "compile", "threads", "tf32", "micro_batch_size", "processes")


@dataclasses.dataclass(frozen=True, slots=True)
class Goal:
    """What is to come out again: the weights of a run at its end, or after `step`, if that is given."""

    run: Run
    config: TrainConfig
    choices: Mapping[str, str]
    decisions: Mapping[str, Any]
    weights: str
    step: int | None
    text: Mapping[str, Any]  # fingerprints of text and tokenizer, as far as they are known
    changed: list[str] | None  # what became other while it went on, where that is known
    notes: list[str]


def goal(run: Run, ui: str) -> Goal:
    """What a run left to be reproduced. Raises CheckpointError where that is not enough, or cannot come out again."""
    entry = history.read(run.pointer_name, run)
    if entry.status == history.BROKEN:
        raise CheckpointError(f"{run.path} cannot be reproduced: {entry.note}", where=str(run.path))
    said, step, notes = _read(run.summary), None, []
    weights = said.get("weights_sha256") if entry.status == history.DONE else None
    if not isinstance(weights, str):
        if not run.steps():
            what = f"{run.path} has neither ended nor saved: there is nothing to compare with"
            raise CheckpointError(what, fix=f"gptforge train resume={run.pointer_name}")
        loaded = load_model(str(first_sound(run.newest_first())[0]))
        weights, step = weights_sha256(loaded.model), loaded.step
        notes.append(f"the run is {entry.status}: its checkpoint of step {step} is reproduced")
    changes = {"ui": ui, "tracker": []} | ({"train.stop_after": str(step)} if step is not None else {})
    config = of_new_start(TrainConfig, run.config, OF_ONE_START, changes)
    if config.train.time:
        raise CheckpointError(
            f"{run.path} has a time for its length, train.time={config.train.time}: how many steps fit into it differs",
            where=str(run.config),
            fix=f"gptforge train config={run.config} train.time=null train.steps={entry.step or 1000}",
        )
    changed = _changed(run, said)
    if changed:
        what = "the run went on with other values, so the same weights are not to be expected"
        notes.append(f"{what}: {'; '.join(changed)}")
    elif changed is None:
        notes.append("it is not known whether the run went on with other values, which would give other weights")
    text = _text(run)
    if not text.get("data"):
        notes.append("it is not known which text the run learnt: another one would give other weights")
    choices = {str(k): str(v) for k, v in read_saved(run.config).get("choices", {}).items()}
    return Goal(run, config, choices, _decisions(run), weights, step, text, changed, notes)


def _changed(run: Run, said: Mapping[str, Any]) -> list[str] | None:
    """What became other while a run went on; None if that is not known."""
    if isinstance(recorded := said.get("changed_on_the_way"), list):
        return [str(one) for one in recorded]
    typed = _typed(run)  # an earlier gptforge has left no more of it
    allowed = [word for word in typed if word.startswith("resume_allow")]
    return allowed or (None if any(word.startswith("resume=") for word in typed) else [])


def _typed(run: Run) -> list[str]:
    with contextlib.suppress(OSError):
        return (run.path / "overrides.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _decisions(run: Run) -> dict[str, Any]:
    """Those of the run. Raises CheckpointError for values that no run can have decided."""
    held = read_json(run.decisions, "the decisions")
    for name, kind in KINDS.items():
        one = held.get(name)
        if name in held and not (isinstance(one, dict) and "reason" in one and isinstance(one.get("value"), kind)):
            raise CheckpointError(f"{name} in the decisions is {json.dumps(one):.40}", where=str(run.decisions))
    if "device" not in held:
        raise CheckpointError("the decisions name no device", where=str(run.decisions))
    return held


def _text(run: Run) -> dict[str, Any]:
    """The fingerprints of what was learnt: of data.json, or of the newest sound checkpoint if there is one."""
    with contextlib.suppress(CheckpointError):
        return read_json(run.data, "what is known of the text")
    if checkpoint := newest_sound(run, max(run.steps(), default=0)):
        with contextlib.suppress(CheckpointError, LookupError):
            return dict(read_json(checkpoint / "state.json", "the training state")["fingerprint"])
    return {}


def train_again(goal: Goal, call: Call, dist: Dist, signals: StopSignals) -> dict[str, Any]:
    """Trains anew in a directory of its own, and says how it compares: JSON values, of which `same` is the answer.

    Raises DataError for another text than the run learnt; Stopped when it is stopped before it is there.
    """
    parts, dist = build_parts(goal.config, None, goal.decisions, slow_work(goal.config.ui), dist)
    _check_text(goal, parts)
    typed = Call([f"config={goal.run.config}"], goal.choices, call.directory)
    name = run_name(goal.config.data.source, goal.choices.get("model", "custom"))
    new = dist.first(lambda: Run.create(as_saved(goal.config, goal.choices), name, typed))
    try:
        summary = Trainer(goal.config, new, dist, parts, typed, signals).fit()
    except Stopped:
        if goal.step is None or signals.asked:
            raise
        summary = dist.first(lambda: read_json(new.summary, "the summary"))
    same = dist.first(lambda: summary["weights_sha256"] == goal.weights)  # one answer for all processes
    return {
        "run": goal.run.pointer_name,
        "new": new.pointer_name,
        "step": summary["steps"],
        "same": same,
        "weights_sha256": {"run": goal.weights, "new": summary["weights_sha256"]},
        "differs": {} if same else dist.first(lambda: differences(goal.run, new)),
        "changed_on_the_way": goal.changed,
        "notes": goal.notes,
    }


def _check_text(goal: Goal, parts: Parts) -> None:
    now = fingerprint(parts)
    for key, name in REFUSED.items():
        if isinstance(before := goal.text.get(key), str) and before != now[key]:
            tokens = f"now {shown_count(len(parts.dataset.train))} tokens"
            raise DataError(
                f"{name} is not the one that the run learnt ({tokens})",
                where=f"{parts.dataset.manifest.get('label')}; {key} {now[key]:.16}…, then {before:.16}…",
                fix="the text as it was then",
            )


def differences(run: Run, new: Run) -> dict[str, list[Any]]:
    """What is not the same in what two runs say of where they ran: {name: [then, now]}."""
    found: dict[str, list[Any]] = {}
    before, after = (_read(one.environment) for one in (run, new))
    for name in dict.fromkeys([*before, *after]):
        if name not in MOODS and before.get(name) != after.get(name):
            found[name] = [before.get(name), after.get(name)]
    before, after = (_read(one.decisions) for one in (run, new))
    for name in OF_MACHINE:
        then, now = (held[name].get("value") if isinstance(held.get(name), dict) else None for held in (before, after))
        if then != now:
            found[name if name != "device" else "runtime.device"] = [then, now]
    return found


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(CheckpointError):
        return read_json(path, "the environment")
    return {}
