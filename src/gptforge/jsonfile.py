"""JSON files of ours, which may come back from anyone: limits before anything is made of what they hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptforge.durable import write_text
from gptforge.errors import CheckpointError

MAX_BYTES = 40_000_000  # the largest of ours, the training state of a thousand processes, has 20 MB
MAX_VALUES = 2_000_000  # numbers, texts, lists and objects, each up to 60 bytes of memory; the largest has 1 million
MAX_DEPTH = 40  # ours are nested ten deep at most
DIGEST = "manifest_sha256"  # the key of a manifest's digest of itself


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object of ours, which may come from anyone. Raises CheckpointError that says which file and why."""
    try:
        with open(path, "rb") as f:
            content = f.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        if sum(map(content.count, b"[{,")) > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values")
        value = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_object)
    except FileNotFoundError:
        raise CheckpointError(f"{what} is missing", where=str(path)) from None
    except OSError as e:
        raise CheckpointError(f"{what} cannot be read: {e.strerror or e}", where=str(path)) from None
    except (ValueError, RecursionError) as e:
        reason = "it is nested too deep" if isinstance(e, RecursionError) else e
        raise CheckpointError(f"{what} cannot be read: {reason}", where=str(path)) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} holds no JSON object", where=str(path))
    if _depth_over(value, MAX_DEPTH):
        raise CheckpointError(f"{what} cannot be read: it is nested too deep", where=str(path))
    return value


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with a digest of itself, by which damage is found."""
    return {**manifest, DIGEST: digest_of(manifest)}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of all values but the digest itself."""
    rest = {k: v for k, v in manifest.items() if k != DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are different, so that nobody can read another value than we do."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r:.60} twice")
    return found


def _depth_over(value: Any, most: int) -> bool:
    """Whether lists and objects are nested deeper than this; without recursion, for they may be so by thousands."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
