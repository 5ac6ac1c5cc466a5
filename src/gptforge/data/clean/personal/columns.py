"""What the header of a table says of a number in one of its rows; knows no kinds of numbers, only words for them."""

import re
from collections.abc import Callable

from gptforge.data.clean.personal.view import View

_SEPARATORS = "\t|;,"
_RULE = re.compile(r"[\s|:+=-]+")  # |---|---|
_REACH = 500  # characters on each side in which a row begins and ends: what is longer is no table for people


class Columns:
    """The tables of one text. A header is the nearest line above without digits and with as many separators.

    Lines are walked once, from a row up to its header or to a line that belongs to no table of its form.
    """

    def __init__(self, view: View) -> None:
        self._text = view.text
        self._headers: dict[tuple[int, str], str] = {}  # a line's start and the separator, its table's header

    def said(self, at: int, hint: Callable[[str], int]) -> int:
        """What `hint` finds in the title of the column in which character `at` stands; 0 outside tables."""
        low = self._text.rfind("\n", max(0, at - _REACH), at) + 1
        high = self._text.find("\n", at, at + _REACH)
        if (not low and at > _REACH) or (high < 0 and at + _REACH < len(self._text)):
            return 0
        row = self._text[low : high if high >= 0 else len(self._text)]
        separator = next((sign for sign in _SEPARATORS if sign in row), None)
        if separator is None:
            return 0
        titles = self._header(low, row, separator).split(separator)
        column = row.count(separator, 0, at - low)
        return hint(titles[column].strip(" \"'*`")) if column < len(titles) else 0

    def _header(self, low: int, row: str, separator: str) -> str:
        """The header above the row that begins at `low`; empty when there is none."""
        if (known := self._headers.get((low, separator))) is not None:
            return known
        fields, walked, header = row.count(separator), [(low, separator)], ""
        while low > 0:
            above = self._text.rfind("\n", 0, low - 1) + 1
            if (known := self._headers.get((above, separator))) is not None:
                header = known
                break
            line = self._text[above : low - 1]
            if line.count(separator) != fields or len(line) > 2 * _REACH:
                break
            if not re.search(r"\d", line) and not _RULE.fullmatch(line):
                header = line
                break
            low = above
            walked.append((above, separator))
        self._headers.update(dict.fromkeys(walked, header))
        return header
