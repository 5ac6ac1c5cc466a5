"""How much of a prepared text is of which file, and of which of several texts. Knows document starts, no text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gptforge.data.report.lengths import document_lengths
from gptforge.data.store import Dataset

MOST_FILES = 50


def file_facts(data: Dataset, most: int = MOST_FILES) -> dict[str, Any]:
    """How many files have text in the data set, and the largest of them: documents, and tokens in train and in val."""
    documents, train, val = _of_files(data)
    order = np.argsort(-(train + val), kind="stable")
    order = order[(train + val)[order] > 0]
    return {
        "files": len(data.files),
        "with_text": len(order),
        "largest": [
            {"name": data.files[i], "documents": int(documents[i]), "train": int(train[i]), "val": int(val[i])}
            for i in order[:most].tolist()
        ],
    }


def text_facts(data: Dataset, names: Sequence[str]) -> list[dict[str, Any]]:
    """What each of several texts gives to train and val: files that have any, documents, tokens; empty for one text.

    `names` are what the texts are called, in order. What `data.val_path` names is a text by itself.
    """
    documents, train, val = _of_files(data)
    begins, names = list(data.parts), list(names)
    if len(begins) == 1:
        return []
    if data.manifest["split"] == "data.val_path":  # its files come last
        begins.append(int(np.flatnonzero(np.append(val, 1))[0]))
        names.append("data.val_path")
    ends = [*begins[1:], len(data.files)]
    return [
        {
            "name": name,
            "files": int(np.count_nonzero((train + val)[begin:end])),
            "documents": int(documents[begin:end].sum()),
            "train": int(train[begin:end].sum()),
            "val": int(val[begin:end].sum()),
        }
        for name, begin, end in zip(names, begins, ends, strict=True)
    ]


def _of_files(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents, tokens in train and tokens in val of each file: (n_files,) int64.

    A document that the split cuts in two is one in each part.
    """
    n = len(data.files)
    documents = sum(np.bincount(each, minlength=n) for each in (data.train_files, data.val_files))
    of = zip((data.train_files, data.val_files), document_lengths(data), strict=True)
    train, val = (np.bincount(each, weights=lengths, minlength=n).astype(np.int64) for each, lengths in of)
    return np.asarray(documents), train, val
