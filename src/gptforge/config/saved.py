"""The config.json of a run or a checkpoint: written, read back, and compared when a run goes on. No hydra, no torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gptforge.config import SCHEMA_VERSION, SCHEMAS
from gptforge.config.schema import Leaf, Problem, Resume, build, config_error, flatten, leaves, shown, to_dict
from gptforge.errors import CheckpointError, ConfigError
from gptforge.jsonfile import read_json

C = TypeVar("C")
OF_ONE_RUN = ("resume", "resume_allow", "dry_run")  # keys that a new run does not take from a saved config
OF_ONE_START = (*OF_ONE_RUN, "train.stop_after")  # and those that speak of one start of a run only

# Keys that came after the first saved configs, with the value that leaves a run as it was without them
LATER = {("train", "context_warmup"): 0}


def as_saved(config: Any, choices: Mapping[str, str]) -> dict[str, Any]:
    """What config.json holds: every key, and the options chosen (for names and tables only)."""
    return {"schema_version": SCHEMA_VERSION, "choices": dict(choices), "config": to_dict(config)}


def read_saved(path: Path) -> dict[str, Any]:
    """A config.json of this version: schema_version, choices, config. Raises CheckpointError."""
    saved = read_json(path, "the saved config")
    version = saved.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise CheckpointError(
            f"its schema_version is {version!r}, this gptforge reads {SCHEMA_VERSION}",
            where=str(path),
            fix="use the gptforge that wrote it (its version is in env.json beside it)",
        )
    if not isinstance(saved.get("config"), dict) or not isinstance(saved.get("choices", {}), dict):
        raise CheckpointError(
            "the saved config holds no config", where=str(path), fix="config=RUN/config.json of a run"
        )
    for (section, name), value in LATER.items():
        if isinstance(found := saved["config"].get(section), dict):
            found.setdefault(name, value)
    return saved


def load_config(schema: type[C], path: Path) -> C:
    """A config.json as a checked `schema` object. Raises CheckpointError."""
    try:
        return build(schema, read_saved(path)["config"])
    except ConfigError as e:
        raise CheckpointError(f"the saved config is not valid: {e.what}", where=str(path)) from None


def of_new_start(
    schema: type[C],
    path: Path,
    leave_out: Sequence[str],
    changes: Mapping[str, Any],
    where: Callable[[str], str] = lambda key: "",
) -> C:
    """A saved config for another start: without the keys in `leave_out`, with `changes`; both by dotted names.

    Raises CheckpointError, or ConfigError for a change that cannot be; `where(key)` says where that came from.
    """
    tree = to_dict(load_config(schema, path))
    for key in leave_out:
        parent, leaf = _parent(tree, key)
        parent.pop(leaf, None)
    for key, value in changes.items():
        parent, leaf = _parent(tree, key)
        parent[leaf] = value
    return build(schema, tree, where)


def _parent(tree: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.get(section, {})
    return tree, leaf


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[Leaf, Any, Any]]:
    """The keys of a run that differ in two configs, each with both values."""
    before, after = flatten(old), flatten(new)
    for leaf in leaves(SCHEMAS["train"]):
        if (then := before.get(leaf.name, leaf.default)) != after[leaf.name]:
            yield leaf, then, after[leaf.name]


def refuse_changes(old: Mapping[str, Any], new: Mapping[str, Any], allowed: list[str]) -> None:
    """Raises CheckpointError for keys whose change would make it another run."""
    wrong = set(allowed) - {leaf.name for leaf in leaves(SCHEMAS["train"])}
    if wrong:
        raise config_error([Problem(k, f"resume_allow names {k!r}, which is no key") for k in sorted(wrong)])
    lines, fixes = [], []
    for key, then, now in changed_keys(old, new):
        if key.meta["resume"] is Resume.REFUSE:
            lines.append(f"{key.name}: {shown(then)} -> {shown(now)} would be another model or other data")
        elif key.meta["resume"] is Resume.UNLESS_ALLOWED and key.name not in allowed:
            lines.append(f"{key.name}: {shown(then)} -> {shown(now)} would change the run's course")
            fixes.append(key.name)
    if lines:
        fix = f"resume_allow=[{','.join(fixes)}] if that is meant" if len(fixes) == len(lines) else "start a new run"
        raise CheckpointError("a run goes on with its own config\n  " + "\n  ".join(lines[:5]), fix=fix)
