"""Whether a user's file of an option can be given to Hydra: small, a table of names, and no more than it shows.

Knows YAML, not what the keys mean. A few lines of YAML may stand for more than a memory holds, by aliases of aliases.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from gptforge.errors import ConfigError

MOST_BYTES = 100_000  # ours have 1,000 at most
MOST_VALUES = 10_000  # in a file, each counted as often as it is meant
DEEPEST = 50
TEXT = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"


def check(dirs: Iterable[Path], groups: Iterable[str], overrides: Iterable[str]) -> None:
    """Raises ConfigError for a file in `dirs` that these overrides choose, and that cannot be an option of a group."""
    known = set(groups)
    own = [path for folder in dirs for group in known for path in sorted((folder / group).glob("*.yaml"))]
    typed = [override.partition("=") for override in overrides]
    chosen = {(group, name.strip()) for group, _, names in typed if group in known for name in names.split(",")}
    files = [path for path in own if (path.parent.name, path.stem) in chosen]
    if any(_chooses_others(path) for path in files):
        files = own
    for path in files:
        if wrong := fault(path):
            raise ConfigError(f"{path.name} cannot be an option: it {wrong}", where=str(path))


def fault(path: Path) -> str:
    """What is wrong with the file; nothing if it is sound."""
    try:
        with open(path, "rb") as f:
            content = f.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            return f"has more than {MOST_BYTES:,} bytes"
        root = yaml.compose(content.decode("utf-8-sig"), yaml.SafeLoader)
    except RecursionError:
        return "is nested too deep"
    except (OSError, ValueError, yaml.YAMLError) as e:
        return "cannot be read as YAML: " + " ".join(str(e).split())[:200]
    if root is None:
        return ""
    if not isinstance(root, yaml.MappingNode):
        return "is no table of keys and values"
    try:
        if _count(root, {}, 0) > MOST_VALUES:
            return f"stands for more than {MOST_VALUES:,} values, by its aliases"
    except ValueError as e:
        return str(e)
    return next(_strange_keys(root), "")


def _chooses_others(path: Path) -> bool:
    """Whether an option's file may bring in other files."""
    try:
        return b"defaults" in path.read_bytes()
    except OSError:
        return False


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for. Raises ValueError if it is within itself, or too deep."""
    if depth > DEEPEST:
        raise ValueError("is nested too deep, or within itself")
    if id(node) not in known:
        inner = _inner(node)
        known[id(node)] = 1 + sum(_count(child, known, depth + 1) for child in inner)
    return known[id(node)]


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _strange_keys(root: yaml.Node) -> Iterator[str]:
    """What is wrong with the keys of the tables, which must be names."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        for key in keys:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (TEXT, MERGE):
                shown = repr(key.value)[:60] if isinstance(key, yaml.ScalarNode) else "a list or table"
                yield f"has {shown} as a key, which is no name (line {key.start_mark.line + 1})"
        waiting += _inner(node)
