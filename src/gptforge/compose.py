"""Between Hydra and our dataclasses: where conf/ is, which options it holds, and a checked config out of overrides.

Beside cli.py the only module that knows omegaconf. A saved config never passes through it as a
whole: `from_saved` reads JSON, and only the overrides typed on top are parsed with Hydra's grammar.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gptforge.arguments import Grammar, Line
from gptforge.config import SCHEMAS
from gptforge.config.saved import read_saved, refuse_changes
from gptforge.config.schema import Problem, build, config_error, flatten, to_dict
from gptforge.errors import ConfigError, UsageError
from gptforge.runs import Call, Run

HYDRA_VERSION_BASE = "1.3"
OF_ONE_RUN = ("resume", "resume_allow", "dry_run")  # keys that a new run does not take from a saved config
OF_ONE_START = (*OF_ONE_RUN, "train.stop_after")  # and those that speak of one start of a run only
UNSET_DIR = "."  # hydra.run.dir in conf/: gptforge names the run itself


def conf_dir() -> Path:
    """conf/ inside the installed package, or at the top of an editable checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def conf_dirs(own: list[Path]) -> list[Path]:
    """Ours, then the user's: --config-dir, and ./conf where it is another one."""
    local = Path("conf").resolve()
    extra = [*own, local] if local.is_dir() and local != conf_dir().resolve() else list(own)
    return [conf_dir(), *extra]


def default_options(command: str) -> dict[str, str | None]:
    """The groups a command composes, with the option each has by default."""
    primary = read_yaml(conf_dir() / f"{command}.yaml")
    entries = [entry for entry in primary["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items() if not group.startswith("override ")}


def options(command: str, dirs: list[Path]) -> dict[str, list[str]]:
    """Every group of a command with the names of its options."""
    return {
        group: sorted({path.stem for folder in dirs for path in (folder / group).glob("*.yaml")})
        for group in default_options(command)
    }


def read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def shadowed(dirs: list[Path]) -> list[Path]:
    """Files of the user's that have the name of a packaged one, and so are never read."""
    ours = {path.relative_to(dirs[0]) for path in dirs[0].rglob("*.yaml")}
    return [path for d in dirs[1:] for path in d.rglob("*.yaml") if path.relative_to(d) in ours]


@dataclass(frozen=True, slots=True)
class Composed:
    """A checked config and how it came to be."""

    config: Any
    call: Call


def register_schemas() -> None:
    """Gives Hydra the defaults of every command; types and ranges are checked by `build`, all at once."""
    from hydra.core.config_store import ConfigStore

    for command, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{command}_schema", node=to_dict(schema()))


def search_path(dirs: list[Path]) -> list[str]:
    """The override that lets Hydra find the user's own options."""
    return [f"hydra.searchpath=[{','.join('file://' + d.as_posix() for d in dirs[1:])}]"] if dirs[1:] else []


def compose(command: str, line: Line, dirs: list[Path], config_name: str) -> Composed:
    """The config that Hydra composes from conf/ and a command line. Raises ConfigError; creates nothing."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_schemas()
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), job_name=command, version_base=HYDRA_VERSION_BASE):
            cfg = hydra.compose(config_name, [*search_path(dirs), *line.overrides], return_hydra_config=True)
            return from_hydra(command, cfg, line.typed, dirs, line.overrides)
    except Exception as e:
        raise explained(e, line) from e


def from_hydra(command: str, cfg: Any, typed: list[str], dirs: list[Path], overrides: list[str]) -> Composed:
    """A composed DictConfig, with its hydra node, as a checked config."""
    from omegaconf import OmegaConf, open_dict

    hydra_node = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    return checked(command, OmegaConf.to_container(cfg, resolve=True), hydra_node, typed, dirs, overrides)


def from_task(command: str, cfg: Any, typed: list[str], dirs: list[Path], overrides: list[str]) -> Composed:
    """The same inside a job that Hydra started, where the hydra node is apart."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    return checked(command, OmegaConf.to_container(cfg, resolve=True), HydraConfig.get(), typed, dirs, overrides)


def checked(command: str, tree: Any, hydra: Any, typed: list[str], dirs: list[Path], overrides: list[str]) -> Composed:
    """The plain tree as a config, the chosen options and the run directory as its Call."""
    choices = {str(k): str(v) for k, v in hydra.runtime.choices.items() if "/" not in str(k) and v is not None}
    directory = str(hydra.run.dir)
    config = build(SCHEMAS[command], tree, origin(choices, dirs, {o.partition("=")[0] for o in overrides}))
    return Composed(config, Call(typed, choices, None if directory == UNSET_DIR else Path(directory)))


def origin(choices: Mapping[str, str], dirs: list[Path], typed: set[str]) -> Any:
    """key -> where its value came from: the command line or the file of an option."""

    def where(key: str) -> str:
        if key in typed:
            return f"{key} on the command line"
        group, _, rest = key.partition(".")
        for folder in dirs:
            for option in (f"experiment/{choices.get('experiment')}", f"{group}/{choices.get(group)}"):
                path = folder / f"{option}.yaml"
                if path.is_file() and {key, rest} & set(flatten(read_yaml(path))):
                    return f"{key} in {folder.name}/{option}.yaml"
        return ""

    return where


def explained(error: Exception, line: Line) -> Exception:
    """Hydra's and OmegaConf's errors as ours; anything else as it is."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError):
        return error
    text = " ".join(str(error).partition("See https:")[0].split())
    for override in line.overrides:
        key, _, value = override.partition("=")
        if "Ambiguous value" in text and key in text and "," in value:
            return ConfigError(
                f"{override} has several values",
                fix=[f"gptforge … -m {override} runs one job for each", f"{key}=[{value}] is one list"],
            )
    if isinstance(error, OverrideParseException) or not all(map(readable, line.overrides)):
        bad = next((o for o in line.overrides if not readable(o)), "a value")
        key, _, value = bad.partition("=")
        return ConfigError(f"{bad} cannot be read", where=text[:110], fix=f"put it in quotes: '{key}=\"{value}\"'")
    return ConfigError(text[:300])


def readable(override: str) -> bool:
    """Whether Hydra's grammar takes an override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


# A saved config --------------------------------------------------------------


def from_saved(
    command: str, path: Path, line: Line, grammar: Grammar, leave_out: tuple[str, ...] = OF_ONE_RUN
) -> Composed:
    """A saved config, but for the keys in `leave_out`, with the typed overrides on top."""
    schema = SCHEMAS[command]
    saved = read_saved(path)
    tree = saved["config"]
    for key in leave_out:
        section, _, leaf = key.rpartition(".")
        (tree.get(section, {}) if section else tree).pop(leaf, None)
    typed, directory = typed_values(line, grammar)
    for key, value in typed.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    config = build(schema, tree, lambda key: f"{key} on the command line" if key in typed else str(path))
    return Composed(config, Call(line.typed, saved.get("choices", {}), directory))


def typed_values(line: Line, grammar: Grammar) -> tuple[dict[str, Any], Path | None]:
    """The overrides of a line that has a saved config below it: {key: value}, and hydra.run.dir."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if line.flags:
        raise UsageError(f"{line.flags[0]} does not go with a saved config", fix="leave it out")
    try:
        parsed = OverridesParser.create().parse_overrides(line.overrides)
        values = {o.key_or_group: o.value() for o in parsed if not o.is_sweep_override()}
    except Exception as e:
        raise explained(e, line) from e
    groups = [key for key in values if key in grammar.groups]
    if groups:
        what = "a saved config brings its own; change single keys instead"
        raise config_error([Problem(g, f"{g}={values[g]}: {what}", f"{g}.KEY=VALUE") for g in groups])
    directory = values.pop("hydra.run.dir", None)
    return {k: v for k, v in values.items() if not k.startswith("hydra")}, Path(directory) if directory else None


def from_command_line(command: str, line: Line, grammar: Grammar) -> Composed | None:
    """The config that resume=… or config=… on the command line brings along; None if there is neither."""
    resumed = line.free.get("resume")
    if line.saved_config is not None:
        path = Path(line.saved_config)
        return from_saved(command, path / "config.json" if path.is_dir() else path, line, grammar)
    if command == "train" and resumed is not None:
        return for_resume(Run.find(resumed).config, line, grammar)
    return None


def for_resume(path: Path, line: Line, grammar: Grammar) -> Composed:
    """The config of a run that goes on, with changes that its keys' resume classes permit."""
    composed = from_saved("train", path, line, grammar, leave_out=OF_ONE_START)
    if composed.call.directory is not None:
        raise UsageError("a run goes on in its own directory", where="hydra.run.dir", fix="leave hydra.run.dir out")
    refuse_changes(read_saved(path)["config"], to_dict(composed.config), composed.config.resume_allow)
    return composed
