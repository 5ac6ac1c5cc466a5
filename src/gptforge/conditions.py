"""Conditions on runs, as they are typed: `status=done val_loss<1.6 model=small optimizer.lr>=1e-3 name~shakespeare`.

A name is that of a column, or of a key of the run's config, by its whole name or by its last part where no other key
has it. Knows neither where runs are nor how they are shown.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptforge.config.schema import nearest, shown
from gptforge.errors import ConfigError

_CONDITION = re.compile(r"([A-Za-z_][\w.]*)(<=|>=|!=|=|<|>|~)(.+)", re.DOTALL)
_SPACED = re.compile(r"\s*(<=|>=|!=|=|<|>|~)\s*")  # as some write it
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """`name` `sign` `value`; what is compared as numbers are numbers on both sides."""

    name: str
    sign: str
    value: str

    def holds(self, found: Any) -> bool:
        """Whether it is so for a value; for one that is not known it is not, but for `!=`."""
        if self.sign == "~":
            return found is not None and self.value.lower() in shown(found).lower()
        mine, theirs = _number(found), _number(self.value)
        if self.sign in _ORDER:
            return mine is not None and theirs is not None and _ORDER[self.sign](mine, theirs)
        same = mine == theirs if mine is not None and theirs is not None else _is(found, self.value)
        return same == (self.sign == "=")


def parse(text: str, known: Sequence[str], where: str) -> list[Condition]:
    """Conditions with blanks or commas between. Raises ConfigError for what is none, or for an unknown name."""
    found = []
    text = _SPACED.sub(r"\1", text.strip())
    for word in re.split(r"[\s,]+", text) if text else []:
        match = _CONDITION.fullmatch(word)
        if not match:
            raise ConfigError(f"{word!r} is no condition", where=where, fix="status=done, val_loss<1.6, model=small")
        condition = Condition(match[1], match[2], match[3])
        name = resolved(condition.name, known, where)
        if condition.sign in _ORDER and _number(condition.value) is None:
            raise ConfigError(f"{word!r} compares with {condition.value!r}, which is no number", where=where)
        found.append(Condition(name, condition.sign, condition.value))
    return found


def resolved(name: str, known: Sequence[str], where: str) -> str:
    """The whole of a name. Raises ConfigError with the nearest ones for one that is not known, or not the only one."""
    if name in known:
        return name
    same = [whole for whole in known if whole.rpartition(".")[2] == name]
    if len(same) == 1:
        return same[0]
    near = same or nearest(name, list(known))
    what = f"there is no column or key {name!r}" if not same else f"{name!r} may be any of {len(same)} keys"
    raise ConfigError(what, where=where, fix=" or ".join(near[:3]))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _is(found: Any, typed: str) -> bool:
    """Whether a value is what was typed; a list, if that is in it."""
    return shown(found) == typed or (isinstance(found, list) and typed in map(shown, found))
