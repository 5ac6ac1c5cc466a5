"""What a user can set about cleaning a text before it is learnt: one switch a filter, all off by default."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key

REFUSE, FREE = Resume.REFUSE, Resume.FREE
_LANGUAGE = re.compile(r"[a-z]{2,3}")  # ISO 639, as the identifier of languages writes them


@dataclass(kw_only=True, slots=True)
class CleanConfig:
    """What is mended in the text and what is left out; each filter is counted and shown in the data report."""

    unicode: str = key(
        "off",
        "fix: mend wrongly decoded characters, then as nfc; nfc, nfkc: one form for equal characters",
        resume=REFUSE,
        choices=("off", "fix", "nfc", "nfkc"),
    )
    line_ends: bool = key(False, "make every kind of line end a line feed", resume=REFUSE)
    control_characters: bool = key(
        False, "leave out control characters, terminal colours and byte order marks", resume=REFUSE
    )
    invisible: bool = key(
        False, "leave out zero-width and direction marks where no script of the document needs them", resume=REFUSE
    )
    whitespace: bool = key(
        False, "leave out blanks at line ends, blank lines around a document and more than two in a row", resume=REFUSE
    )
    min_length: int | None = key(None, "drop documents of fewer characters", resume=REFUSE, ge=1, le=1 << 24)
    max_length: int | None = key(None, "drop documents of more characters", resume=REFUSE, ge=1, le=1 << 24)
    gopher: bool = key(False, "drop poor documents by Gopher's rules of words, lines and repetition", resume=REFUSE)
    c4: bool = key(
        False, "by C4's rules: keep lines that are sentences, drop pages of placeholders or brackets", resume=REFUSE
    )
    language: list[str] = key([], "drop documents in other languages than these, such as [en,zh]", resume=REFUSE)
    language_confidence: float = key(
        0.5, "probability that a document must have to be in one of the languages", resume=REFUSE, ge=0, le=1
    )
    personal: str = key(
        "off",
        "personal data: report it, mask it, or drop documents that have it",
        resume=REFUSE,
        choices=("off", "report", "mask", "drop"),
    )
    personal_kinds: list[str] = key([], "kinds of personal data that are looked for; []: all", resume=REFUSE)
    exact_duplicates: str = key(
        "off",
        "report equal documents; drop all but the first; with paragraphs: repeated paragraphs too",
        resume=REFUSE,
        choices=("off", "report", "documents", "paragraphs"),
    )
    near_duplicates: str = key(
        "off",
        "documents that are nearly equal: group keeps them on one side of the split, drop keeps the first",
        resume=REFUSE,
        choices=("off", "group", "drop"),
    )
    near_threshold: float = key(
        0.7, "from which share of common 8-byte pieces on two documents are nearly equal", resume=REFUSE, ge=0.3, le=1
    )
    boilerplate: int | None = key(None, "leave out lines that stand in at least so many documents", resume=REFUSE, ge=2)
    decontaminate: list[str] = key(
        [], "leave out lines that stand in these files, folders or patterns: texts to test the model on", resume=FREE
    )
    examples: int = key(3, "examples that the report shows of each filter", resume=FREE, ge=0, le=100)

    def problems(self) -> Iterator[Problem]:
        if self.min_length and self.max_length and self.min_length > self.max_length:
            yield Problem(
                "clean.min_length",
                f"nothing is left between clean.min_length={self.min_length} and clean.max_length={self.max_length}",
                f"clean.max_length={self.min_length * 10}",
            )
        for code in self.language:
            if not _LANGUAGE.fullmatch(code):
                yield Problem(
                    "clean.language", f"clean.language has {code!r}; codes of ISO 639 are needed", "clean.language=[en]"
                )
        if self.personal_kinds and self.personal == "off":
            yield Problem(
                "clean.personal_kinds", "clean.personal_kinds is used only with clean.personal", "clean.personal=report"
            )

    def split_problems(self, split: str) -> Iterator[Problem]:
        """What cannot be together with a way to split."""
        if self.near_duplicates == "group" and split == "position":
            yield Problem(
                "clean.near_duplicates",
                "clean.near_duplicates=group needs a split by documents, not data.split=position",
                "data.split=document",
            )
