"""The texts of an evaluation: the one to be predicted, and the one that the model learnt from.

The one place of `evals` that reads texts; everything else sees tokens. Knows no model.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptforge.config import DataConfig, TrainConfig
from gptforge.config.eval import EvalDataConfig
from gptforge.data.prepare import prepare
from gptforge.data.store import Dataset
from gptforge.errors import CheckpointError, DataError
from gptforge.jsonfile import read_json
from gptforge.tokenizers import Tokenizer

Progress = Callable[[str, float], None]


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
        dataset = self._own() if own else self._prepared(wanted, split is not None)
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
        text = self._part(dataset, part)
        return text, Learnt(dataset.train, predicted=part != "val") if same else self._learnt(), warnings

    def _prepared(self, cfg: DataConfig, as_learnt: bool) -> Dataset:
        """A text as it is; or cleaned as the one that was learnt, for a part of it is asked for."""
        clean = self.config.clean if as_learnt else None
        return prepare(cfg, self.config.tokenizer, self.tokenizer, self.on_progress, clean)

    def _own(self) -> Dataset:
        """The text that the checkpoint was trained on, as it was then."""
        try:
            dataset = self._prepared(self.config.data, as_learnt=True)
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

    def _part(self, dataset: Dataset, split: str) -> Text:
        names = {"train": ("train",), "val": ("val",), "all": ("train", "val")}[split]
        every = {
            "train": (dataset.train, dataset.train_starts, dataset.train_files),
            "val": (dataset.val, dataset.val_starts, dataset.val_files),
        }
        parts = [every[name] for name in names]
        tokens = parts[0][0] if len(parts) == 1 else np.concatenate([part[0] for part in parts])
        label = dataset.manifest["label"]
        if len(tokens) < 2:
            what = label if split == "all" else f"the {split} part of {label}"
            raise DataError(
                f"{what} has {len(tokens)} token{'s' * (len(tokens) != 1)}, at least 2 are needed",
                fix=["a longer text: data=PATH", "split=all" if split != "all" else ""],
            )
        if len(parts) == 2 and dataset.manifest["cuts_document"]:  # the one that both have is one document
            parts[1] = (parts[1][0], parts[1][1][1:], parts[1][2][1:])
        begins = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
        starts = np.concatenate([part[1] + begin for part, begin in zip(parts, begins, strict=True)])
        starts[0] = 0  # what stands before the first document goes with it
        files = [dataset.files[i] for i in np.concatenate([part[2] for part in parts]).tolist()]
        left_out = sum(int(dataset.manifest["splits"][name]["unknown"]) for name in names)
        return Text(tokens, starts, tuple(files), label, split, dataset.manifest["content_sha256"], left_out)


def as_learnt(data: EvalDataConfig, learnt: DataConfig) -> DataConfig:
    """A text that is read as it says, and divided where the one that was learnt was, unless it says otherwise."""
    values: dict[str, Any] = {f.name: getattr(data, f.name) for f in dataclasses.fields(DataConfig)}
    if values["val_fraction"] is None:
        values["val_fraction"] = learnt.val_fraction
    if values["split"] == "auto":
        values["split"], values["split_seed"] = learnt.split, learnt.split_seed
    values["pack"] = values["pack"] or learnt.pack
    return DataConfig(**values)


def recorded(checkpoint: Path) -> str:
    """The fingerprint of the data set that a checkpoint learnt from; empty where it does not say."""
    try:
        return str(read_json(checkpoint / "state.json", "the training state")["fingerprint"]["data"])
    except (CheckpointError, KeyError, TypeError):
        return ""
