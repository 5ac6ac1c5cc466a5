"""The best point of a sweep as an option of `experiment=`: what it chose, and every key that is not as that says.

Knows conf/ and the frozen configs of a sweep, not how they were trained.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from gptforge import __version__
from gptforge.compose import default_options
from gptforge.config import TrainConfig
from gptforge.config.schema import flatten
from gptforge.durable import make_directories, write_text
from gptforge.history import NEXT_TOKEN
from gptforge.jsonfile import read_json
from gptforge.option_files import conf_dir, read_yaml, with_options
from gptforge.sweep.points import BEST, Sweep
from gptforge.sweep.table import rows

# Of one start, or of one machine
NOT_OF_IT = ("resume", "resume_allow", "dry_run", "ui", "runtime.threads", "train.stop_after")


def write(sweep: Sweep) -> Path | None:
    """Writes experiment/best.yaml into the sweep's directory; None where no point has come to its end, or where points
    learnt other things (objective), of which none is the best.

    Of points that differ in their seed alone it is the first.
    """
    row = next((row for row in rows(sweep) if row.finished), None)
    if row is None or len(set(_objectives(sweep))) > 1:
        return None
    saved = read_json(sweep.frozen(row.points[0]), "the frozen config")
    kept = {override.partition("=")[0] for override in row.points[0].overrides}
    repeats = f", the mean of {len(row.bits)} seeds" if len(row.bits) > 1 else ""
    head = [
        "# @package _global_",
        f"# the best of a sweep of {len(sweep.points)} points: {row.mean():.4f} bits per byte{repeats}",
        f"# Made by gptforge {__version__}: " + " ".join(" ".join(row.overrides).split()),
    ]
    path = sweep.path / BEST
    make_directories(path.parent)
    write_text(path, "\n".join(head) + "\n" + yaml.safe_dump(option(saved, kept), sort_keys=False, allow_unicode=True))
    return path


def _objectives(sweep: Sweep) -> Iterator[str]:
    for point in sweep.points:
        if sweep.frozen(point).exists():
            config = read_json(sweep.frozen(point), "the frozen config")["config"]
            yield config.get("objective", {}).get("kind", NEXT_TOKEN)


def option(saved: dict[str, Any], typed: Collection[str] = ()) -> dict[str, Any]:
    """A frozen config as what an option's file holds; an option of the user's own is written out.

    Of the keys that are of one machine, those stay that were `typed`.
    """
    brought = ("model", "tokenizer") if saved["config"].get("init") else ()  # by the run that it begins with
    chosen = {g: name for g, name in saved["choices"].items() if _is_plain(g, name) and g not in brought}
    known = {group: name for group, name in default_options("train").items() if group != "experiment"}
    base = flatten(with_options(TrainConfig, known | chosen))
    tree: dict[str, Any] = {"defaults": [{f"override /{g}": name} for g, name in chosen.items() if name != known[g]]}
    for key, value in flatten(saved["config"]).items():
        if brought and key.startswith("tokenizer.") and key != "tokenizer.unknown":
            continue
        if value != base[key] and (key not in NOT_OF_IT or key in typed):
            *sections, leaf = key.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = _plain(value)
    return tree if tree["defaults"] else {key: value for key, value in tree.items() if key != "defaults"}


def _is_plain(group: str, name: str) -> bool:
    """Whether an option is one of ours that sets the keys of its own group alone."""
    path = conf_dir() / group / f"{name}.yaml"
    return group != "experiment" and path.is_file() and "defaults" not in read_yaml(path)


def _plain(value: Any) -> Any:
    """A value whose texts stand for themselves, where OmegaConf would look for ${…}."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + "\\${", value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
