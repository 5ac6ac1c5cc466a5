"""The files of conf/: where they are, and what the options that somebody chose set. No hydra."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gptforge.config.schema import to_dict

WHOLE = "# @package _global_"  # the first line of an option that sets keys of other groups too


def conf_dir() -> Path:
    """conf/ inside the installed package, or at the top of an editable checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def with_options(schema: type, chosen: Mapping[str, str | None]) -> dict[str, Any]:
    """The defaults of a schema's keys with packaged options merged in; {group: option}. Others are left out."""
    tree = to_dict(schema())
    for group, option in chosen.items():
        if not option or Path(option).name != option or not isinstance(tree.get(group), dict):
            continue  # the names may come from a file that anyone wrote
        path = Path(conf_dir(), group, f"{option}.yaml")
        if os.path.isfile(path):  # unlike Path.is_file it takes names that are too long
            whole = path.read_text(encoding="utf-8").startswith(WHOLE)
            _merge(tree if whole else tree[group], read_yaml(path))
    return tree


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        if isinstance(value, dict):
            _merge(tree[name], value)
        else:
            tree[name] = value
