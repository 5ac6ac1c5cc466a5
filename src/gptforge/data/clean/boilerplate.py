"""Lines that stand in many documents of a collection: menus, notices, licences. Found in one pass, left out in another.

    observed = Boilerplate(folder)          # the first pass
    for text in texts: observed.add(text)
    lines = observed.lines(least=10)        # lines in at least ten documents
    for text in texts: lines.without(text)  # the second pass, in any process

Short lines ("}", "ROMEO:", "Exeunt.") are never boilerplate, for they are everywhere in ordinary text. In source code
only comments are: it would be broken without its `import os`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptforge.data.clean.events import Change, Sample, shortened
from gptforge.data.clean.hashes import HashFile, hashes_of
from gptforge.data.clean.kinds import Kind, is_comment, kind_of

LEAST_BYTES = 20  # of UTF-8: shorter lines are left alone


@dataclass(frozen=True, slots=True)
class RepeatedLines:
    """The boilerplate of a collection: hashes of its lines, (n,) uint64, ascending. Can be sent to other processes."""

    hashes: np.ndarray

    def without(self, text: str, examples: int) -> Change:
        """A document without these lines."""
        if not len(self.hashes):
            return Change(text)
        lines = text.split("\n")
        looked_at = _candidates(lines, text)
        found = hashes_of(lines[i].strip() for i in looked_at)
        nearest = self.hashes[np.minimum(np.searchsorted(self.hashes, found), len(self.hashes) - 1)]
        dropped = {looked_at[i] for i in np.flatnonzero(nearest == found)}
        if not dropped:
            return Change(text)
        samples: list[Sample] = []
        position = 0
        for i, line in enumerate(lines):
            if i in dropped and len(samples) < examples:
                samples.append(Sample(position, shortened(line)))
            position += len(line) + 1
        left = "\n".join(line for i, line in enumerate(lines) if i not in dropped)
        return Change(left, len(dropped), tuple(samples))


class Boilerplate:
    """Counts in how many documents each line stands: 8 bytes on disk for each line of a document."""

    def __init__(self, folder: Path) -> None:
        self._hashes = HashFile(folder / "lines.bin")

    def add(self, text: str) -> None:
        """The next document."""
        lines = text.split("\n")
        self._hashes.add(hashes_of({lines[i].strip() for i in _candidates(lines, text)}))

    def lines(self, least: int, kept: np.ndarray | None = None) -> RepeatedLines:
        """The lines of at least `least` documents; of those only that are `kept`, flags (n_documents,).

        Leave out the duplicates of a document: their lines would be boilerplate for that alone.
        """
        return RepeatedLines(self._hashes.repeated(least, kept)[0])

    def close(self) -> None:
        self._hashes.close()


def _candidates(lines: list[str], text: str) -> list[int]:
    """Which lines can be boilerplate."""
    looked_at = range(len(lines))
    if kind_of(text) is Kind.CODE:
        looked_at = [i for i in looked_at if is_comment(lines[i])]
    return [i for i in looked_at if _is_long(lines[i].strip())]


def _is_long(line: str) -> bool:
    """Whether it has LEAST_BYTES; a character has one to four."""
    n = len(line)
    return n >= LEAST_BYTES or (4 * n >= LEAST_BYTES and len(line.encode("utf-8", "surrogatepass")) >= LEAST_BYTES)
