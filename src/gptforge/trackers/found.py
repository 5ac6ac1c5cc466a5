"""Which trackers there are, by name: ours, and those that installed packages bring. Imports none before it is used."""

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from gptforge.config.schema import nearest, shown
from gptforge.errors import ConfigError, UserError, missing_extra
from gptforge.trackers import Tracker

GROUP = "gptforge.trackers"  # the entry points of packages that bring one
OURS: Mapping[str, str] = {  # a name, which is also that of the package, of our module and of the extra: the class
    "tensorboard": "TensorBoard",
    "wandb": "WandB",
    "mlflow": "MLflow",
    "trackio": "Trackio",
}


def check(names: Iterable[str], key: str) -> None:
    """Raises ConfigError for a tracker that is not there or cannot be loaded, UserError for one not installed.

    `key` is what it was typed with.
    """
    for name in names:
        if name not in OURS:
            load(name, key)
        elif not _installed(name):
            error = missing_extra(name, f"the tracker {name}")
            fixes = [*error.fixes, f"{key}=[] trains without"] if key == "tracker" else error.fixes
            raise UserError(error.what, where=f"{key}={name}", fix=fixes)


def load(name: str, key: str = "tracker") -> type[Tracker]:
    """The class of a tracker. Raises ConfigError for one that is not there, or of another package and broken."""
    if name in OURS:
        return getattr(importlib.import_module(f"gptforge.trackers.{name}"), OURS[name])
    others = {found.name: found for found in entry_points(group=GROUP)}
    if name not in others:
        known = [*OURS, *sorted(others.keys() - OURS.keys())]
        near = nearest(name, known, 1)
        fix = f"{key}={near[0]}" if near else ""
        fix = f"{key}=[] for none" if name.lower() in ("none", "null", "no", "off", "false") else fix
        raise ConfigError(f"there is no tracker {shown(name)!r} among {', '.join(known)}", where=f"{key}=…", fix=fix)
    return _of_a_package(others[name])


def _of_a_package(found: EntryPoint) -> type[Tracker]:
    where = f"{found.value} of the package {found.dist.name if found.dist else '?'}"
    try:
        loaded = found.load()
    except Exception as e:
        what = f"the tracker {found.name} cannot be loaded: {type(e).__name__}: {e}"
        raise ConfigError(what, where=where, fix=f"mend or remove that package, or leave {found.name} out") from e
    if not (isinstance(loaded, type) and issubclass(loaded, Tracker)):
        raise ConfigError(f"the tracker {found.name} is no class that derives from Tracker", where=where)
    return loaded


def _installed(package: str) -> bool:
    """Whether there is a package; a folder of that name in the current one, which some make, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
