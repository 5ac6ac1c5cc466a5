"""Several runs beside each other: what differs in their configs, how they did, and whether that is more than noise.

As JSON values, for terminals and pages. Runs that differ in nothing but the seed, and in what has no influence on the
weights, are repeats of one configuration: a group. Knows not how any of it is shown.
"""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from gptforge.config import TrainConfig
from gptforge.config.schema import Resume, flatten, leaves, to_dict
from gptforge.history import DONE
from gptforge.logs.series import finite, points
from gptforge.report.noise import judged
from gptforge.report.run_account import account, metrics
from gptforge.runs import Run

LETTERS = string.ascii_uppercase + string.ascii_lowercase
CONFIDENCE = 0.95
DECIDED = (
    "steps",
    "warmup_steps",
    "context_warmup",
    "dropout",
    "dtype",
    "init",
)  # decisions that the weights depend on
OF_THE_COURSE = ("train.on_spike", "train.on_nonfinite", "train.early_stop_patience")  # though they may change later
FIGURES = (
    "best_val_loss", "val_bpb", "steps", "tokens", "seconds", "tokens_per_second", "parameters", "peak_memory_bytes",
)  # fmt: skip
PLAIN = to_dict(TrainConfig().objective)
WITHIN, LARGER, UNKNOWN = "within seed noise", "larger than seed noise", "not to be told"
LOSS, BITS = "best_val_loss", "best_val_bpb"


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything about the difference between runs, two or more and at most 52."""
    told = [account(run) for run in runs]
    records = [metrics(run, []) for run in runs]
    differing = _differing([flatten(one["config"]) for one in told])
    objectives = [one["config"].get("objective") for one in told if one["config"]]
    metric, why = judge_by([one["data_facts"] for one in told], objectives)
    over = "tokens" if {"train.batch_size", "model.block_size"} & differing.keys() else "step"
    of_loss = metric != BITS
    shown = [
        {
            "letter": letter,
            **{name: one[name] for name in ("name", "path", "status", "model", "data", "tags", "missing")},
            "seed": one["config"].get("seed"),
            "identity": identity(one),
            "weights_sha256": one["results"].get("weights_sha256"),
            "figures": _figures(one, kept),
            "curve": points(kept, "val_loss" if of_loss else "val_bpb", over),
        }
        for letter, one, kept in zip(LETTERS, told, records, strict=False)
    ]
    groups = _groups(shown, metric)
    return {
        "runs": shown,
        "differ": differing,
        "decided": _differing([_decided(one["decisions"]) for one in told]),
        "metric": metric,
        "why": why,
        "over": over,
        "groups": groups,
        "verdicts": list(_verdicts(groups)) if metric else [],
        "notes": list(_notes(shown, groups, metric)),
    }


def judge_by(facts: Sequence[Mapping[str, Any]], objectives: Sequence[Any] = ()) -> tuple[str | None, str]:
    """Which figure can be compared between runs, best_val_loss or best_val_bpb, if any; and why not every one.

    `objectives` are the sections of the configs that are known, None where one is older than they are.
    """
    learnt = [{**PLAIN, **(one if isinstance(one, dict) else {})} for one in objectives]
    if any(one != learnt[0] for one in learnt):
        return None, "they learn other things (objective): a loss says nothing of another one's"

    def of(name: str) -> set[Any]:
        return {fact.get(name) if isinstance(fact.get(name), str) else None for fact in facts}

    if None in of("data"):
        return LOSS, "of some runs it is not known which text they learnt: losses are compared as if it were the same"
    if len(of("data")) == 1:
        return LOSS, ""
    if None not in of("validation") and len(of("validation")) == 1 and learnt[:1] not in ([], [PLAIN]):
        return None, "the tokens differ, so losses of hidden ones cannot be compared, and bits per byte there are none"
    if None not in of("validation") and len(of("validation")) == 1:
        return BITS, "the tokens differ, so losses (per token) cannot be compared; bits per byte can"
    if None in of("validation"):
        return None, "the tokens differ, and of some runs it is not known on which text they were evaluated"
    return None, "they were evaluated on different texts: neither losses nor bits per byte can be compared"


def identity(told: Mapping[str, Any]) -> str:
    """What makes two runs repeats of one configuration: all that has an influence on the weights, but for the seed."""
    config, text = flatten(told["config"]), told["data_facts"].get("data")
    kept: dict[str, Any] = {}
    for leaf in leaves(TrainConfig):
        resume = leaf.meta["resume"]
        free = resume is Resume.FREE or (resume is Resume.ALLOW and leaf.name not in OF_THE_COURSE)
        of_text = text is None and leaf.name.startswith(("data.", "tokenizer."))  # then it is known by its place
        if (not free or of_text) and leaf.name != "seed":
            kept[leaf.name] = config.get(leaf.name)
    decided = _decided(told["decisions"])
    kept |= {f"decided {name}": decided.get(name) for name in DECIDED}
    return json.dumps([text, kept], sort_keys=True)


def _decided(decisions: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get("value") for name, one in decisions.items() if isinstance(one, dict)}


def _differing(trees: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The names whose values are not the same everywhere, with the value of each run; None is what one lacks.

    A run of which nothing is known differs in nothing.
    """
    known = [tree for tree in trees if tree]
    names = dict.fromkeys(name for tree in known for name in tree)
    found = [name for name in names if any(tree.get(name) != known[0].get(name) for tree in known)]
    return {name: [tree.get(name) for tree in trees] for name in found}


def _figures(told: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    found = {name: finite(told["results"].get(name)) for name in FIGURES}
    bits = [y for _, y in points(records, "val_bpb")]
    return found | {BITS: min(bits, default=found["val_bpb"])}


def _groups(runs: Sequence[Mapping[str, Any]], metric: str | None) -> list[dict[str, Any]]:
    """The configurations, in the order of their first runs, with one value a seed of the runs that are done."""
    groups: list[dict[str, Any]] = []
    for name in dict.fromkeys(run["identity"] for run in runs):
        members = [run for run in runs if run["identity"] == name]
        by_seed: dict[Any, list[float]] = {}
        for run in members:
            value = run["figures"][metric] if metric else None
            if run["status"] == DONE and value is not None:
                by_seed.setdefault(str(run["seed"]), []).append(value)
        values = [fmean(same) for same in by_seed.values()]
        groups.append(
            {
                "letters": [run["letter"] for run in members],
                "seeds": list(by_seed),
                "values": values,
                "mean": fmean(values) if values else None,
                "sd": stdev(values) if len(values) > 1 else None,
            }
        )
    return groups


def _verdicts(groups: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each configuration against the first. With several, the intervals are wide enough to hold all at once."""
    known = [group for group in groups if group["values"]]
    for other in known[1:]:
        first = known[0]
        rest = [group["values"] for group in groups if group not in (first, other)]
        found = judged(first["values"], other["values"], rest, 1 - (1 - CONFIDENCE) / (len(known) - 1))
        told = {"first": first["letters"], "second": other["letters"], "difference": other["mean"] - first["mean"]}
        if found is None:
            yield told | {"verdict": UNKNOWN}
            continue
        limits = {"low": found.low, "high": found.high, "degrees_of_freedom": found.degrees}
        how = {"confidence": found.confidence, "method": found.method}
        yield told | limits | how | {"verdict": LARGER if found.larger else WITHIN}


def _notes(runs: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]], metric: str | None) -> Iterator[str]:
    """What the reader should know of the verdict."""
    for run in runs:
        if run["status"] != DONE:
            yield f"{run['letter']} is {run['status']}: it is left out of the verdict"
        elif metric and run["figures"][metric] is None:
            yield f"{run['letter']} has no evaluation: it is left out of the verdict"
    for group in groups:
        members = [run for run in runs if run["letter"] in group["letters"] and run["status"] == DONE]
        for seed in dict.fromkeys(str(run["seed"]) for run in members):
            same = [run for run in members if str(run["seed"]) == seed]
            if len(same) > 1:
                hashes = {run["weights_sha256"] for run in same}
                weights = "the same weights" if len(hashes) == 1 and None not in hashes else "other weights"
                yield f"{', '.join(r['letter'] for r in same)} have the same seed, and {weights}: they count as one"
    judgeable = [group for group in groups if group["values"]]
    if metric and len(judgeable) > 1 and all(len(group["values"]) == 1 for group in judgeable):
        again = f"gptforge train config={runs[0]['path']}/config.json seed=2"
        yield f"one run each: no telling it from seed noise; repeat each with two other seeds: {again}"
    elif metric and len(judgeable) == 1 and len(judgeable[0]["values"]) > 1:
        yield "one configuration with several seeds: what differs is seed noise"
    elif metric and any(group["sd"] == 0 for group in judgeable):
        yield "repeats with equal results tell nothing about noise"
