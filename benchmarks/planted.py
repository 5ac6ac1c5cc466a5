"""Real texts with planted duplicates and boilerplate, and what is truly there, found without gptforge's search.

Truth is not what was planted: texts have duplicates of their own, and what was edited much is none any more. So all
pairs whose Jaccard similarity reaches the threshold are found exactly, by comparing prefixes of sets sorted by rarity
(Bayardo, Ma and Srikant 2007, Scaling up all pairs similarity search).
"""

import random
import re
import sysconfig
import textwrap
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptforge import assets
from gptforge.data.clean import minhash

HAN = range(0x4E00, 0x4E00 + 3000)
MADE_UP_LINES = 50  # lines of a made-up document, 2 kB


def speeches(full: bool) -> list[str]:
    """Speeches of Shakespeare's plays, of 300 characters at least."""
    text = assets.shakespeare(full=full).read_text(encoding="utf-8")
    return [speech for speech in text.split("\n\n") if len(speech) >= 300]


def topics() -> list[str]:
    """Pages of Python's own manual."""
    return [page for page in assets.pydoc().read_text(encoding="utf-8").split("\n\n\n") if len(page) >= 300]


def modules(*folders: str, most: int = 10**9) -> list[str]:
    """Python sources below the standard library's folder, or below others given, of `most` bytes each at most."""
    roots = [Path(sysconfig.get_path("stdlib")), *map(Path, folders)]
    paths = {
        path for root in roots for path in root.rglob("*.py") if root != roots[0] or "site-packages" not in path.parts
    }
    found = []
    for path in sorted(paths):
        content = path.read_bytes()
        try:
            if 300 <= len(content) <= most:
                found.append(content.decode())
        except UnicodeDecodeError:
            pass  # a test of the standard library is in another encoding on purpose
    return found


def han(texts: Sequence[str]) -> list[str]:
    """Texts with each word written as one or two Han characters, and no blanks: set as Chinese is."""

    def sign(word: str) -> str:
        number = zlib.crc32(word.encode())
        return chr(HAN[number % 3000]) + (chr(HAN[number // 3000 % 3000]) if len(word) > 4 else "")

    return ["\n".join("".join(map(sign, line.lower().split())) + "。" for line in text.split("\n")) for text in texts]


Edit = Callable[[str, random.Random, Sequence[str]], str]  # a text, chance, other texts to take words from


def words_changed(rate: float) -> Edit:
    """Replaces, drops or adds so many words; of a text without blanks so many characters."""

    def edit(text: str, rng: random.Random, others: Sequence[str]) -> str:
        pattern = r"(\s+)" if " " in text else r"(.)"
        pool = [word for word in re.split(pattern, rng.choice(others)) if word.strip()]
        return "".join(
            rng.choice((rng.choice(pool), "", f"{part}{' ' * (' ' in text)}{rng.choice(pool)}"))
            if part.strip() and rng.random() < rate
            else part
            for part in re.split(pattern, text)
        )

    return edit


def lines_inserted(text: str, rng: random.Random, others: Sequence[str]) -> str:
    """With lines of another text in its middle, a tenth of its length."""
    lines, new = text.split("\n"), rng.choice(others)[: len(text) // 10]
    at = rng.randrange(len(lines) + 1)
    return "\n".join((*lines[:at], new, *lines[at:]))


def blanks_and_case(text: str, rng: random.Random, others: Sequence[str]) -> str:
    """Set anew: other line lengths, double blanks, capitals."""
    filled = textwrap.fill(" ".join(text.split()), rng.randrange(30, 100))
    return rng.choice((filled.upper(), filled.replace(" ", "  "), filled.title()))


EDITS: dict[str, Edit] = {
    "equal": lambda text, rng, others: text,
    "blanks and case changed": blanks_and_case,
    "1 % of words changed": words_changed(0.01),
    "2 % of words changed": words_changed(0.02),
    "5 % of words changed": words_changed(0.05),
    "10 % of words changed": words_changed(0.1),
    "lines inserted": lines_inserted,
}


@dataclass(frozen=True, slots=True)
class Planted:
    """Texts in random order; for each edit the pairs (original, copy) of their indices."""

    texts: list[str]
    pairs: dict[str, list[tuple[int, int]]]


def plant(texts: Sequence[str], each: int, seed: int) -> Planted:
    """The texts and `each` copies for every edit, of originals chosen at random, all shuffled."""
    rng = random.Random(seed)
    all_texts, pairs = list(texts), defaultdict(list)
    for name, edit in EDITS.items():
        for original in rng.choices(range(len(texts)), k=each):
            pairs[name].append((original, len(all_texts)))
            all_texts.append(edit(texts[original], rng, texts))
    order = list(range(len(all_texts)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    moved = {name: [(place[a], place[b]) for a, b in found] for name, found in pairs.items()}
    return Planted([all_texts[i] for i in order], moved)


def similar_pairs(texts: Sequence[str], threshold: float) -> dict[tuple[int, int], float]:
    """All pairs (i, j), i < j, of texts whose sets of pieces have at least this Jaccard similarity, with it. Exact."""
    sets = [minhash.distinct(minhash.shingles(minhash.normalized(text))) for text in texts]
    values, ranks = np.unique(np.concatenate(sets), return_inverse=True)
    frequency = np.bincount(ranks)
    by_rarity = np.empty(len(values), np.int64)
    by_rarity[np.argsort(frequency, kind="stable")] = np.arange(len(values))
    candidates: set[tuple[int, int]] = set()
    holders: dict[int, list[int]] = defaultdict(list)
    start = 0
    for i, pieces in enumerate(sets):
        here = ranks[start : start + len(pieces)]
        start += len(pieces)
        rarest = here[np.argsort(by_rarity[here])][: len(pieces) - int(np.ceil(threshold * len(pieces))) + 1]
        for piece in rarest[frequency[rarest] > 1].tolist():
            candidates.update((other, i) for other in holders[piece])
            holders[piece].append(i)
    found = {(i, j): minhash.jaccard(sets[i], sets[j]) for i, j in candidates}
    return {pair: similarity for pair, similarity in found.items() if similarity >= threshold}


def components(n: int, links: Sequence[tuple[int, int]] | dict[tuple[int, int], float]) -> list[int]:
    """The smallest index that each of n things is linked to, directly or through others."""
    group = list(range(n))
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in links:
        neighbours[a].append(b)
        neighbours[b].append(a)
    seen: set[int] = set()
    for first in range(n):
        queue = [first] if first not in seen else []
        while queue:
            here = queue.pop()
            if here not in seen:
                seen.add(here)
                group[here] = first
                queue += neighbours[here]
    return group


def same_group_pairs(groups: Sequence[int]) -> set[tuple[int, int]]:
    """All pairs of indices in one group."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    return {(a, b) for found in members.values() for n, b in enumerate(found) for a in found[:n]}


def with_boilerplate(texts: Sequence[str], n_lines: int, copies: int, seed: int) -> tuple[list[str], list[str]]:
    """The texts with each of `n_lines` made-up lines put into `copies` of them, and these lines."""
    rng = random.Random(seed)
    words = sorted({word for text in texts[:200] for word in text.split()})
    lines = [f"{' '.join(rng.choices(words, k=6))} – page {n} of our notices" for n in range(n_lines)]
    changed = list(texts)
    for line in lines:
        for i in rng.sample(range(len(texts)), copies):
            parts = changed[i].split("\n")
            parts.insert(rng.randrange(len(parts) + 1), line)
            changed[i] = "\n".join(parts)
    return changed, lines


def frequent_lines(texts: Sequence[str], least: int, least_bytes: int) -> set[str]:
    """The lines of at least so many bytes that stand in at least so many texts, by plain counting."""
    counts = Counter(line for text in texts for line in {line.strip() for line in text.split("\n")})
    return {line for line, n in counts.items() if n >= least and len(line.encode()) >= least_bytes}


def with_repeats(texts: Sequence[str], copies: int, seed: int) -> list[str]:
    """The texts with paragraphs of others, of 100 bytes at least, put between their own, `copies` times in all."""
    rng = random.Random(seed)
    changed = [text.split("\n\n") for text in texts]
    pool = [part for parts in changed for part in parts if len(part.strip().encode()) >= 100]
    for _ in range(copies):
        parts = rng.choice(changed)
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(pool))
    return ["\n\n".join(parts) for parts in changed]


class MadeUp(Sequence[str]):
    """Documents of MADE_UP_LINES lines of Shakespeare, made when asked for; every tenth is nearly the one before."""

    def __init__(self, size: float) -> None:
        text = "\n".join(speeches(full=False))
        self._lines = [line for line in text.split("\n") if len(line) > 20]
        mean = sum(map(len, self._lines)) / len(self._lines)
        self._n = int(size / (mean + 1) / MADE_UP_LINES)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int) -> str:  # type: ignore[override]
        chosen = random.Random(i - (i % 10 == 1)).choices(self._lines, k=MADE_UP_LINES)
        if i % 10 == 1:
            chosen[i % MADE_UP_LINES] = random.Random(-i).choice(self._lines)
        return "\n".join(chosen)

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(self._n))
