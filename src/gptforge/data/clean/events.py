"""What a filter did: to one document (`Event`) and added up over all of them (`Tally`).

Knows nothing of the filters.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

EXCERPT = 60  # characters that an example shows
CHANGED, DROPPED, FOUND, SKIPPED = "changed", "dropped", "found", "skipped"


@dataclass(frozen=True, slots=True)
class Sample:
    """An example: the surroundings of character `position` of the text as the rule saw it."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """A text after one rule: `amount` places were changed, some of which are in `samples`."""

    text: str
    amount: int = 0
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What the filter `filter` did to one document.

    `action` is changed (in `amount` places), found (`amount` finds, left as they were), dropped or skipped (a document
    of `amount` characters, that the filter makes no sense for); `reason` says why, with the value that was measured.
    """

    filter: str
    action: str
    amount: int
    samples: tuple[Sample, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class _Count:
    documents: int = 0
    amount: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)


class Tally:
    """Adds up events; the same events in the same order give the same tally, wherever they were made."""

    def __init__(self, examples: int) -> None:
        """At most `examples` examples are kept of each filter and action: the first ones."""
        self._examples = examples
        self._counts: dict[str, dict[str, _Count]] = {}

    def add(self, document: int, events: Iterable[Event]) -> None:
        """Count what happened to the document of this number."""
        for event in events:
            count = self._counts.setdefault(event.filter, {}).setdefault(event.action, _Count())
            count.documents += 1
            count.amount += event.amount
            for sample in event.samples or ((Sample(0, ""),) if event.reason else ()):
                if len(count.samples) < self._examples:
                    count.samples.append({"document": document, **asdict(sample), "reason": event.reason})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """filter -> action -> documents, amount, samples; JSON values, filters in the order in which they came."""
        return {
            name: {action: asdict(count) for action, count in actions.items()} for name, actions in self._counts.items()
        }


def excerpt(text: str, position: int) -> str:
    """The surroundings of a place in a text, EXCERPT characters in all, with … where the text goes on."""
    start = max(0, position - EXCERPT // 4)
    end = start + EXCERPT
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def shortened(text: str) -> str:
    """The begin of a text, EXCERPT characters at most, with … where it goes on."""
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
