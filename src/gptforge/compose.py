"""Between Hydra and our dataclasses: where conf/ is, which options it holds, and a checked config out of overrides.

Beside cli.py the only module that knows omegaconf. A saved config never passes through it as a
whole: `from_saved` reads JSON, and only the overrides typed on top are parsed with Hydra's grammar.
"""

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gptforge import own_options
from gptforge.arguments import RUN_DIR, SAVED, Grammar, Line, quoted
from gptforge.config import SCHEMAS, SweepConfig
from gptforge.config.initial import Typed, begun_from
from gptforge.config.saved import OF_ONE_RUN, OF_ONE_START, of_new_start, read_saved, refuse_changes
from gptforge.config.schema import Problem, build, config_error, flatten, leaves, shown, to_dict
from gptforge.errors import ConfigError, UsageError, looks_secret
from gptforge.option_files import conf_dir, read_yaml
from gptforge.runs import Call, Run

HYDRA_VERSION_BASE = "1.3"
RANGE = re.compile(r"\b(interval|range|choice|tag|log)\(")  # what may stand for several values
UNSET_DIR = "."  # hydra.run.dir in conf/: gptforge names the run itself


def conf_dirs(own: list[Path]) -> list[Path]:
    """Ours, then the user's: --config-dir, and ./conf where it is another one."""
    local = Path("conf").resolve()
    extra = [*own, local] if local.is_dir() and local != conf_dir().resolve() else list(own)
    return [conf_dir(), *extra]


def file_name(command: str) -> str:
    """What a command's config and module are called: a name of two words has a low line between them, and `import`
    is a word of Python's own."""
    return "import_model" if command == "import" else command.replace(" ", "_")


def default_options(command: str) -> dict[str, str | None]:
    """The groups a command composes, with the option each has by default."""
    primary = read_yaml(conf_dir() / f"{file_name(command)}.yaml")
    entries = [entry for entry in primary["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items() if not group.startswith("override ")}


def options(command: str, dirs: list[Path]) -> dict[str, list[str]]:
    """Every group of a command with the names of its options."""
    return {
        group: sorted({path.stem for folder in dirs for path in (folder / group).glob("*.yaml")})
        for group in default_options(command)
    }


def shadowed(dirs: list[Path]) -> list[Path]:
    """Files of the user's that have the name of a packaged one but say something else, and so are never read."""
    ours = [path.relative_to(dirs[0]) for path in dirs[0].rglob("*.yaml")]
    both = [(dirs[0] / name, d / name) for d in dirs[1:] for name in ours if (d / name).is_file()]
    return [theirs for mine, theirs in both if theirs.read_bytes() != mine.read_bytes()]


@dataclass(frozen=True, slots=True)
class Composed:
    """A checked config and how it came to be."""

    config: Any
    call: Call


def register_schemas() -> None:
    """Gives Hydra the defaults of every command; types and ranges are checked by `build`, all at once."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    # It warns in its own words, with a line of its source, of what was typed (${oc.deprecated:…})
    warnings.filterwarnings("ignore", category=UserWarning, module=r"omegaconf\.")
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)
    for command, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{file_name(command)}_schema", node=to_dict(schema()))


def _variable(name: str, *default: Any) -> Any:
    """What ${oc.env:NAME} stands for. Raises ValueError for a secret: values go into files that are passed on."""
    from omegaconf.resolvers import oc

    if looks_secret(name):
        raise ValueError(f"{name} looks like a secret, which a config cannot hold: it is kept in the run's files")
    return oc.env(name, *default)


def search_path(dirs: list[Path]) -> list[str]:
    """The override that lets Hydra find the user's own options."""
    own = ",".join(quoted(f"file://{d.as_posix()}") for d in dirs[1:])
    return [f"hydra.searchpath=[{own}]"] if own else []


def compose(command: str, line: Line, dirs: list[Path]) -> Composed:
    """The config that Hydra composes from conf/ and a command line. Raises ConfigError; creates nothing."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register_schemas()
    GlobalHydra.instance().clear()
    name = file_name(command)
    own_options.check(dirs[1:], default_options(command), line.overrides)
    try:
        with hydra.initialize_config_dir(str(conf_dir()), job_name=name, version_base=HYDRA_VERSION_BASE):
            cfg = _hydras(name, [*search_path(dirs), *line.overrides])
            composed = from_hydra(command, cfg, line.typed, dirs, line.overrides)
    except Exception as e:
        raise explained(e, command, line.overrides) from e
    directory = line.free.get(RUN_DIR)
    return replace(composed, call=replace(composed.call, directory=Path(directory))) if directory else composed


def _hydras(name: str, overrides: list[str]) -> Any:
    """What Hydra composes. It knows nothing but what was typed and the options' files: whatever it raises, they are
    why. Raises ConfigError for what is no error of Hydra's own kinds."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return hydra.compose(name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError):
        raise
    except Exception as e:
        said = "it is nested too deep" if isinstance(e, RecursionError) else " ".join(str(e).split())[:200]
        raise ConfigError(f"this cannot be composed: {said}", where=" ".join(overrides)[:200]) from e


def from_hydra(command: str, cfg: Any, typed: list[str], dirs: list[Path], overrides: list[str]) -> Composed:
    """A composed DictConfig, with its hydra node, as a checked config and its Call."""
    from omegaconf import OmegaConf, open_dict

    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    choices = {str(k): str(v) for k, v in hydra.runtime.choices.items() if "/" not in str(k) and v is not None}
    directory = str(hydra.run.dir)
    tree: Any = OmegaConf.to_container(cfg, resolve=True)
    names = {o.partition("=")[0] for o in overrides}
    where = origin(choices, dirs, names)
    if tree.get("init") is not None:
        defaults = default_options(command)
        default_model = read_yaml(conf_dir() / "model" / f"{defaults['model']}.yaml")
        tree, choices = begun_from(tree, Typed(names, choices, defaults, default_model))
    config = build(SCHEMAS[command], tree, where)
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
                if path.is_file() and any(f"{name}.".startswith((f"{key}.", f"{rest}.")) for name in _keys_of(path)):
                    return f"{key} in {folder.name}/{option}.yaml"
        return ""

    return where


def _keys_of(path: Path) -> list[str]:
    """The dotted names that an option's file sets, by themselves and in the section that its first line may name."""
    with path.open(encoding="utf-8") as file:
        header = re.match(r"#\s*@package\s+([\w.]+)", file.readline())
    names = list(flatten(read_yaml(path)))
    return [*names, *(f"{header[1]}.{name}" for name in names)] if header else names


def explained(error: Exception, command: str, overrides: list[str]) -> Exception:
    """Hydra's and OmegaConf's errors as ours; anything else as it is."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, yaml.YAMLError | OSError | UnicodeDecodeError):
        return ConfigError("an option's file cannot be read as YAML", where=" ".join(str(error).split())[:200])
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return error
    for override in overrides:
        if not readable(override):
            return ConfigError(f"{override} cannot be read", fix=_readable(*override.partition("=")[::2]))
        if is_sweep(override):
            return several_values(override, command)
    said = f"{error}\n{error.__cause__ or ''}"
    lines = [line.strip() for line in said.partition("See https:")[0].splitlines() if line.strip()]
    where = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    what = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return ConfigError(what[:300], where=where)


def _readable(key: str, value: str) -> str:
    """How a value could be written that Hydra's grammar does not take."""
    if RANGE.search(value):
        opened = value.count("(") - value.count(")")
        return f"{key}={value}{')' * opened}" if opened > 0 else f"{key}=tag(log,interval(1e-4,1e-2))"
    return f"put it in quotes: {key}='\"{value}\"'"


def check_readable(command: str, overrides: list[str]) -> None:
    """Raises ConfigError for an override outside Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        OverridesParser.create().parse_overrides(overrides)
    except Exception as e:
        raise explained(e, command, [o for o in overrides if not readable(o)]) from e


def check_ranges(overrides: list[str]) -> None:
    """Raises ConfigError for an interval(a, b) out of which no number can be drawn, or none of the key's type."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep

    whole = {leaf.name for leaf in leaves(SCHEMAS["train"]) if leaf.type in (int, int | None)}
    for override in OverridesParser.create().parse_overrides(overrides):
        sweep = override.value()
        if isinstance(sweep, IntervalSweep):
            low, high = sweep.start or 0, sweep.end or 0
            if not low < high < math.inf or ("log" in sweep.tags and low <= 0):
                what = f"{override.input_line}: there is nothing between {shown(low)} and {shown(high)}"
                what += " on a logarithmic scale" if low < high else ""
                raise ConfigError(what, fix=f"{override.key_or_group}=tag(log,interval(1e-4,1e-2))")
            if override.key_or_group in whole and not isinstance(low, int):
                what = f"{override.input_line}: {override.key_or_group} takes whole numbers"
                raise ConfigError(what, fix=f"{override.key_or_group}=int(interval({low:g},{high:g}))")


def sweep_keys(line: Line) -> dict[str, Any]:
    """The keys of SweepConfig on a line, as values of their types. Raises ConfigError."""
    check_readable("train", [f"{key}={value}" for key, value in line.sweep.items()])
    tree = {key: _value(value) for key, value in line.sweep.items()}
    if "launcher" in tree or line.launcher_options:  # those of another are of no use
        tree["launcher_options"] = line.launcher_options
    built = build(SweepConfig, tree, lambda key: f"{key} on the command line")
    return {key: getattr(built, key) for key in tree}


def of_the_sweep(cfg: SweepConfig) -> list[str]:
    """The overrides by which Hydra's sweeper and launcher learn it. Raises ConfigError."""
    of_launcher = ("n_jobs", "fail_fast", "halving", "rungs", "retry")
    overrides = [f"hydra.launcher.{key}={shown(getattr(cfg, key))}" for key in of_launcher]
    overrides.append(f"hydra.launcher.launcher={quoted(cfg.launcher)}")
    overrides.append(f"hydra.launcher.launcher_options=[{','.join(map(quoted, cfg.launcher_options))}]")
    if cfg.search != "grid":
        overrides += [f"hydra/sweeper=gptforge_{cfg.search}", f"hydra.sweeper.trials={cfg.trials}"]
        overrides.append(f"hydra.sweeper.seed={cfg.search_seed}")
    return overrides


def _value(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(f"key={text}").value()


def points_of(overrides: list[str]) -> int:
    """How many points a grid over these overrides has. Raises ConfigError for a range, of which there is no end."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    n = 1
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                what = f"{override.input_line} is a range, of which a grid cannot have all"
                raise ConfigError(what, fix="search=random")
            n *= sum(1 for _ in override.sweep_string_iterator())
    return n


def texts_of(key: str, overrides: list[str]) -> list[str]:
    """What a key with a list of texts is set to; nothing where it is not set, or to one value after the other."""
    found = [o.partition("=")[2] for o in overrides if o.startswith(f"{key}=") and not is_sweep(o)]
    values = [value if isinstance(value, list) else [value] for value in map(_value, found)]
    return [item for value in values for item in value if isinstance(item, str)]


def several_values(override: str, command: str) -> ConfigError:
    """The error for a sweep where one value is wanted."""
    key, _, value = override.partition("=")
    fixes = [f"gptforge {command} -m {override} runs one job for each"] if command == "train" else []
    lists = [leaf.name for leaf in leaves(SCHEMAS[command]) if "list" in leaf.type_name]
    return ConfigError(
        f"{override} has several values", fix=[*fixes, f"{key}=[{value}] is one list"] if key in lists else fixes
    )


def is_sweep(override: str) -> bool:
    """Whether a readable override stands for several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(override).is_sweep_override()


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
    typed = typed_values(command, line, grammar)

    def where(key: str) -> str:
        return f"{key} on the command line" if key in typed else str(path)

    config = of_new_start(schema, path, leave_out, typed, where)
    directory = line.free.get(RUN_DIR)
    return Composed(
        config, Call(line.typed, read_saved(path).get("choices", {}), Path(directory) if directory else None)
    )


def typed_values(command: str, line: Line, grammar: Grammar) -> dict[str, Any]:
    """The overrides of a line that has a saved config below it: {key: value}."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if line.flags:
        raise UsageError(f"{line.flags[0]} does not go with a saved config", fix="leave it out")
    try:
        parsed = OverridesParser.create().parse_overrides(line.overrides)
        values = {o.key_or_group: o.value() for o in parsed}
    except Exception as e:
        raise explained(e, command, line.overrides) from e
    if sweeps := [o.input_line for o in parsed if o.is_sweep_override()]:
        raise several_values(str(sweeps[0]), command)
    groups = [key for key in values if key in grammar.groups]
    if groups:
        what = "a saved config brings its own; change single keys instead"
        raise config_error([Problem(g, f"{g}={values[g]}: {what}", f"{g}.KEY=VALUE") for g in groups])
    return {k: line.free.get(k, v) for k, v in values.items() if not k.startswith("hydra")}


def from_command_line(command: str, line: Line, grammar: Grammar) -> Composed | None:
    """The config that resume=… or config=… on the command line brings along; None if there is neither."""
    resumed = line.free.get("resume")
    if SAVED in line.free:
        if resumed is not None:
            raise UsageError("config= begins a new run, resume= goes on with one", fix="leave one of the two out")
        if line.free.get("init") is not None:
            raise UsageError("config= brings its own model, and so does init=", fix="leave one of the two out")
        path = Path(line.free[SAVED])
        return from_saved(command, path / "config.json" if path.is_dir() else path, line, grammar)
    if command == "train" and resumed is not None:
        return for_resume(Run.find(resumed).config, line, grammar)
    return None


def for_resume(path: Path, line: Line, grammar: Grammar) -> Composed:
    """The config of a run that goes on, with changes that its keys' resume classes permit."""
    composed = from_saved("train", path, line, grammar, leave_out=OF_ONE_START)
    if composed.call.directory is not None:
        raise UsageError("a run goes on in its own directory", where=RUN_DIR, fix=f"leave {RUN_DIR} out")
    refuse_changes(read_saved(path)["config"], to_dict(composed.config), composed.config.resume_allow)
    return composed
