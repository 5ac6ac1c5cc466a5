"""Rules that tell poor documents from good ones, as two papers made them for pages of the web.

Gopher: Rae et al. 2021, arXiv 2112.11446, appendix A1.1, its quality filters and its repetition filters (table A1).
C4: Raffel et al. 2020, JMLR 21(140), section 2.2, whose final version asks for 3 sentences and 5 words a line; without
its list of bad words, and without its removal of repeated sentences (see duplicates). Thresholds are the papers'. Both
were made for English: each rule says which kinds of document it makes sense for, and is skipped for the others.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gptforge.data.clean.events import Change, Sample, shortened
from gptforge.data.clean.kinds import Kind

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = tuple("•‣⁃∙◦●○▪▫■□▶►–*-")
ELLIPSES = ("...", "…")
PARAGRAPHS = re.compile(r"\n\s*\n")
PROSE, NO_CODE, ALL = (Kind.PROSE,), (Kind.PROSE, Kind.UNSPACED), tuple(Kind)


@dataclass(frozen=True, slots=True)
class Broken:
    """The rule that a document breaks, what was measured, and what is allowed."""

    rule: str
    value: float
    allowed: str

    def __str__(self) -> str:
        return f"{self.rule} {self.value:.4g}, allowed {self.allowed}"


@dataclass(frozen=True)
class Page:
    """A document as the rules look at it."""

    text: str
    duplicate_shares: dict[int, float] = field(default_factory=dict)  # by n: what `duplicate_share` has found

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [part for part in map(str.strip, PARAGRAPHS.split(self.text)) if part]

    @cached_property
    def word_ids(self) -> np.ndarray:
        """Equal numbers for equal words, (n_words,) uint64."""
        known: dict[str, int] = {}
        return np.array([known.setdefault(word, len(known)) for word in self.words], dtype=np.uint64)

    @cached_property
    def word_lengths(self) -> np.ndarray:
        return np.array([len(word) for word in self.words])

    def share_of_words(self, holds: Callable[[str], bool]) -> float:
        return sum(map(holds, self.words)) / max(1, len(self.words))

    def share_of_lines(self, holds: Callable[[str], bool]) -> float:
        return sum(map(holds, self.lines)) / max(1, len(self.lines))

    def share_of_signs(self, *signs: str) -> float:
        """How often signs stand in the text, for each word."""
        return sum(map(self.text.count, signs)) / max(1, len(self.words))


@dataclass(frozen=True, slots=True)
class Rule:
    """Drops a document whose measure lies below `least` or above `most`, for the kinds that it makes sense for."""

    name: str
    measure: Callable[[Page], float]
    least: float | None
    most: float | None
    kinds: tuple[Kind, ...]
    english: bool = False

    def broken_by(self, page: Page) -> Broken | None:
        value = self.measure(page)
        if self.least is not None and value < self.least:
            return Broken(self.name, value, self.allowed)
        if self.most is not None and value > self.most:
            return Broken(self.name, value, self.allowed)
        return None

    @property
    def allowed(self) -> str:
        if self.least is None:
            return f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most is None else f"{self.least:g} to {self.most:g}"


def repeated_share(parts: list[str]) -> float:
    """The share of the parts that stood before."""
    return (len(parts) - len(set(parts))) / max(1, len(parts))


def repeated_characters(parts: list[str]) -> float:
    """The share of characters that are in parts that stood before."""
    total = sum(map(len, parts))
    return (total - sum(map(len, set(parts)))) / max(1, total)


def top_share(page: Page, n: int) -> float:
    """The share of a page's characters, blanks aside, that lie in its most frequent n-gram of words.

    An n-gram that stands once is no repetition; of equally frequent ones the longest counts.
    """
    grams, counts = _grams(page, n)
    if not len(counts) or counts.max() < 2:
        return 0.0
    places = np.flatnonzero(counts[grams] == counts.max())
    ends = np.concatenate(([0], np.cumsum(page.word_lengths)))
    longest = places[np.argmax(ends[places + n] - ends[places])]
    return _covered(page, np.flatnonzero(grams == grams[longest]), n) / int(page.word_lengths.sum())


def duplicate_share(page: Page, n: int) -> float:
    """The share of a page's characters, blanks aside, that lie in n-grams of words that stand there more than once.

    A character in several of them counts once.
    """
    known = page.duplicate_shares
    if known.get(n - 1) == 0.0:
        known[n] = 0.0  # what has no repeated piece of n-1 words has none of n
    if n not in known:
        grams, counts = _grams(page, n)
        places = np.flatnonzero(counts[grams] > 1)
        known[n] = _covered(page, places, n) / max(1, int(page.word_lengths.sum()))
    return known[n]


def _grams(page: Page, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A number for the n-gram that begins at each word, (n_words-n+1,), equal for equal ones; and how often each is."""
    ids = page.word_ids
    size = len(ids) - n + 1
    if size < 1:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    hashes = np.zeros(size, np.uint64)
    for i in range(n):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + ids[i : size + i] + np.uint64(1)
    order = np.argsort(hashes, kind="stable")
    begins = np.concatenate(([True], hashes[order][1:] != hashes[order][:-1]))
    grams = np.empty(size, np.int64)
    grams[order] = np.cumsum(begins) - 1
    return grams, np.bincount(grams)


def _covered(page: Page, places: np.ndarray, n: int) -> int:
    """How many characters the n words from each of the places on have together."""
    if not len(places):
        return 0
    edges = np.zeros(len(page.words) + 1, np.int64)
    np.add.at(edges, places, 1)
    np.add.at(edges, places + n, -1)
    return int(page.word_lengths[np.cumsum(edges[:-1]) > 0].sum())


GOPHER = (
    Rule("word_count", lambda p: len(p.words), 50, 100_000, PROSE),
    Rule("mean_word_length", lambda p: len("".join(p.words)) / max(1, len(p.words)), 3, 10, PROSE),
    Rule("hash_signs_per_word", lambda p: p.share_of_signs("#"), None, 0.1, PROSE),
    Rule("ellipses_per_word", lambda p: p.share_of_signs(*ELLIPSES), None, 0.1, PROSE),
    Rule("bullet_lines", lambda p: p.share_of_lines(lambda s: s.startswith(BULLETS)), None, 0.9, NO_CODE),
    Rule("ellipsis_lines", lambda p: p.share_of_lines(lambda s: s.endswith(ELLIPSES)), None, 0.3, NO_CODE),
    Rule("words_with_letters", lambda p: p.share_of_words(lambda w: any(map(str.isalpha, w))), 0.8, None, PROSE),
    Rule("stop_words", lambda p: len(STOP_WORDS & set(re.findall(r"\w+", p.text.lower()))), 2, None, PROSE, True),
    Rule("duplicate_lines", lambda p: repeated_share(p.lines), None, 0.3, NO_CODE),
    Rule("duplicate_line_characters", lambda p: repeated_characters(p.lines), None, 0.2, NO_CODE),
    Rule("duplicate_paragraphs", lambda p: repeated_share(p.paragraphs), None, 0.3, ALL),
    Rule("duplicate_paragraph_characters", lambda p: repeated_characters(p.paragraphs), None, 0.2, ALL),
    Rule("top_2_gram", lambda p: top_share(p, 2), None, 0.2, PROSE),
    Rule("top_3_gram", lambda p: top_share(p, 3), None, 0.18, PROSE),
    Rule("top_4_gram", lambda p: top_share(p, 4), None, 0.16, PROSE),
    Rule("duplicate_5_grams", lambda p: duplicate_share(p, 5), None, 0.15, PROSE),
    Rule("duplicate_6_grams", lambda p: duplicate_share(p, 6), None, 0.14, PROSE),
    Rule("duplicate_7_grams", lambda p: duplicate_share(p, 7), None, 0.13, PROSE),
    Rule("duplicate_8_grams", lambda p: duplicate_share(p, 8), None, 0.12, PROSE),
    Rule("duplicate_9_grams", lambda p: duplicate_share(p, 9), None, 0.11, PROSE),
    Rule("duplicate_10_grams", lambda p: duplicate_share(p, 10), None, 0.1, PROSE),
)


def gopher(text: str, kind: Kind, english: bool) -> tuple[Broken | None, list[str]]:
    """The first of Gopher's rules that a document breaks; and the rules that were skipped.

    `english` says that the text is meant to be English: only then its stop words are asked for.
    """
    page = Page(text)
    skipped: list[str] = []
    for rule in GOPHER:
        if kind not in rule.kinds or (rule.english and not english):
            skipped.append(rule.name)
        elif broken := rule.broken_by(page):
            return broken, skipped
    return None, skipped


SENTENCES = 3
LINE_WORDS = 5
CLOSING = tuple('.!?"”’»」』。！？؟।॥')  # marks and quotation marks that end a sentence
CLOSED = re.compile(r"[.!?。！？؟।॥]+[\"'”’»」』)）]*(?=\s|$|[^\x00-\x7f])")
CITATION = re.compile(r"\[(?:\d+|edit|citation needed)\]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def c4(text: str, kind: Kind, examples: int) -> tuple[Change, Broken | None]:
    """A page with the lines and signs that C4 keeps, or the rule of C4 that drops it.

    A line stays when it ends with a closing mark, has five words (where blanks part words) and speaks neither of
    Javascript nor of cookies and terms of use; the page when it has three sentences then, and neither "lorem ipsum"
    nor a curly bracket. Source code is no case for this: nearly all of it would go.
    """
    lower = text.lower()
    for rule, sign in (("lorem_ipsum", "lorem ipsum"), ("curly_bracket", "{")):
        if found := lower.count(sign):
            return Change(text), Broken(rule, found, "none")
    kept: list[str] = []
    samples: list[Sample] = []
    position = amount = 0
    for line in text.split("\n"):
        plain = CITATION.sub("", line)
        stays = not line.strip() or _is_sentence(plain.strip(), kind)
        if stays:
            kept.append(plain)
        if not stays or plain != line:
            amount += 1
            if len(samples) < examples:
                samples.append(Sample(position, shortened(line)))
        position += len(line) + 1
    left = "\n".join(kept) if amount else text
    sentences = len(CLOSED.findall(left))
    broken = Broken("sentences", sentences, f"at least {SENTENCES}") if sentences < SENTENCES else None
    return Change(left, amount, tuple(samples)), broken


def _is_sentence(line: str, kind: Kind) -> bool:
    lower = line.lower()
    long_enough = kind is Kind.UNSPACED or len(line.split()) >= LINE_WORDS
    return line.endswith(CLOSING) and long_enough and not any(p in lower for p in ("javascript", *POLICIES))
