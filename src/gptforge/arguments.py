"""From what was typed to Hydra overrides that exist: spelling, positionals, leaf names, quoting, and "did you mean".

Knows the schema of a command and the names of its options; nothing is composed or run here.
"""

import difflib
import glob
import os
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptforge.config import SweepConfig
from gptforge.config.schema import Leaf, Problem, allows_none, config_error, leaves, nearest, shown, unknown_key
from gptforge.typed_paths import is_path, missing_path

HELP = ("-h", "--help")
CONFIG_DIR = ("--config-dir", "-cd")
CFG = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# Hydra's own flags with the values they take: (), one of these, or any
HYDRA_FLAGS: dict[str, tuple[str, ...] | None] = {
    "--multirun": (), "-m": (), "--resolve": (), "--cfg": CFG, "-c": CFG, "--info": INFO, "-i": INFO,
    "--package": None, "-p": None,
}  # fmt: skip
RUN_DIR, SWEEP_DIR = "hydra.run.dir", "hydra.sweep.dir"
HYDRA_KEYS = ("hydra.sweeper.params",)  # what else of Hydra's own config can be set; batches mean nothing here
SWEEP_KEYS = {leaf.name: leaf for leaf in leaves(SweepConfig)}  # known beside those of train, with -m
LAUNCHER = "hydra.launcher."  # what they may be written with
GROUP_OF_LAUNCHERS = "hydra/launcher"  # Hydra's name of the key launcher
SAVED = "config"  # a key of the command line that is no part of any config


@dataclass(slots=True)
class Line:
    """A command line, understood. `overrides` are Hydra's; `flags` go to Hydra as they are."""

    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    config_dirs: list[Path] = field(default_factory=list)  # folders of the user's options
    typed: list[str] = field(default_factory=list)
    free: dict[str, str] = field(default_factory=dict)  # free texts by key, as typed
    sweep: dict[str, str] = field(default_factory=dict)  # keys of SweepConfig
    launcher_options: list[str] = field(default_factory=list)  # what is set of another launcher
    help: bool = False

    @property
    def named(self) -> set[str]:
        """The groups and keys that are set."""
        return {override.partition("=")[0] for override in self.overrides}

    @property
    def multirun(self) -> bool:
        return bool({"-m", "--multirun"} & set(self.flags))


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a command understands: its keys, groups (name -> options) and the keys its bare words stand for."""

    command: str
    schema: type
    groups: dict[str, list[str]]
    positionals: tuple[str, ...] = ()

    @property
    def sweeps(self) -> bool:
        """Whether there is -m."""
        return self.command == "train"

    def leaf(self, name: str) -> Leaf | Problem:
        """The leaf of a dotted or a bare name."""
        known = {leaf.name: leaf for leaf in leaves(self.schema)}
        if name in known:
            return known[name]
        if self.sweeps and name.removeprefix(LAUNCHER) in SWEEP_KEYS:
            return SWEEP_KEYS[name.removeprefix(LAUNCHER)]
        same = [leaf for leaf in known.values() if leaf.name.rpartition(".")[2] == name]
        if len(same) == 1:
            return same[0]
        if same:
            names = ", ".join(leaf.name for leaf in same)
            return Problem(name, f"{name!r} is the name of several keys", names)
        inside = [leaf.name for leaf in known.values() if leaf.name.startswith(name + ".")]
        if inside:
            return Problem(name, f"{name!r} is a section, not a key", ", ".join(inside[:6]))
        return self.unknown(name)

    def takes_many(self, name: str) -> bool:
        leaf = self.leaf(name)
        return isinstance(leaf, Leaf) and leaf.takes_many

    def unknown(self, name: str) -> Problem:
        """The problem of a name that is neither key nor group, with the one that was probably meant."""
        of_sweeps = list(SWEEP_KEYS) if self.sweeps else []
        near = nearest(name, [*self.groups, *of_sweeps, *(leaf.name for leaf in leaves(self.schema))], 1)
        if near and near[0] in of_sweeps:
            default = shown(SWEEP_KEYS[near[0]].default)
            return Problem(name, f"there is no key {shown(name)!r}", f"{near[0]}=… (default {default}), with -m")
        if near and near[0] in self.groups:
            return Problem(name, f"there is no key or group {shown(name)!r}", self.choice(near[0]))
        key = unknown_key(name, self.schema)
        return Problem(name, key.message, key.fix or f"gptforge {self.command} --help lists every key")

    def choice(self, group: str) -> str:
        """How an option of a group is chosen."""
        options = self.groups[group]
        return f"{group}=… ({', '.join(options[:6])}{', …' if len(options) > 6 else ''})"


def split_command(words: Sequence[str], names: Container[str]) -> tuple[str, list[str]]:
    """The command that a line begins with, and what follows: two words where there is such a name, else one."""
    two = " ".join(words[:2])
    count = 2 if len(words) > 1 and two in names else 1
    return " ".join(words[:count]), list(words[count:])


def parse(tokens: list[str], grammar: Grammar) -> Line:
    """The command line as Hydra overrides. Raises one error that names every problem in it."""
    line = Line(typed=list(tokens))
    problems: list[Problem] = []
    queue = joined(without_flags(tokens, line, problems))
    positionals = list(grammar.positionals)
    many: dict[str, list[str]] = {}  # the words of a positional that takes all that are left
    last = ""
    while queue and not line.help:
        token = queue.pop(0)
        understood = dashed(token, queue, grammar) if token.startswith("-") else token
        if isinstance(understood, Problem):
            problems.append(understood)
            continue
        name, equals, value = understood.partition("=")
        if equals:
            problems += override(name.strip(), value, grammar, line)
        elif positionals and grammar.takes_many(positionals[0]):
            many.setdefault(positionals[0], []).append(token)
        elif positionals:
            problems += override(positionals.pop(0), token, grammar, line)
        else:
            problems.append(bare_word(token, last, queue, grammar))
        last = token
    for name, words in many.items():
        problems += override(name, f"[{','.join(map(quoted, words))}]", grammar, line)
    if "data.sources" in line.named and not {"data", "resume", SAVED} & (line.named | set(line.free)):
        line.overrides.append("data=mix")
    if "--resolve" in line.flags and not {"--cfg", "-c"} & set(line.flags):
        problems.append(Problem("--resolve", "--resolve is used only with --cfg", "--cfg job --resolve"))
    problems += twice(line)
    if problems and not line.help:
        raise config_error(problems, lambda key: "the command line")
    return line


def config_dirs(tokens: list[str]) -> list[Path]:
    """The folders of --config-dir; options in them must be known before the rest can be understood."""
    line = Line()
    without_flags(tokens, line, [])
    return line.config_dirs


def without_flags(tokens: list[str], line: Line, problems: list[Problem]) -> list[str]:
    """The words that are no flags of Hydra's; the flags are taken into the line."""
    words: list[str] = []
    queue = list(tokens)
    while queue:
        token = queue.pop(0)
        name, given, value = token.partition("=")
        if not _is_text(token):
            problems.append(Problem("", f"{token!a} is not UTF-8", "the same word in UTF-8"))
        elif token in HELP:
            line.help = True
        elif name in CONFIG_DIR:
            path = Path(value if given or not queue else queue.pop(0))
            line.config_dirs.append(path.resolve())
            if not path.name or not os.path.isdir(path):  # as Path.is_dir, but an impossible name is no error
                what = f"there is no folder {str(path)!r}" if path.name else f"{name} needs a folder"
                problems.append(Problem(name, what, f"{name} PATH (it holds model/mine.yaml …)"))
        elif name in HYDRA_FLAGS:
            choices = HYDRA_FLAGS[name]
            line.flags.append(name)
            if choices == ():
                continue
            value = value if given or not queue else queue.pop(0)
            line.flags.append(value)
            if not value or (choices and value not in choices):
                takes = " or ".join(choices) if choices else "a package"
                problems.append(Problem(name, f"{name} takes {takes}", f"{name} {(choices or ('model',))[0]}"))
        else:
            words.append(token)
    return words


def _is_text(token: str) -> bool:
    """Whether the bytes that were typed were UTF-8."""
    try:
        token.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def joined(tokens: list[str]) -> list[str]:
    """`key = value`, `key= value` and `key =value` as one token each."""
    out: list[str] = []
    open_ended = False  # the last token was a lone =, so a value must follow
    for token in tokens:
        starts = token.startswith("=") and out and "=" not in out[-1]
        follows = out and out[-1].endswith("=") and out[-1].count("=") == 1 and not looks_like_override(token)
        if starts or follows or open_ended:
            out[-1] += token
        else:
            out.append(token)
        open_ended = bool(starts) and token == "="
    return out


def looks_like_override(token: str) -> bool:
    """Whether a word is more likely a flag or another key=value than the value of the key before it."""
    if token.startswith("-"):
        return not re.match(r"-[\d.]", token)
    return "=" in token.strip("=")


def dashed(token: str, queue: list[str], grammar: Grammar) -> str | Problem:
    """`--key value`, `--key=value` and `--flag` as key=value."""
    name, given, value = token.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if not name:
        return Problem("", f"{token!r} is no option", "key=value, such as train.steps=500")
    if given:
        return f"{name}={value}"
    leaf = grammar.leaf(name)
    if isinstance(leaf, Leaf):
        if leaf.type in (bool, bool | None) and (not queue or queue[0] not in ("true", "false", "null")):
            return f"{name}=true"
        if queue and leaf.meta["free_text"] and not queue[0].startswith("--"):
            return f"{name}={queue.pop(0)}"
    elif name not in (*grammar.groups, SAVED):
        if queue and "=" not in queue[0] and not queue[0].startswith("-"):
            queue.pop(0)  # its value, of which there is nothing to say
        return leaf
    if queue and not looks_like_override(queue[0]):
        return f"{name}={queue.pop(0)}"
    return Problem(name, f"{token} needs a value", f"{name}=VALUE")


def override(name: str, value: str, grammar: Grammar, line: Line) -> Iterator[Problem]:
    """Adds one `name=value` to the line, or yields what is wrong with it."""
    if not name:
        yield Problem(name, f"'={shown(value)}' has no key", "key=value, such as train.steps=500")
    elif name in (SAVED, RUN_DIR, SWEEP_DIR):
        yield from _outside(name, value, line)
    elif grammar.sweeps and name.removeprefix(LAUNCHER) in SWEEP_KEYS:
        yield from _of_the_sweep(name.removeprefix(LAUNCHER), value, line)
    elif grammar.sweeps and name == GROUP_OF_LAUNCHERS:
        yield from _of_the_sweep("launcher", value, line)
    elif grammar.sweeps and name.startswith(LAUNCHER):
        line.launcher_options.append(f"{name}={value}")
    elif name.startswith(("hydra.", "hydra/")):
        if not name.startswith(HYDRA_KEYS):
            yield Problem(name, f"{name} cannot be set", f"{RUN_DIR}=PATH, or with -m {SWEEP_DIR}=PATH")
        line.overrides.append(f"{name}={value}")
    elif name[0] in "+~":
        bare = name.lstrip("+~")
        known = bare in grammar.groups or isinstance(grammar.leaf(bare), Leaf)
        yield Problem(name, f"keys are set without {name[0]!r}", f"{bare}={value}" if known else "")
        if not known:
            yield grammar.unknown(bare)
    elif name in grammar.groups:
        yield from group_override(name, value, grammar, line)
    else:
        yield from _key_override(name, value, grammar, line)


def _outside(name: str, value: str, line: Line) -> Iterator[Problem]:
    """What is no part of the config: where a saved one is, and where the run goes."""
    if not value:
        yield Problem(name, f"{name} needs a path", f"{name}=PATH")
    if line.free.get(name, value) != value:
        yield Problem(name, f"{name} is given twice, as {line.free[name]} and {value}", f"{name}={value}")
    if name == (RUN_DIR if line.multirun else SWEEP_DIR):
        other = SWEEP_DIR if line.multirun else RUN_DIR
        yield Problem(name, f"{name} is used only {'without' if line.multirun else 'with'} -m", f"{other}={value}")
    line.free[name] = value


def _of_the_sweep(name: str, value: str, line: Line) -> Iterator[Problem]:
    """A key of SweepConfig, which is no part of a point's config."""
    if not line.multirun:
        yield Problem(name, f"{name} is of a sweep, which -m makes", f"gptforge train -m {name}={value} …")
    if line.sweep.get(name, value) != value:
        yield Problem(name, f"{name} is given twice, as {line.sweep[name]} and {value}", f"{name}={value}")
    line.sweep[name] = value


def _key_override(name: str, value: str, grammar: Grammar, line: Line) -> Iterator[Problem]:
    leaf = grammar.leaf(name)
    if isinstance(leaf, Problem):
        yield leaf
    elif leaf.meta["free_text"] and not (value == "null" and allows_none(leaf.type)):
        line.free[leaf.name] = value
        line.overrides.append(f"{leaf.name}={quoted(value)}")
    else:
        line.overrides.append(f"{leaf.name}={value}")


def group_override(group: str, value: str, grammar: Grammar, line: Line) -> Iterator[Problem]:
    """`group=option`; `data=SOME/PATH` is the files data set."""
    options = grammar.groups[group]
    whole = value in options or os.path.lexists(value) or (is_path(value) and not line.multirun)
    names = [value] if whole else [name.strip() for name in value.split(",")]
    if len(names) > 1 and not line.multirun:
        fix = f"-m {group}={value} runs one job for each" if grammar.command == "train" else ""
        yield Problem(group, f"{group}={value} has several values", fix)
        return
    paths = [name for name in names if group == "data" and name not in options and is_path(name)]
    if not paths:
        for name in names:
            yield from _not_an_option(group, name, options)
        line.overrides.append(f"{group}={','.join(names)}")
    elif len(paths) < len(names):
        yield Problem(group, f"{group}={value} mixes files and built-in texts", "one sweep for each kind")
    else:
        for path in paths:
            if not os.path.lexists(path) and not glob.has_magic(path):
                raise missing_path(path)
        if len(paths) == 1:
            line.free["data.path"] = value
        line.overrides += ["data=files", f"data.path={','.join(map(quoted, paths))}"]


def _not_an_option(group: str, name: str, options: list[str]) -> Iterator[Problem]:
    if name in options:
        return
    near = difflib.get_close_matches(name, options, 1, 0.5)
    if group == "data" and name and not near:
        raise missing_path(name)
    if not options:
        yield Problem(
            group, f"there is no {group} {shown(name)!r}, nor any other", f"conf/{group}/{name}.yaml makes one"
        )
    else:
        fix = f"{group}={near[0]}" if near else ""
        ordered = sorted(options, key=lambda option: any(c.isdigit() for c in option))  # the published sizes come last
        yield Problem(group, f"there is no {group} {shown(name)!r} among {', '.join(ordered)}", fix)


def bare_word(token: str, last: str, queue: list[str], grammar: Grammar) -> Problem:
    """The problem of a word without =, and what it was probably meant to be; `last` was before it, `queue` follows."""
    choosing = [group for group, options in grammar.groups.items() if token in options]
    leaf = grammar.leaf(token.lstrip("+~"))
    if choosing:
        fix = f"{choosing[0]}={token}"
    elif token in grammar.groups:
        fix = grammar.choice(token)
    elif "data" in grammar.groups and os.path.lexists(token):
        fix = f"data={token}"
    elif isinstance(leaf, Leaf):
        fix = f"{leaf.name}=… ({leaf.type_name})"
    elif "=" in last:
        words = [last, token]
        while queue and not looks_like_override(queue[0]):
            words.append(queue.pop(0))
        fix = f"quotes around a text with blanks: '{' '.join(words)}'"
    else:
        fix = leaf.fix
    return Problem(token, f"{shown(token)!r} is not key=value", fix)


def twice(line: Line) -> Iterator[Problem]:
    """The same key given twice would leave one of them unheard."""
    seen: dict[str, str] = {}
    for entry in line.overrides:
        name, _, value = entry.partition("=")
        if name in seen and seen[name] != value:
            yield Problem(name, f"{name} is given twice, as {seen[name]} and {value}", f"{name}={value}")
        seen[name] = value


def quoted(value: str) -> str:
    """A free text in Hydra's grammar, where commas, = and brackets would mean something.

    Inside double quotes only a quote, and backslashes before one, need an escape; `${` would be an interpolation.
    """
    escaped = re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value, flags=re.DOTALL)
    return '"' + re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + "\\${", escaped) + '"'
