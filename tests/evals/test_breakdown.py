"""What stands out in a text is found where it was put."""

from itertools import pairwise

import numpy as np
import pytest

from gptforge.evals.breakdown import by_context, by_source, passages
from gptforge.evals.figures import Scored
from gptforge.evals.score import Scores, tokens_before


def scored(nats, size: int = 1) -> Scored:
    nats = np.asarray(nats, dtype=np.float64)
    return Scored(Scores(nats, np.ones((len(nats), 2), dtype=bool)), np.full((len(nats), 2), size))


def test_the_loss_by_context_in_powers_of_two():
    before = tokens_before(100, 12, 12)
    groups = by_context(scored(before), before)  # what costs as many nats as there is context
    assert [(g["from"], g["to"]) for g in groups] == [(1, 1), (2, 2), (3, 4), (5, 8), (9, 12)]
    assert [g["tokens"] for g in groups] == [9, 9, 18, 32, 32]
    assert [g["loss"] for g in groups] == [1, 2, 3.5, 6.5, 10.5]


def test_with_a_stride_only_the_first_window_has_little_context():
    before = tokens_before(100, 12, 3)
    assert {g["to"]: g["tokens"] for g in by_context(scored(before), before)} == {1: 1, 2: 1, 4: 2, 8: 4, 12: 92}


def test_by_source_puts_documents_of_a_file_together():
    nats = np.array([1, 1, 4, 4, 4, 2, 2, 2, 2, 1], dtype=float)  # scored tokens 1 to 10
    found = by_source(scored(nats, 2), np.array([0, 3, 6, 10]), ["a", "b", "c", "a"])
    assert [(f["source"], f["tokens"], f["bytes"], f["loss"]) for f in found] == [
        ("b", 3, 6, 4.0),
        ("c", 4, 8, 2.0),
        ("a", 3, 6, 1.0),
    ]


def test_a_document_of_which_nothing_is_scored_is_left_out():
    found = by_source(scored([3.0, 5.0]), np.array([0, 1, 2]), ["a", "b", "c"])
    assert [(f["source"], f["loss"]) for f in found] == [("c", 5.0), ("b", 3.0)]


@pytest.mark.parametrize("size", [1, 4])
def test_planted_passages_are_found(size):
    length = 120 // size
    places = {nats: place // (length // 4) * (length // 4) for nats, place in ((3.0, 800), (4.0, 2000), (0.1, 1500))}
    nats = np.full(3000, 1.0)
    for cost, place in places.items():
        nats[place : place + length] = cost
    found = passages(scored(nats, size), 2, np.array([0, 1400]), ["one", "two"], lambda a, b: f"{a}-{b}")
    shown = [*found["worst"], found["best"][0]]
    assert [passage["source"] for passage in shown] == ["two", "one", "two"]
    assert [passage["token"] - 1 for passage in shown] == [places[4.0], places[3.0], places[0.1]]
    bits = np.array([4.0, 3.0, 0.1]) / np.log(2) / size
    assert [passage["bits_per_byte"] for passage in shown] == pytest.approx(bits.tolist())
    first = shown[0]
    start = first["token"]
    assert first["text"] == f"{start}-{start + length}"
    assert first["before"] == f"{start - 60 // size}-{start}"
    assert first["after"] == f"{start + length}-{start + length + 60 // size}"


def test_passages_do_not_overlap_and_stay_within_the_text():
    nats = np.random.default_rng(0).exponential(size=1000)
    found = passages(scored(nats), 5, np.array([0]), ["x"], lambda a, b: f"{a} {b}")
    for kind in ("worst", "best"):
        starts = sorted(p["token"] for p in found[kind])
        assert len(starts) == 5 and all(b - a >= 120 for a, b in pairwise(starts))
        assert all(0 <= int(n) <= 1001 for p in found[kind] for key in ("before", "after") for n in p[key].split())


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_text_shorter_than_a_passage_is_one(n):
    found = passages(scored(np.ones(n)), 3, np.array([0]), ["x"], lambda a, b: f"{a}-{b}")
    assert [p["text"] for p in found["worst"]] == [p["text"] for p in found["best"]] == [f"1-{n + 1}"]
    assert passages(scored(np.ones(n)), 0, np.array([0]), ["x"], lambda a, b: "") == {"worst": [], "best": []}
