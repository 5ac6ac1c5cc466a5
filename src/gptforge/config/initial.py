"""The config of a run that begins with the weights of another: whose model and tokenizer it then has. No torch.

Weights fit one shape only. So that what is set of the model beside `init` is either a key that leaves the shapes as
they are, or a mistake that is named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptforge.config import ModelConfig, TrainConfig
from gptforge.config.saved import load_config, read_saved
from gptforge.config.schema import Problem, build, config_error, flatten, shown, to_dict
from gptforge.runs import CLAIM, candidates

# Keys of the model that may be others than those that its weights were learnt with
FREE = (
    "block_size", "dropout", "attention.dropout", "attention.window", "attention.dense_every", "rope.theta",
    "rope.scaling", "rope.factor", "rope.low", "rope.high", "rope.original", "moe.bias_rate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Typed:
    """What was composed beside `init`: the names that were typed, the options chosen and those that are the default,
    and of the default model its keys as they stand in its file."""

    names: set[str]
    choices: Mapping[str, str]
    defaults: Mapping[str, str | None]
    default_model: Mapping[str, Any]


def begun_from(tree: dict[str, Any], typed: Typed) -> tuple[dict[str, Any], dict[str, str]]:
    """The tree of a TrainConfig with `init`, with the model and tokenizer of that run, and the options as they now are.

    `init` becomes the checkpoint that it means now: `latest` will be another one. Raises ConfigError for what does not
    go with the weights, CheckpointError for what is no run.
    """
    init = str(tree["init"])
    newest = candidates(init)[0]
    base = load_config(TrainConfig, newest / CLAIM)
    model = flatten(to_dict(base.model))
    own = _set_beside(flatten(tree["model"]), typed)
    problems = [*_options(init, typed), *_objective(init, base, tree, typed)]
    if problems := problems or list(_keys(init, base.model, model, own)):
        raise config_error(problems)
    changed: dict[str, Any] = {**tree, "init": str(newest), "model": _nested(model | own)}
    if tree["objective"]["kind"] != base.objective.kind:
        own_of = {k: v for k, v in tree["objective"].items() if f"objective.{k}" in typed.names}
        changed["objective"] = to_dict(base.objective) | own_of
    changed["tokenizer"] = to_dict(base.tokenizer) | {"unknown": tree["tokenizer"].get("unknown", "error")}
    before = read_saved(newest / CLAIM).get("choices", {})
    label = str(before.get("model") or newest.resolve().name)
    return changed, {**typed.choices, "model": label, "tokenizer": base.tokenizer.kind}


def _set_beside(model: Mapping[str, Any], typed: Typed) -> dict[str, Any]:
    """The keys of the model that somebody has set: on the command line, or in an experiment."""
    plain = flatten(to_dict(build(ModelConfig, typed.default_model)))
    return {k: v for k, v in model.items() if f"model.{k}" in typed.names or v != plain.get(k)}


def _options(init: str, typed: Typed) -> Iterator[Problem]:
    """An option of a group that the run brings along."""
    for group in ("model", "tokenizer"):
        option = typed.choices.get(group)
        if group in typed.names or option != typed.defaults.get(group):
            yield Problem(group, f"{group}={option}: init={init} brings its own {group}", f"leave {group}= out")
    for name in sorted(typed.names):
        if name.startswith("tokenizer.") and name != "tokenizer.unknown":
            yield Problem(name, f"{name}: init={init} brings its own tokenizer", f"leave {name} out")


def _objective(init: str, base: TrainConfig, tree: Mapping[str, Any], typed: Typed) -> Iterator[Problem]:
    """A model that sees both sides of a token is another than one that sees its left."""
    asked, kind = tree["objective"]["kind"], base.objective.kind
    if asked != kind and {"objective", "objective.kind"} & typed.names:
        yield Problem(
            "objective", f"objective={asked}: init={init} is a model of objective={kind}", f"objective={kind}"
        )


def _keys(init: str, base: ModelConfig, model: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys that its weights do not fit."""
    for key, value in own.items():
        if key in model and key not in FREE and value != model[key]:
            what = f"model.{key}={shown(value)}: the weights of init={init} are of model.{key}={shown(model[key])}"
            yield Problem(f"model.{key}", what, f"leave model.{key} out")
    longer = own.get("block_size", 0)
    if base.position == "learned" and isinstance(longer, int) and longer > base.block_size:
        what = f"model.block_size={longer}: init={init} has learnt {base.block_size} positions"
        yield Problem("model.block_size", what, f"model.block_size={base.block_size} or less")


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    return tree
