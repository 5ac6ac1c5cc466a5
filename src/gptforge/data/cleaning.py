"""Cleaning documents on their way into a corpus: the rules for single documents, and an account of what they did.

Knows documents and rules; nothing of files, formats, splits or tokens. What the collection repeats: see repeats.py.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gptforge.config.clean import CleanConfig
from gptforge.data.clean.cleaner import Cleaner
from gptforge.data.clean.decontaminate import Withheld
from gptforge.data.clean.events import CHANGED, DROPPED, Event, Sample, Tally, shortened
from gptforge.data.clean.workers import applied
from gptforge.data.encoding import CHUNK_BYTES
from gptforge.data.read import Piece

LONGEST = 1 << 24  # characters that the rules see at once; a longer document is judged part by part


class Account:
    """What the filters did to a collection. Documents are known by their number among those read."""

    def __init__(self, names: Sequence[str], examples: int) -> None:
        """`names` are those of the files, `examples` how many of them are kept of each filter."""
        self._names = names
        self._tally = Tally(examples)
        self._files = array("I")  # of each document that was read
        self._left = array("I")  # numbers of the documents that the rules left
        self.examples = examples

    def read(self, file: int) -> int:
        """A document of this file was read; its number."""
        self._files.append(file)
        return len(self._files) - 1

    def leave(self, number: int) -> None:
        """The document of this number was left, changed or not: it is the next of the corpus."""
        self._left.append(number)

    def add(self, number: int, events: Iterable[Event]) -> None:
        self._tally.add(number, events)

    def add_of_corpus(self, document: int, events: Iterable[Event]) -> None:
        """Count what happened to a document by its number in the corpus that the rules left."""
        self._tally.add(self._left[document], events)

    def name_of_corpus(self, document: int) -> str:
        """The file of a document, by its number in the corpus that the rules left."""
        return self._names[self._files[self._left[document]]]

    def facts(self) -> dict[str, Any]:
        """How many documents were read, and of each filter what it did to how many, with examples."""
        filters = self._tally.to_dict()
        for actions in filters.values():
            for count in actions.values():
                for sample in count["samples"]:
                    sample["file"] = self._names[self._files[sample["document"]]]
        return {"documents": len(self._files), "filters": filters}


def cleaned(
    pieces: Iterable[Piece],
    cfg: CleanConfig,
    account: Account,
    withheld: Withheld | None = None,
    withheld_from: int | None = None,
    workers: int = 0,
) -> Iterator[Piece]:
    """The documents that the rules for single documents leave, as they leave them.

    What stands in `withheld` is left out too, but not of files from number `withheld_from` on: those are tests.
    `workers` is how many processes apply the rules, 0: this one.
    Raises ConfigError when the config needs a package that is missing.
    """
    cleaner = Cleaner(cfg)
    number, left = -1, False
    for (begins, file), text, outcome in applied(_whole(pieces), cleaner, workers):
        if begins:
            number, left = account.read(file), False
        account.add(number, outcome.events)
        kept = outcome.text
        if withheld and kept and (withheld_from is None or file < withheld_from):
            change = withheld.without(kept, cfg.examples)
            kept = change.text
            if change.amount:
                account.add(number, [Event("decontaminate", CHANGED, change.amount, change.samples)])
        if kept == "":
            account.add(number, [emptied(text)])
        if kept:
            if not left:
                account.leave(number)
            yield from in_pieces(kept, not left, file)
            left = True


def emptied(before: str) -> Event:
    """What is said of a document of which the rules left nothing."""
    return Event("empty", DROPPED, len(before), (Sample(0, shortened(before)),), "nothing was left of it")


def _whole(pieces: Iterable[Piece]) -> Iterator[tuple[tuple[bool, int], str]]:
    """Whole documents; one of twice LONGEST characters or more in parts of at least LONGEST.

    Before each is said whether it begins a document, and the number of its file.
    """
    waiting: list[str] = []
    begins, file, size = True, 0, 0
    for piece in pieces:
        if piece.begins and waiting:
            yield (begins, file), "".join(waiting)
            waiting, size = [], 0
        begins = begins or piece.begins
        if piece.begins:
            begins, file = True, piece.file
        waiting.append(piece.text)
        size += len(piece.text)
        while size >= 2 * LONGEST:
            text = "".join(waiting)
            cut = text.find("\n", LONGEST) + 1 or LONGEST
            yield (begins, file), text[:cut]
            begins, waiting, size = False, [text[cut:]], len(text) - cut
    if waiting:
        yield (begins, file), "".join(waiting)


def in_pieces(text: str, begins: bool, file: int) -> Iterator[Piece]:
    """A document in pieces of at most about CHUNK_BYTES characters, cut at line ends."""
    while len(text) > CHUNK_BYTES:
        cut = text.rfind("\n", 0, CHUNK_BYTES) + 1 or CHUNK_BYTES
        yield Piece(text[:cut], begins, file)
        begins, text = False, text[cut:]
    if text:
        yield Piece(text, begins, file)
