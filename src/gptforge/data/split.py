"""Which part of a corpus is learnt and which is kept for validation: by position, by whole documents, or by hash.

Knows the corpus's index; nothing of tokens or files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gptforge.config.data import DataConfig
from gptforge.data.corpus import Corpus
from gptforge.data.files import Source
from gptforge.data.order import permuted
from gptforge.errors import DataError

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
    """A division of a corpus: by `val` (n_documents,) bool, or by characters of its joined text.

    `edges` are characters: training text until the first, then validation text until the second, and so on.
    """

    corpus: Corpus
    edges: Sequence[int] = ()
    val: np.ndarray | None = None
    reason: str = ""

    @property
    def cuts(self) -> bool:
        """Whether the one validation part begins within a document, which the training part ends with."""
        if self.val is not None or len(self.edges) > 2:
            return False
        begins = _begins(self.corpus)
        leads = self.corpus.leads[self.corpus.begins]
        return not ((begins == self.edges[0]) | (begins + leads == self.edges[0])).any()

    def pieces(self) -> Iterator[Allotted]:
        """The corpus's pieces in order, none empty; a document that begins in a line has a line feed before it."""
        yield from self._by_position() if self.val is None else self._by_document(self.val)

    def _by_position(self) -> Iterator[Allotted]:
        corpus = self.corpus
        in_line: list[bool | None] = [None, None]  # whether the side's text so far ends in a line; None: there is none
        done, region = 0, 0
        fresh = False  # the side was changed, and nothing of the new one has come yet
        index = zip(corpus.texts(), corpus.begins.tolist(), corpus.leads.tolist(), corpus.files.tolist(), strict=True)
        for text, begins, lead, file in index:
            joined = "\n" + text if lead else text
            begins_at = int(lead) if begins else None
            at = 0
            while at < len(joined):
                while region < len(self.edges) and done + at >= self.edges[region]:
                    region, fresh = region + 1, True
                end = min(len(joined), self.edges[region] - done) if region < len(self.edges) else len(joined)
                here = begins_at - at if begins_at is not None and at <= begins_at < end else None
                side = region % 2
                part = joined[at:end]
                if fresh and in_line[side] is not None:  # another text, or the rest of one, after what is there
                    part = "\n" * bool(in_line[side]) + part[here or 0 :]
                    here = int(bool(in_line[side]))
                yield Allotted(side, part, 0 if fresh and here is None else here, file)
                in_line[side], fresh, at = not part.endswith("\n"), False, end
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


def divide(corpus: Corpus, cfg: DataConfig, source: Source | None = None, groups: np.ndarray | None = None) -> Split:
    """The split that a config asks for, of each of the source's texts by itself (None: the corpus is one text).

    By documents, equal ones are always on the same side, and those of a group: `groups` (n_documents,) has a number for
    each document. Raises DataError when the same document is learnt and validated on.
    """
    source = source or Source((), "")
    if source.val_from is not None:
        val = corpus.files[corpus.begins] >= source.val_from
        _check_apart(corpus, val, source)
        return Split(corpus, val=val, reason="data.val_path")
    how, reason = cfg.split, "asked for"
    texts = np.searchsorted(source.parts, corpus.files[corpus.begins], side="right") - 1  # of each document
    if how == "auto":
        fewest = int(np.bincount(texts, minlength=len(source.parts)).min())
        how = "document" if fewest >= (MANY if groups is None else 2) else "position"
        of_each = " at least in each text" if len(source.parts) > 1 else ""
        reason = f"{fewest:,} document{'s' if fewest != 1 else ''}{of_each}"
    if how == "position":
        return Split(corpus, _edges(corpus, texts, cfg.val_fraction), reason=f"by position: {reason}")
    if how == "hash":
        hashes = corpus.hashes if groups is None else _of_group(corpus.hashes, groups)
        val = hashes < np.uint64(int(cfg.val_fraction * 2**64))
        return Split(corpus, val=val, reason=f"by hash: {reason}")
    val = _drawn(corpus, cfg, texts, groups)
    return Split(corpus, val=val, reason=f"by document, drawn with data.split_seed: {reason}")


def _begins(corpus: Corpus) -> np.ndarray:
    """The characters of the joined text at which documents begin, or the line feeds before them: int64."""
    ends = np.cumsum(corpus.lengths.astype(np.int64) + corpus.leads)
    return np.concatenate([[0], ends[:-1]])[corpus.begins]


def _edges(corpus: Corpus, texts: np.ndarray, val_fraction: float) -> tuple[int, ...]:
    """The edges of a split that keeps the end of each text; `texts` (n_documents,) ascends."""
    firsts = _begins(corpus)[np.flatnonzero(np.diff(texts, prepend=-1))].tolist()
    edges: list[int] = []
    for first, end in zip(firsts, [*firsts[1:], corpus.n_characters], strict=True):
        edges += [first + int((end - first) * (1 - val_fraction)), end]
    return tuple(edges)


def _check_apart(corpus: Corpus, val: np.ndarray, source: Source) -> None:
    shared = np.intersect1d(corpus.hashes[val], corpus.hashes[~val])
    if not len(shared):
        return
    files = corpus.files[corpus.begins]
    learnt, kept = (int(files[side & (corpus.hashes == shared[0])][0]) for side in (~val, val))
    raise DataError(
        f"{len(shared):,} document{'s are' if len(shared) > 1 else ' is'} in the text that is learnt and in the one"
        " that is validated on",
        where=f"such as in {source.names[learnt]} and {source.names[kept]}",
        fix=["clean.decontaminate=[PATH] (leave out of what is learnt what stands there)", "data.val_path=PATH"],
    )


def _of_group(hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each document the hash of the first of its group."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return hashes[first[group]]


def _drawn(corpus: Corpus, cfg: DataConfig, texts: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Documents in an order drawn with the seed, until each text has its share: bool (n_documents,).

    One that would make the share of its text more than SLACK too large is passed over; if all would, the shortest is
    taken.
    """
    kinds = corpus.hashes if groups is None else _of_group(corpus.hashes, groups)
    _, group = np.unique(kinds, return_inverse=True)  # one draw for all of a group
    n_groups, n_texts = int(group.max()) + 1, int(texts.max()) + 1
    lengths = np.zeros((n_groups, n_texts))
    np.add.at(lengths, (group, texts), corpus.document_lengths)
    wanted = cfg.val_fraction * lengths.sum(axis=0)
    chosen = np.zeros(n_groups, dtype=bool)
    have = np.zeros(n_texts)
    for drawn in np.argsort(permuted(np.arange(n_groups), n_groups, cfg.split_seed)).tolist():
        of = lengths[drawn]
        if (have + of <= (1 + SLACK) * wanted)[of > 0].all() and (have < wanted)[of > 0].any():
            chosen[drawn] = True
            have += of
        if (have >= wanted).all():
            break
    for text in np.flatnonzero(have == 0).tolist():
        own = np.flatnonzero(lengths[:, text])
        if len(own) > 1:
            chosen[own[lengths[own, text].argmin()]] = True
    return chosen[group]
