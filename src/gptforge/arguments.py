"""From what was typed to Hydra overrides that exist: spelling, positionals, leaf names, quoting, and "did you mean".

Knows the schema of a command and the names of its options; nothing is composed or run here.
"""

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gptforge.config.schema import Leaf, Problem, config_error, leaves, nearest, unknown_key
from gptforge.errors import DataError, UsageError

# Hydra's own flags, with whether a value follows
HYDRA_FLAGS = {
    "--multirun": False, "-m": False, "--run": False, "-r": False, "--resolve": False, "--hydra-help": False,
    "--cfg": True, "-c": True, "--package": True, "-p": True, "--info": True, "-i": True,
    "--config-name": True, "-cn": True,
}  # fmt: skip
CONFIG_DIR_FLAGS = ("--config-dir", "-cd")
SAVED = ("config",)  # keys of the command line that are no part of any config


@dataclass(slots=True)
class Line:
    """A command line, understood. `overrides` are Hydra's; `flags` go to Hydra as they are."""

    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    config_dirs: list[Path] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    free: dict[str, str] = field(default_factory=dict)  # free texts by key, as typed
    saved_config: str | None = None
    help: bool = False

    @property
    def multirun(self) -> bool:
        return bool({"-m", "--multirun"} & set(self.flags))


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a command understands: its keys, groups (name -> options) and the keys its bare words stand for."""

    schema: type
    groups: dict[str, list[str]]
    positionals: tuple[str, ...] = ()

    def leaf(self, name: str) -> Leaf | Problem:
        """The leaf of a dotted or a bare name."""
        known = {leaf.name: leaf for leaf in leaves(self.schema)}
        if name in known:
            return known[name]
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

    def unknown(self, name: str) -> Problem:
        group = difflib.get_close_matches(name, list(self.groups), 1, 0.6)
        key = unknown_key(name, self.schema)
        if group and "." not in name:
            options = ", ".join(self.groups[group[0]][:6])
            return Problem(name, f"there is no key or group {name!r}", f"{group[0]}=… ({options}, …)")
        return Problem(name, key.message, key.fix or "gptforge COMMAND --help lists every key")


def parse(tokens: list[str], grammar: Grammar) -> Line:
    """The command line as Hydra overrides. Raises one error that names every problem in it."""
    line = Line(typed=list(tokens))
    problems: list[Problem] = []
    positionals = list(grammar.positionals)
    queue = joined(tokens)
    while queue:
        token = queue.pop(0)
        if token in ("-h", "--help"):
            line.help = True
        elif token in CONFIG_DIR_FLAGS or token.split("=")[0] in CONFIG_DIR_FLAGS:
            line.config_dirs.append(config_dir(token, queue))
        elif token.split("=")[0] in HYDRA_FLAGS:
            line.flags.append(token)
            if HYDRA_FLAGS[token.split("=")[0]] and "=" not in token and queue:
                line.flags.append(queue.pop(0))
        elif token.startswith("-"):
            queue.insert(0, dashed(token, queue, grammar))
        elif "=" in token:
            name, value = token.split("=", 1)
            problems += override(name, value, grammar, line)
        elif positionals:
            problems += override(positionals.pop(0), token, grammar, line)
        else:
            problems.append(bare_word(token, grammar))
    problems += twice(line)
    if problems and not line.help:
        raise config_error(problems, lambda key: "the command line")
    return line


def joined(tokens: list[str]) -> list[str]:
    """`key = value`, `key= value` and `key =value` as one token each."""
    out: list[str] = []
    for i, token in enumerate(tokens):
        starts = token.startswith("=") and out and "=" not in out[-1]
        after = out and out[-1].endswith("=") and out[-1].count("=") == 1 and not looks_like_override(tokens[i])
        if starts or (after and i > 0):
            out[-1] += token
        else:
            out.append(token)
    return out


def looks_like_override(token: str) -> bool:
    return token.startswith("-") or "=" in token.strip("=")


def dashed(token: str, queue: list[str], grammar: Grammar) -> str:
    """`--key value`, `--key=value` and `--flag` as key=value."""
    name, given, value = token.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if not name:
        raise UsageError(f"{token!r} is no option", fix="key=value, such as train.steps=500")
    leaf = grammar.leaf(name)
    if given:
        return f"{name}={value}"
    if isinstance(leaf, Leaf) and leaf.type in (bool, bool | None) and (not queue or queue[0] not in ("true", "false")):
        return f"{name}=true"
    if queue and not looks_like_override(queue[0]):
        return f"{name}={queue.pop(0)}"
    if isinstance(leaf, Problem) and name not in grammar.groups:
        raise config_error([leaf], lambda key: "the command line")
    raise UsageError(f"{token} needs a value", fix=f"{name}=VALUE")


def config_dir(token: str, queue: list[str]) -> Path:
    _, given, value = token.partition("=")
    if not given:
        if not queue:
            raise UsageError(f"{token} needs a folder", fix=f"{token} PATH")
        value = queue.pop(0)
    path = Path(value)
    if not path.is_dir():
        raise UsageError(
            f"there is no folder {value!r}", where=token, fix="--config-dir PATH (it holds model/mine.yaml …)"
        )
    return path.resolve()


def override(name: str, value: str, grammar: Grammar, line: Line) -> Iterator[Problem]:
    """Adds one `name=value` to the line, or yields what is wrong with it."""
    name = name.strip()
    if name.startswith("hydra.") or name.startswith("hydra/"):
        line.overrides.append(f"{name}={value}")
        return
    if name in SAVED:
        line.saved_config = value
        return
    if name[:1] in "+~":
        yield Problem(name, f"keys are set without {name[0]!r}", f"{name.lstrip('+~')}={value}")
        return
    if name in grammar.groups:
        yield from group_override(name, value, grammar, line)
        return
    leaf = grammar.leaf(name)
    if isinstance(leaf, Problem):
        yield leaf
    elif leaf.meta["free_text"] and value != "null":
        line.free[leaf.name] = value
        line.overrides.append(f"{leaf.name}={quoted(value)}")
    else:
        line.overrides.append(f"{leaf.name}={value}")


def group_override(group: str, value: str, grammar: Grammar, line: Line) -> Iterator[Problem]:
    """`group=option`; `data=SOME/PATH` is the files data set."""
    options = grammar.groups[group]
    if group == "data" and value not in options and (os.path.lexists(value) or looks_like_path(value)):
        if not os.path.lexists(value) and not line.multirun:
            raise missing_path(value)
        line.overrides += ["data=files", f"data.path={quoted(value)}"]
        return
    chosen = value.split(",") if line.multirun or "," in value else [value]
    for option in chosen:
        option = option.strip()
        if option not in options and option != "null":
            near = difflib.get_close_matches(option, options, 1, 0.5)
            fix = f"{group}={near[0]}" if near else ""
            yield Problem(group, f"{group}={option}: there is {', '.join(options)}", fix)
    line.overrides.append(f"{group}={value}")


def looks_like_path(value: str) -> bool:
    return any(sign in value for sign in ("/", "\\")) or Path(value).suffix.lower() in (".txt", ".md", ".text")


def missing_path(value: str) -> DataError:
    """The error for a text that is not there, with the nearest name beside it."""
    path = Path(value)
    try:
        beside = os.listdir(path.parent if str(path.parent) else ".")
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, 1, 0.6)
    fix = f"data={path.parent / near[0]}" if near else "data=PATH of a text file or a folder, or data=shakespeare"
    return DataError(f"there is no file or folder {value!r}", where="data=… on the command line", fix=fix)


def bare_word(token: str, grammar: Grammar) -> Problem:
    groups = [g for g, options in grammar.groups.items() if token in options]
    if groups:
        return Problem(token, f"{token!r} alone says too little", f"{groups[0]}={token}")
    names = nearest(token, [leaf.name for leaf in leaves(grammar.schema)])
    return Problem(
        token, f"{token!r} is not key=value", f"{names[0]}=…" if names else "key=value, such as train.steps=500"
    )


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
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value, flags=re.DOTALL)
    return '"' + re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + "\\${", escaped) + '"'
