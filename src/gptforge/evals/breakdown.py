"""Where in a text a model does well and badly: by the context it had, by file, and in which passages.

Knows scores and tokens; the text of a passage comes from a function that is given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gptforge.evals.figures import Scored, figures

PASSAGE_BYTES = 120
SHORTEST = 8  # tokens of a passage
AROUND = 60  # bytes of text to show before and after a passage


def by_context(scored: Scored, before: np.ndarray) -> list[dict[str, Any]]:
    """The loss by how many tokens the model saw before: 1, 2, 3-4, 5-8, ...; `before` (n,) as of `tokens_before`."""
    group = np.searchsorted(2 ** np.arange(40), before)
    tokens = np.bincount(group)
    nats = np.bincount(group, scored.scores.nats)
    return [
        {"from": 2 ** (g - 1) + 1 if g else 1, "to": min(2**g, int(before.max())), "tokens": int(n), "loss": total / n}
        for g, (n, total) in enumerate(zip(tokens.tolist(), nats.tolist(), strict=True))
        if n
    ]


def by_source(scored: Scored, starts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Figures of each file, worst bits per byte first; `starts` (documents,) are tokens, `names` their files."""
    first = np.maximum(starts - 1, 0)  # token i is scored number i-1
    there = first < len(scored.scores.nats)
    kept = np.flatnonzero(there & np.append(first[1:] != first[:-1], True))
    sums = scored.sums(first[kept])
    files: dict[str, np.ndarray] = {}
    for document, row in zip(kept.tolist(), sums, strict=True):
        files[names[document]] = files.get(names[document], 0.0) + row
    found = [
        {"source": name, "tokens": int(row[1]), "bytes": int(row[2])} | {k: float(v) for k, v in figures(row).items()}
        for name, row in files.items()
    ]
    return sorted(found, key=lambda entry: -entry["bits_per_byte"])


def passages(
    scored: Scored, n_shown: int, starts: np.ndarray, names: Sequence[str], text_of: Callable[[int, int], str]
) -> dict[str, list[dict[str, Any]]]:
    """The `n_shown` passages of about PASSAGE_BYTES with most and with fewest bits per byte; none overlap.

    `text_of(first, end)` is the text of tokens first to end-1.
    """
    n = len(scored.scores.nats)
    per_token = max(1e-9, float(scored.sizes[:, 0].mean()))
    length = min(n, max(SHORTEST, round(PASSAGE_BYTES / per_token)))
    around = round(AROUND / per_token)
    grid = np.arange(0, n - length + 1, max(1, length // 4))
    bits = (_running(scored.scores.nats, grid, length) / np.log(2)) / np.maximum(
        1, _running(scored.sizes[:, 0], grid, length)
    )

    def shown(place: int) -> dict[str, Any]:
        first, end = int(grid[place]) + 1, int(grid[place]) + 1 + length  # as tokens of the text
        return {
            "source": names[int(np.searchsorted(starts, first, "right")) - 1],
            "token": first,
            "bits_per_byte": float(bits[place]),
            "before": text_of(max(0, first - around), first),
            "text": text_of(first, end),
            "after": text_of(end, min(n + 1, end + around)),
        }

    order = np.argsort(bits, kind="stable")
    best = _apart(order, grid, length, n_shown)
    worst = _apart(order[::-1], grid, length, n_shown)
    return {"worst": [shown(i) for i in worst], "best": [shown(i) for i in best]}


def _running(values: np.ndarray, grid: np.ndarray, length: int) -> np.ndarray:
    """The sums of `length` values from each place of the grid on."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[grid + length] - total[grid]


def _apart(order: np.ndarray, grid: np.ndarray, length: int, n: int) -> list[int]:
    """The first `n` places of an order that lie at least `length` from each other."""
    taken: list[int] = []
    for place in order.tolist():
        if len(taken) == n:
            break
        if all(abs(grid[place] - grid[other]) >= length for other in taken):
            taken.append(place)
    return taken
