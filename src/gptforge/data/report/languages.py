"""Which languages a prepared text is in, by passages spread over it. Needs py3langid; knows nothing of cleaning."""

from collections import Counter
from typing import Any

import numpy as np

from gptforge.data.clean import language
from gptforge.data.clean.kinds import Kind, kind_of
from gptforge.data.mapped import part
from gptforge.data.store import Dataset
from gptforge.errors import ConfigError

PLACES = 400
PASSAGE_BYTES = 1000
SURE = 0.5  # probability, below which a language is not told


def language_facts(data: Dataset) -> dict[str, Any]:
    """The languages (ISO 639) of passages around evenly spread places, each with its share of them, most first.

    A passage is at most about PASSAGE_BYTES of one document. `other` are the shares of places where no language was
    told, and why. Without py3langid nothing is looked at, and `missing` says what to install.
    """
    found: dict[str, Any] = {"passages": 0, "languages": [], "other": [], "missing": ""}
    try:
        language.check([])
    except ConfigError as e:
        return found | {"missing": f"{e.what}: {e.fixes[0]}"}
    told: Counter[str] = Counter()
    other: Counter[str] = Counter()
    passages = _passages(data)
    for (begin, end), places in passages.items():
        code, why = _told(_text(data, begin, end))
        (told if code else other)[code or why] += places
    places = max(1, sum(passages.values()))
    found["passages"] = len(passages)
    found["languages"] = [[code, round(n / places, 5)] for code, n in told.most_common()]
    found["other"] = [[why, round(n / places, 5)] for why, n in other.most_common()]
    return found


def _told(text: str) -> tuple[str, str]:
    """A language, or nothing and the reason."""
    if kind_of(text) is Kind.CODE:
        return "", "source code"
    guess = language.identify(text)
    if guess is None:
        return "", "too few letters"
    return (guess[0], "") if guess[1] >= SURE else ("", "not sure")


def _passages(data: Dataset) -> Counter[tuple[int, int]]:
    """Where passages begin and end, in tokens of train and val as one row; and how many of the places each holds."""
    n = len(data.train) + len(data.val)
    n_bytes = sum(split["bytes"] for split in data.manifest["splits"].values())
    length = max(1, round(PASSAGE_BYTES * n / max(1, n_bytes)))
    starts = np.concatenate([data.train_starts, data.val_starts + len(data.train), [n]])
    places = np.linspace(0, n, min(PLACES, n), endpoint=False).astype(np.int64)
    document = np.searchsorted(starts, places, side="right") - 1
    begins = starts[document] + (places - starts[document]) // length * length
    ends = np.minimum(begins + length, starts[document + 1])
    return Counter(zip(begins.tolist(), ends.tolist(), strict=True))


def _text(data: Dataset, begin: int, end: int) -> str:
    n = len(data.train)
    ids = part(data.train, begin, end) if begin < n else part(data.val, begin - n, end - n)
    return data.tokenizer.decode(ids).strip("\ufffd")  # a character that is cut in two
