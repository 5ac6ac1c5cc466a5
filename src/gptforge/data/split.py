"""Which part of a corpus is learnt and which is kept for validation: by position, by whole documents, or by hash.

Knows the corpus's index; nothing of tokens or files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gptforge.config.data import DataConfig
from gptforge.data.corpus import Corpus
from gptforge.data.order import permuted

MANY = 20  # documents; of fewer, a tenth is too coarse a share, and the end of the text is taken
SLACK = 0.1
TRAIN, VAL = 0, 1


class Allotted(NamedTuple):
    """A piece of a split's text, of file number `file`. At character `begins_at` a document begins, if not None."""

    split: int
    text: str
    begins_at: int | None
    file: int


@dataclass(frozen=True, slots=True)
class Split:
    """A division of a corpus: at character `boundary` of its joined text, or by `val` (n_documents,) bool."""

    corpus: Corpus
    boundary: int = 0
    val: np.ndarray | None = None
    reason: str = ""

    @property
    def cuts(self) -> bool:
        """Whether validation begins within a document."""
        if self.val is not None:
            return False
        corpus = self.corpus
        starts = np.cumsum(corpus.lengths.astype(np.int64) + corpus.leads) - corpus.lengths
        starts, leads = starts[corpus.begins], corpus.leads[corpus.begins]
        return not ((starts == self.boundary) | (starts - leads == self.boundary)).any()

    def pieces(self) -> Iterator[Allotted]:
        """The corpus's pieces in order, none empty; a document that begins in a line has a line feed before it."""
        yield from self._by_position() if self.val is None else self._by_document(self.val)

    def _by_position(self) -> Iterator[Allotted]:
        done = 0
        corpus = self.corpus
        index = zip(corpus.texts(), corpus.begins.tolist(), corpus.leads.tolist(), corpus.files.tolist(), strict=True)
        for text, begins, lead, file in index:
            joined = "\n" + text if lead else text
            begins_at = int(lead) if begins else None
            cut = min(max(self.boundary - done, 0), len(joined))
            if cut:
                here = begins_at is not None and begins_at < cut
                yield Allotted(TRAIN, joined[:cut], begins_at if here else None, file)
            if cut < len(joined):
                later = begins_at - cut if begins_at is not None and begins_at >= cut else None
                first = done + cut == self.boundary  # validation begins here, even within a document
                yield Allotted(VAL, joined[cut:], 0 if first and later is None else later, file)
            done += len(joined)

    def _by_document(self, val: np.ndarray) -> Iterator[Allotted]:
        in_line = [False, False]
        corpus = self.corpus
        kept_pieces = val[corpus.documents].tolist()
        index = zip(corpus.texts(), corpus.begins.tolist(), kept_pieces, corpus.files.tolist(), strict=True)
        for text, begins, kept, file in index:
            split = VAL if kept else TRAIN
            lead = begins and in_line[split]
            in_line[split] = not text.endswith("\n")
            yield Allotted(split, "\n" + text if lead else text, int(lead) if begins else None, file)


def divide(corpus: Corpus, cfg: DataConfig, groups: np.ndarray | None = None) -> Split:
    """The split that a config asks for. By documents, equal ones are always on the same side, and those of a group.

    `groups` (n_documents,) has a number for each document; without it only equal documents are in a group.
    """
    how, reason = cfg.split, "asked for"
    if how == "auto":
        how = "document" if corpus.n_documents >= (MANY if groups is None else 2) else "position"
        reason = f"{corpus.n_documents:,} document{'s' if corpus.n_documents > 1 else ''}"
    if how == "position":
        return Split(corpus, int(corpus.n_characters * (1 - cfg.val_fraction)), reason=f"by position: {reason}")
    if how == "hash":
        hashes = corpus.hashes if groups is None else _of_group(corpus.hashes, groups)
        val = hashes < np.uint64(int(cfg.val_fraction * 2**64))
        return Split(corpus, val=val, reason=f"by hash: {reason}")
    return Split(corpus, val=_drawn(corpus, cfg, groups), reason=f"by document, drawn with data.split_seed: {reason}")


def _of_group(hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each document the hash of the first of its group."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return hashes[first[group]]


def _drawn(corpus: Corpus, cfg: DataConfig, groups: np.ndarray | None) -> np.ndarray:
    """Documents in an order drawn with the seed, until they have their share of the text: bool (n_documents,).

    One that would make the share more than SLACK too large is passed over; if all would, the shortest is taken.
    """
    kinds = corpus.hashes if groups is None else _of_group(corpus.hashes, groups)
    _, group = np.unique(kinds, return_inverse=True)  # one draw for all of a group
    n_groups = int(group.max()) + 1
    lengths = np.bincount(group, weights=corpus.document_lengths)
    wanted = cfg.val_fraction * lengths.sum()
    chosen = np.zeros(n_groups, dtype=bool)
    have = 0.0
    for drawn in np.argsort(permuted(np.arange(n_groups), n_groups, cfg.split_seed)).tolist():
        if have + lengths[drawn] <= (1 + SLACK) * wanted:
            chosen[drawn] = True
            have += lengths[drawn]
        if have >= wanted:
            break
    if not have and n_groups > 1:
        chosen[lengths.argmin()] = True
    return chosen[group]
