"""What a user can set about the text and how it becomes tokens."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import MISSING, Problem, Resume, key

BUILT_IN = ("shakespeare", "shakespeare_full", "pydoc")
SOURCES = (*BUILT_IN, "files", "mix")
PACKS = ("text", "documents")
LEAST_WEIGHT = 0.001  # of a text in a mixture
TOKENIZERS = ("char", "byte", "bpe", "gpt2", "hf")
LEAST_BPE = 256 + 3  # the bytes, <|endoftext|> and two chat markers, and nothing merged


def known_encoding(name: str) -> str:
    """The encoding's name as Python has it. Raises ValueError for one that there is not."""
    try:
        info = codecs.lookup(name)
        "".encode(info.name)
    except (LookupError, ValueError):
        raise ValueError("no text encoding that Python knows, such as utf-8, gb18030, big5, cp1252") from None
    return info.name


@dataclass(slots=True)
class SourceConfig:
    """One of several texts that are learnt together."""

    path: str = key(MISSING, "a file, a folder, a pattern, or a built-in text", resume=Resume.FREE)
    weight: float | None = key(None, "share of what is learnt; null: by size", resume=Resume.REFUSE, gt=0)


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """The text that is learnt."""

    source: str = key("shakespeare", "a built-in text, or files", resume=Resume.REFUSE, choices=SOURCES)
    path: str | None = key(
        None,
        "with source=files: a file, a folder, or a pattern such as notes/**/*.md",
        resume=Resume.FREE,
        free_text=True,
    )
    sources: list[SourceConfig] = key(
        [],
        "with source=mix: several texts, such as [{path: a.txt, weight: 0.7}, {path: notes, weight: 0.3}]",
        resume=Resume.UNLESS_ALLOWED,
        type_name="list of texts",
    )
    val_path: str | None = key(
        None,
        "validate on this file, folder or pattern, and learn all of the text; null: keep a part of it",
        resume=Resume.FREE,
        free_text=True,
    )
    include: list[str] = key([], "in a folder, read files of these patterns instead of all text", resume=Resume.FREE)
    exclude: list[str] = key([], "leave out files of these patterns", resume=Resume.FREE)
    encoding: str | None = key(
        None,
        "of the files, such as gb18030; null: found (UTF-8, or guessed)",
        resume=Resume.FREE,
        parse=known_encoding,
        type_name="encoding|null",
    )
    text_key: str | None = key(
        None, "the key or column that is the text, in JSONL, CSV and parquet; null: found", resume=Resume.FREE
    )
    on_error: str = key("stop", "at a file or row that cannot be used", resume=Resume.FREE, choices=("stop", "skip"))
    split: str = key(
        "auto",
        "kept for validation: the end (position), or documents, drawn or by hash; auto: document from 20 on",
        resume=Resume.REFUSE,
        choices=("auto", "position", "document", "hash"),
    )
    split_seed: int = key(0, "which documents are drawn for validation", resume=Resume.REFUSE, ge=0)
    val_fraction: float = key(0.1, "share of the text kept for validation", resume=Resume.REFUSE, gt=0, lt=1)
    pack: str = key(
        "text",
        "what a token sees: the text before it in its window, or of that only its own document",
        resume=Resume.REFUSE,
        choices=PACKS,
    )
    shuffle: bool = key(True, "read the windows of an epoch in random order", resume=Resume.REFUSE)

    def _paths(self) -> Iterator[tuple[str, str]]:
        """Every path with its key."""
        yield from (("data.path", path) for path in [self.path] if path)
        yield from (("data.val_path", path) for path in [self.val_path] if path)
        yield from (("data.sources", source.path) for source in self.sources)

    def problems(self) -> Iterator[Problem]:
        if self.source == "files" and not self.path:
            yield Problem(
                "data.path", "data=files needs data.path", "data=PATH (a text file, or a folder of text files)"
            )
        if self.source != "files" and self.path:
            yield Problem(
                "data.path", f"data.path is used only with data=files, not with {self.source}", f"data={self.path}"
            )
        if self.source == "mix" and not self.sources:
            yield Problem("data.sources", "data=mix needs data.sources", "data.sources=[a.txt,notes]")
        if self.source != "mix" and self.sources:
            yield Problem(
                "data.sources", f"data.sources is used only with data=mix, not with {self.source}", "data=mix"
            )
        for name, path in self._paths():
            if "://" in path:
                what = f"{name} is an address, and gptforge reads files"
                yield Problem(name, what, f"fetch it first, then {name}=FILE")
        weights = [source.weight for source in self.sources]
        if None in weights and any(weights):
            yield Problem("data.sources", "give each of data.sources a weight, or none of them", "weight: 1")
        total = sum(w for w in weights if w)
        if small := [s.path for s in self.sources if s.weight and s.weight < LEAST_WEIGHT * total]:
            yield Problem(
                "data.sources", f"the weight of {small[0]} is less than {LEAST_WEIGHT:g} of all", "leave it out"
            )


@dataclass(kw_only=True, slots=True)
class TokenizerConfig:
    """How text becomes numbers."""

    kind: str = key(
        "char",
        "one token a character or byte; pieces of words learnt from the text, GPT-2's, or those of a file",
        resume=Resume.REFUSE,
        choices=TOKENIZERS,
    )
    vocab_size: int | None = key(
        None,
        "with kind=bpe: how many tokens at most; null: about the square root of the text's bytes",
        resume=Resume.REFUSE,
        ge=LEAST_BPE,
        le=1_000_000,
    )
    path: str | None = key(
        None, "with kind=hf: a tokenizer.json, or a folder that has one", resume=Resume.FREE, free_text=True
    )
    unknown: str = key(
        "error",
        "a character that the vocabulary lacks: stop, leave it out, or put a stand-in",
        resume=Resume.FREE,
        choices=("error", "skip", "replace"),
    )

    def problems(self) -> Iterator[Problem]:
        if self.vocab_size is not None and self.kind != "bpe":
            yield Problem(
                "tokenizer.vocab_size",
                f"tokenizer.vocab_size is used only with tokenizer=bpe, not with {self.kind}",
                f"tokenizer=bpe tokenizer.vocab_size={self.vocab_size}",
            )
        if self.kind == "hf" and not self.path:
            yield Problem("tokenizer.path", "tokenizer=hf needs tokenizer.path", "tokenizer.path=PATH/tokenizer.json")
        if self.kind != "hf" and self.path:
            yield Problem(
                "tokenizer.path",
                f"tokenizer.path is used only with tokenizer=hf, not with {self.kind}",
                f"tokenizer=hf tokenizer.path={self.path}",
            )
