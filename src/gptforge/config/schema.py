"""What a config key is: its type, default, doc, range and resume class; and trees of keys checked into dataclasses.

Knows dataclasses only: not which keys exist, not Hydra, not torch. Both the composed config and
a saved config.json go through `build`, so there is one set of rules and one kind of message.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar

from gptforge.errors import MAX_LINES, ConfigError

C = TypeVar("C")
MISSING = "???"  # the value of a key that must be given; Hydra's sign for it


class Resume(StrEnum):
    """What a changed value means to a run that is continued."""

    REFUSE = "refuse"  # another model or other data: that is a new run
    UNLESS_ALLOWED = "refuse unless allowed"  # another trajectory: only with resume_allow=[key]
    ALLOW = "allow"  # same trajectory, perhaps other rounding
    FREE = "free"  # no influence on the weights


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config."""

    key: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key of a schema: `name` is dotted, `type` the annotation, `meta` what `key()` was given."""

    name: str
    type: Any
    default: Any
    meta: Mapping[str, Any]

    @property
    def doc(self) -> str:
        return self.meta["doc"]

    @property
    def takes_many(self) -> bool:
        """Whether it is a list, so that several words may stand for it."""
        return any(typing.get_origin(kind) is list for kind in (self.type, *typing.get_args(self.type)))

    @property
    def type_name(self) -> str:
        if choices := self.meta.get("choices"):
            return "|".join(choices) + ("|null" if allows_none(self.type) else "")
        if self.meta["type_name"]:
            return self.meta["type_name"]
        name = str(self.type) if typing.get_args(self.type) else self.type.__name__
        return re.sub(r"\bNone\b", "null", name).replace(" ", "")


def key(
    default: Any,
    doc: str,
    *,
    resume: Resume,
    choices: tuple[str, ...] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    parse: Callable[[str], Any] | None = None,
    type_name: str = "",
    free_text: bool = False,
) -> Any:
    """A config field.

    `ge/gt/le/lt` bound numbers; `parse` must accept the value (raise ValueError if not); `type_name` says the form
    where the type does not; `free_text` values are never read as Hydra's grammar. The items of a list may be
    dataclasses, whose first field may be given alone.
    """
    meta = dict(doc=doc, resume=resume, choices=choices, ge=ge, gt=gt, le=le, lt=lt)
    meta |= dict(parse=parse, type_name=type_name, free_text=free_text)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=meta)
    return field(default=default, metadata=meta)


def default_of(f: dataclasses.Field[Any]) -> Any:
    return f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]


def leaves(schema: type, prefix: str = "") -> Iterator[Leaf]:
    """Every key of a schema, in order, with dotted names."""
    for f in fields(schema):
        if is_dataclass(f.type):
            yield from leaves(typing.cast(type, f.type), f"{prefix}{f.name}.")
        else:
            yield Leaf(prefix + f.name, f.type, default_of(f), f.metadata)


def sections(schema: type, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Every nested section of a schema: its dotted name and its dataclass."""
    for f in fields(schema):
        if is_dataclass(f.type):
            section = typing.cast(type, f.type)
            yield prefix + f.name, section
            yield from sections(section, f"{prefix}{f.name}.")


def allows_none(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain nested dicts, as config.json holds it."""
    return dataclasses.asdict(config)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as {dotted name: value}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def build(schema: type[C], tree: Mapping[str, Any], where: Callable[[str], str] = lambda key: "") -> C:
    """The tree as a checked `schema` object. Raises one ConfigError that names every problem.

    `where(key)` says where a key's value came from (command line, a file).
    """
    problems: list[Problem] = []
    config = _build(schema, tree, "", problems)
    problems += _rules(config, "", {p.key for p in problems})
    if problems:
        raise config_error(problems, where)
    return config


def config_error(problems: list[Problem], where: Callable[[str], str] = lambda key: "") -> ConfigError:
    """All problems in one message of at most MAX_LINES lines."""
    if len(problems) == 1:
        (p,) = problems
        return ConfigError(p.message, where=where(p.key), fix=p.fix)
    room = MAX_LINES - 1 - (len(problems) > MAX_LINES - 1)
    lines = [f"{len(problems)} problems"]
    lines += [f"  {p.message}" + (f"  (try {p.fix})" if p.fix else "") for p in problems[:room]]
    if len(problems) > room:
        lines.append(f"  and {len(problems) - room} more")
    return ConfigError("\n".join(lines))


def _build(schema: type[C], tree: Any, prefix: str, problems: list[Problem]) -> C:
    if not isinstance(tree, Mapping):
        problems.append(Problem(prefix.rstrip("."), f"{prefix.rstrip('.')} must be a group of keys, got {tree!r}"))
        return schema()
    known = {f.name: f for f in fields(schema)}  # type: ignore[arg-type]
    unknown = [name for name in tree if name not in known]
    # To look for what was meant takes a millisecond a name, and a file may have millions of them
    problems += [unknown_key(f"{prefix}{name}", schema, prefix) for name in unknown[:MAX_LINES]]
    if more := len(unknown[MAX_LINES:]):
        problems.append(Problem(prefix.rstrip("."), f"{more:,} more names there are no keys"))
    values: dict[str, Any] = {}
    for name, f in known.items():
        if is_dataclass(f.type):
            values[name] = _build(typing.cast(type, f.type), tree.get(name, {}), f"{prefix}{name}.", problems)
        elif name in tree:
            leaf = Leaf(prefix + name, f.type, default_of(f), f.metadata)
            values[name] = checked(leaf, tree[name], problems)
    return schema(**values)


def _rules(config: Any, prefix: str, wrong: set[str]) -> list[Problem]:
    """The broken cross-field rules of a config and its sections; a section with a wrong key is not asked."""
    found: list[Problem] = []
    for f in fields(config):
        if is_dataclass(f.type):
            found += _rules(getattr(config, f.name), f"{prefix}{f.name}.", wrong)
    own = [k for k in wrong if k.startswith(prefix) and (prefix or "." not in k)]
    if hasattr(config, "problems") and not own:
        found += config.problems()
    return found


def checked(leaf: Leaf, value: Any, problems: list[Problem]) -> Any:
    """The value as the leaf's type, or a Problem."""
    if value == MISSING and not leaf.meta["free_text"]:  # a text may well be three question marks
        problems.append(Problem(leaf.name, f"{leaf.name} must be given", f"{leaf.name}=… ({leaf.doc})"))
        return value
    try:
        converted = _convert(leaf, value)
    except ValueError as e:
        problems.append(Problem(leaf.name, f"{leaf.name}={shown(value)}: {e}", _example(leaf)))
        return value
    for problem in _range_problems(leaf, converted):
        problems.append(Problem(leaf.name, f"{leaf.name}={shown(value)}: {problem}", _example(leaf)))
    return converted


def _convert(leaf: Leaf, value: Any) -> Any:
    meta = leaf.meta
    if value is None:
        if allows_none(leaf.type):
            return None
        raise ValueError(f"null is not allowed here, this is {_article(leaf.type_name)}")
    kinds = (
        [t for t in typing.get_args(leaf.type) if t is not type(None)]
        if isinstance(leaf.type, types.UnionType)
        else [leaf.type]
    )
    converted = _as(kinds[0], value)
    if meta.get("choices") and converted not in meta["choices"]:
        near = difflib.get_close_matches(str(converted), meta["choices"], 1, 0.5)
        raise ValueError(f"not one of {', '.join(meta['choices'])}" + (f"; did you mean {near[0]}?" if near else ""))
    if meta.get("parse"):
        meta["parse"](converted)
    return converted


def _as(kind: Any, value: Any) -> Any:
    """`value` as `kind`; exact, so 1e3 is an int but 1.5 and true are not."""
    if typing.get_origin(kind) is list:
        (of,) = typing.get_args(kind)
        if of is str and isinstance(value, str):
            value = [value]  # tracker=wandb
        if not isinstance(value, list | tuple):
            raise ValueError("a list is needed, such as [a,b]")
        return [_as(of, item) for item in value]
    if is_dataclass(kind):
        return _item(typing.cast(type, kind), value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError("true or false is needed")
    return _as_text(value) if kind is str else _as_number(kind, value)


def _as_text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise ValueError("a text is needed")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 1e3 steps are 1000
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_number(kind: Any, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{'a whole number' if kind is int else 'a number'} is needed")
    if kind is int:
        if isinstance(value, float) and not value.is_integer():
            raise ValueError("a whole number is needed")
        return int(value)
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a finite number is needed")
    return number


def _item(schema: type[C], value: Any) -> C:
    """An item of a list: a mapping of the fields of `schema`, or the value of its first."""
    known = {f.name: f for f in fields(schema)}  # type: ignore[arg-type]
    tree = value if isinstance(value, Mapping) else {next(iter(known)): value}
    for name in tree:
        if name not in known:
            raise ValueError(f"an item has {', '.join(known)}; there is no {shown(name)!r}")
    for name, f in known.items():
        if name not in tree and default_of(f) == MISSING:
            raise ValueError(f"each item needs {name}")
    problems: list[Problem] = []
    item = schema(**{k: checked(Leaf(k, known[k].type, None, known[k].metadata), v, problems) for k, v in tree.items()})
    if problems:
        raise ValueError(problems[0].message)
    return item


def _range_problems(leaf: Leaf, value: Any) -> Iterator[str]:
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        for name, words, holds in (
            ("ge", "at least", lambda n, b: n >= b),
            ("gt", "more than", lambda n, b: n > b),
            ("le", "at most", lambda n, b: n <= b),
            ("lt", "less than", lambda n, b: n < b),
        ):
            bound = leaf.meta.get(name)
            if bound is not None and not holds(number, bound):
                yield f"must be {words} {shown(bound)}"


def unknown_key(name: str, schema: type, prefix: str = "") -> Problem:
    """The problem of a key that does not exist, with the nearest one that does and its default."""
    known = list(leaves(schema, prefix))
    groups = [prefix + section for section, _ in sections(schema)]
    close = nearest(name, [leaf.name for leaf in known] + groups)
    defaults = {leaf.name: leaf.default for leaf in known}
    fix = " or ".join(f"{k}=… (default {shown(defaults[k])})" if k in defaults else f"{k}.…" for k in close)
    return Problem(name, f"there is no key {shown(name)!r}", fix)


def nearest(name: str, known: list[str], n: int = 2) -> list[str]:
    """The known dotted names that `name` was probably meant to be, best first."""
    leaf = name.rpartition(".")[2]
    same = [k for k in known if k.rpartition(".")[2] == leaf]
    if same:
        return same[:n]
    by_leaf = difflib.get_close_matches(leaf, [k.rpartition(".")[2] for k in known], n, 0.7)
    near_leaf = [k for match in by_leaf for k in known if k.rpartition(".")[2] == match]
    near_full = difflib.get_close_matches(name, known, n, 0.75)
    return list(dict.fromkeys(near_full + near_leaf))[:n]


def _example(leaf: Leaf) -> str:
    default = "" if leaf.default == MISSING else f"; default {shown(leaf.default)}"
    return f"{leaf.name}=… ({leaf.type_name}{default})"


def shown(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(shown(v) for v in value) + "]"
    if isinstance(value, str):
        return value if len(value) <= 60 else value[:57] + "..."
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write out those of 4,300 digits
        return f"{'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
