"""Reads container recipes for tests: instructions of a Dockerfile, sections of an Apptainer definition, .dockerignore.

Knows their syntax as far as the recipes of this repository use it; not what should stand in them.
"""

import re
import shlex
from pathlib import Path


def instructions(path: Path) -> list[tuple[str, str]]:
    """(NAME, arguments) of each instruction of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in pairs]


def flags_and_words(arguments: str) -> tuple[list[str], str]:
    """The --flags at the begin of an instruction's arguments, and the rest."""
    flags = []
    while match := re.match(r"(--\S+)\s+", arguments):
        flags.append(match[1])
        arguments = arguments[match.end() :]
    return flags, arguments


def settings(path: Path, name: str) -> dict[str, str]:
    """What the ARG or ENV instructions of a Dockerfile set."""
    words = [word for found, rest in instructions(path) if found == name for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words if "=" in word)


def sections(path: Path) -> dict[str, str]:
    """The sections of an Apptainer definition by name; what stands before the first is "header"."""
    found: dict[str, list[str]] = {"header": []}
    name = "header"
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"%(\w+)\s*", line):
            name = match[1]
            assert name not in found, f"%{name} stands twice"
            found[name] = []
        else:
            found[name].append(line.removeprefix("    "))
    return {name: "\n".join(lines).strip() + "\n" for name, lines in found.items()}


def filled(text: str, arguments: dict[str, str]) -> str:
    """The text of a definition with its {{ ARGUMENTS }} put in; one that has no default is a KeyError."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: arguments[match[1]], text)


def pairs(section: str) -> dict[str, str]:
    """The KEY=VALUE lines of %arguments."""
    return {key.strip(): value.strip() for key, value in (line.split("=", 1) for line in section.splitlines() if line)}


def is_ignored(name: str, patterns: list[str]) -> bool:
    """Whether .dockerignore leaves this path of the repository out: the last pattern that fits it or a parent."""
    parts = name.split("/")
    paths = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    ignored = False
    for pattern in patterns:
        shape = re.compile(_regex(pattern.removeprefix("!").strip("/")))
        if any(shape.fullmatch(path) for path in paths):
            ignored = not pattern.startswith("!")
    return ignored


def _regex(pattern: str) -> str:
    """** is any number of folders, * any characters but a slash."""
    signs = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(signs.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*|\?)", pattern))
