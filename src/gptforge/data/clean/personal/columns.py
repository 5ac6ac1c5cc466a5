"""What the header of a table says of a number in one of its rows; knows no kinds of numbers, only words for them."""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from gptforge.data.clean.personal.view import View

SEPARATORS = "\t|;,"
_RULE = re.compile(r"[\s|:+=-]+")  # |---|---|
_NO_HEADER = re.compile(r"[\d<]")  # a number, or a finding in its place


@dataclass(frozen=True, slots=True)
class _Row:
    """A line up to character `end`, and where the sign that separates its fields stands."""

    start: int
    end: int
    separator: str
    places: list[int]


class Columns:
    """The tables of one text. A header is the nearest line above without numbers and with as many separators.

    Lines are walked once, from a row up to its header or to a line that belongs to no table of its form.
    """

    def __init__(self, view: View) -> None:
        self._text = view.text
        self._row = _Row(0, -1, "", [])  # the last one asked for: most often the next number is in it too
        self._headers: dict[tuple[int, str], str] = {}  # a row's start and its separator, its table's header

    def said(self, at: int, hint: Callable[[str], int]) -> int:
        """What `hint` finds in the title of the column in which character `at` stands; 0 outside tables."""
        if not self._row.start <= at <= self._row.end:
            self._row = self._row_at(at)
        row = self._row
        header = self._header(row) if row.separator else ""
        if not header:
            return 0
        return hint(header.split(row.separator)[bisect_left(row.places, at)].strip(" \"'*`"))

    def _row_at(self, at: int) -> _Row:
        low = self._text.rfind("\n", 0, at) + 1
        high = self._text.find("\n", at)
        high = high if high >= 0 else len(self._text)
        line = self._text[low:high]
        separator = next((sign for sign in SEPARATORS if sign in line), "")
        return _Row(low, high, separator, [low + n for n, sign in enumerate(line) if sign == separator])

    def _header(self, row: _Row) -> str:
        """The header above a row; empty when there is none."""
        low, walked, header = row.start, [], ""
        while (known := self._headers.get((low, row.separator))) is None:
            walked.append((low, row.separator))
            if not low:
                break
            above = self._text.rfind("\n", 0, low - 1) + 1
            line = self._text[above : low - 1]
            if line.count(row.separator) != len(row.places):
                break
            if not _NO_HEADER.search(line) and not _RULE.fullmatch(line):
                header = line
                break
            low = above
        header = known or header
        self._headers.update(dict.fromkeys(walked, header))
        return header
