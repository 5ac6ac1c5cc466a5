"""The texts of an evaluation: the one to be predicted, and the one that the model learnt from.

The one place of `evals` that reads texts; everything else sees tokens. Knows no model.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptforge.config import DataConfig, TrainConfig
from gptforge.config.eval import EvalDataConfig
from gptforge.data.prepare import prepare
from gptforge.data.read import Source, chunks, open_source
from gptforge.data.store import Dataset
from gptforge.errors import CheckpointError, DataError
from gptforge.runs import read_json
from gptforge.tokenizers import Tokenizer

Progress = Callable[[str, float], None]

_CODE_POINTS = 0x110000


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens (n,) in the order of the text, and where each document begins: int64 (documents,), the first is 0.

    `names` are the files that the documents are of; `split` is the part that this is: train, val or all. `left_out`
    counts the characters of it that the vocabulary lacks, `sha256` is that of the whole text in UTF-8.
    """

    tokens: np.ndarray
    starts: np.ndarray
    names: tuple[str, ...]
    label: str
    split: str
    sha256: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Learnt:
    """The tokens (n,) that a model learnt from, or None and why they cannot be had; `predicted`: the text has them."""

    tokens: np.ndarray | None
    why: str = ""
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads texts as one checkpoint needs them: with its tokenizer, split as it was for its training."""

    checkpoint: Path
    config: TrainConfig
    tokenizer: Tokenizer
    on_progress: Progress | None = None

    def read(self, data: EvalDataConfig, split: str | None) -> tuple[Text, Learnt, list[str]]:
        """The text to predict, the text that was learnt, and warnings.

        Without data.source it is the validation part of the checkpoint's own text. Raises DataError for a text that
        cannot be used, has changed since it was learnt, or was learnt though nobody asked for such a part of it.
        """
        own = data.source is None
        wanted = self.config.data if own else as_learnt(data, self.config.data)
        dataset = self._own() if own else self._prepared(wanted)
        same = dataset.fingerprint == recorded(self.checkpoint)
        warnings = list(dataset.warnings)
        if same and split is None and not own:
            raise DataError(
                f"{dataset.manifest['label']} is the text that the model learnt from",
                fix=["split=val (the part that was kept for validation)", "split=all (if that is meant)"],
            )
        part = split or ("val" if own else "all")
        if same and part != "val":
            warnings.append("the model learnt from this text: the numbers tell how well it knows it by now")
        text = self._part(wanted, dataset, part)
        return text, Learnt(dataset.train, predicted=part != "val") if same else self._learnt(), warnings

    def _prepared(self, cfg: DataConfig) -> Dataset:
        return prepare(cfg, self.config.tokenizer, self.tokenizer, self.on_progress)

    def _own(self) -> Dataset:
        """The text that the checkpoint was trained on, as it was then."""
        try:
            dataset = self._prepared(self.config.data)
        except DataError as e:
            moved = "data=PATH split=val (where the text is now)"
            raise DataError(f"the model's own text cannot be read: {e.what}", where=e.where, fix=moved) from None
        then = recorded(self.checkpoint)
        if then and then != dataset.fingerprint:
            raise DataError(
                f"the text {dataset.manifest['label']} has changed since the model learnt from it",
                where=f"its fingerprint is {dataset.fingerprint[:12]}, in the checkpoint it is {then[:12]}",
                fix="data=PATH (any text, also this one as it is now)",
            )
        return dataset

    def _learnt(self) -> Learnt:
        try:
            return Learnt(self._own().train)
        except DataError as e:
            return Learnt(None, e.what)

    def _part(self, cfg: DataConfig, dataset: Dataset, split: str) -> Text:
        parts = {"train": [dataset.train], "val": [dataset.val], "all": [dataset.train, dataset.val]}[split]
        tokens = parts[0] if len(parts) == 1 else np.concatenate(parts)
        label = dataset.manifest["label"]
        if len(tokens) < 2:
            what = label if split == "all" else f"the {split} part of {label}"
            raise DataError(
                f"{what} has {len(tokens)} token{'s' * (len(tokens) != 1)}, at least 2 are needed",
                fix=["a longer text: data=PATH", "split=all" if split != "all" else ""],
            )
        first = len(dataset.train) if split == "val" else 0
        source = open_source(cfg)
        starts, names = _within(*_files(source, self.tokenizer), first, first + len(tokens))
        left_out = 0 if dataset.manifest["unknown"] == "none" else self._left_out(source, dataset, split)
        return Text(tokens, starts, names, label, split, dataset.manifest["content_sha256"], left_out)

    def _left_out(self, source: Source, dataset: Dataset, split: str) -> int:
        """How many characters of a part of the text the vocabulary lacks."""
        sizes = {name: int(held["characters"]) for name, held in dataset.manifest["splits"].items()}
        first = sizes["train"] if split == "val" else 0
        last = sizes["train"] if split == "train" else sum(sizes.values())
        counts, done = np.zeros(_CODE_POINTS, dtype=np.int64), 0
        for text in chunks(source):
            part = text[max(0, first - done) : max(0, last - done)]
            counts += np.bincount(np.frombuffer(part.encode("utf-32-le"), dtype="<u4"), minlength=_CODE_POINTS)
            done += len(text)
        present = np.flatnonzero(counts).astype("<u4").tobytes().decode("utf-32-le")
        return sum(int(counts[ord(c)]) for c in self.tokenizer.missing(present))


def as_learnt(data: EvalDataConfig, learnt: DataConfig) -> DataConfig:
    """A text that is read as it says, and divided where the one that was learnt was, unless it says otherwise."""
    values: dict[str, Any] = {f.name: getattr(data, f.name) for f in dataclasses.fields(DataConfig)}
    if values["val_fraction"] is None:
        values["val_fraction"] = learnt.val_fraction
    return DataConfig(**values)


def recorded(checkpoint: Path) -> str:
    """The fingerprint of the data set that a checkpoint learnt from; empty where it does not say."""
    try:
        return str(read_json(checkpoint / "state.json", "the training state")["fingerprint"]["data"])
    except (CheckpointError, KeyError, TypeError):
        return ""


def _files(source: Source, tokenizer: Tokenizer) -> tuple[np.ndarray, list[str]]:
    """The token at which each file begins, and the file's name; those without tokens are left out."""
    if len(source.files) == 1:
        return np.zeros(1, dtype=np.int64), [source.label]
    top = os.path.commonpath([path.parent for path in source.files])
    starts, names, n_tokens, last = [], [], 0, "\n"
    for path in source.files:
        text = path.read_bytes().decode("utf-8-sig")
        if text and last != "\n":
            n_tokens += len(tokenizer.encode("\n"))  # what `chunks` puts between two files
        n_new = len(tokenizer.encode(text))
        if n_new:
            starts.append(n_tokens)
            names.append(path.relative_to(top).as_posix())
        n_tokens, last = n_tokens + n_new, text[-1:] or last
    return np.array(starts, dtype=np.int64), names


def _within(starts: np.ndarray, names: list[str], first: int, end: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The documents that lie, or go on, in tokens first to end-1, counted from there."""
    begin = max(0, int(np.searchsorted(starts, first, "right")) - 1)
    kept = slice(begin, int(np.searchsorted(starts, end, "left")))
    within = np.maximum(starts[kept], first) - first
    within[0] = 0  # what stands before the first document goes with it
    return within, tuple(names[kept])
