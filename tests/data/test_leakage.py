import tempfile
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptforge.data import leakage
from gptforge.data.leakage import overlap, run_length
from gptforge.data.mapped import part

IDS = st.lists(st.integers(0, 2), max_size=60)


@given(IDS, IDS, st.integers(1, 9), st.integers(1, 20))
def test_overlap_is_what_counting_gives(train, val, n, chunk):
    runs = [tuple(val[i : i + n]) for i in range(len(val) - n + 1)]
    seen = {tuple(train[i : i + n]) for i in range(len(train) - n + 1)}
    before, leakage.CHUNK = leakage.CHUNK, chunk
    try:
        found = overlap(np.array(train, np.uint16), np.array(val, np.uint16), np.array([0]), n)
    finally:
        leakage.CHUNK = before
    assert (found.runs, found.shared) == (len(runs), sum(run in seen for run in runs))


def test_the_worst_documents_come_first():
    rng = np.random.default_rng(0)
    train, fresh = rng.integers(0, 60_000, 5000), rng.integers(0, 60_000, 300)
    val = np.concatenate([fresh[:100], train[1000:1100], fresh[100:150], train[40:90], fresh[150:]])
    found = overlap(train.astype(np.uint16), val.astype(np.uint16), np.array([0, 100, 200, 300]), 10)
    assert found.shared == 91 + 41
    assert [number for number, _ in found.documents] == [1, 2] and found.documents[0][1] == 0.91


def test_long_texts_are_sampled(monkeypatch):
    monkeypatch.setattr(leakage, "MOST_RUNS", 100)
    train = np.arange(10_000, dtype=np.uint16)
    found = overlap(train, train[2000:6000], np.array([0]), 8)
    assert found.runs == found.shared == 100 and found.share == 1
    monkeypatch.setattr(leakage, "CHUNK", 77)  # no multiple of the distance between samples
    assert overlap(train, train[2000:6000], np.array([0]), 8) == found


def test_memory_does_not_grow_with_the_texts(monkeypatch):
    monkeypatch.setattr(leakage, "MOST_RUNS", 1000)
    monkeypatch.setattr(leakage, "CHUNK", 1000)
    ids = np.arange(1_000_000) % 50_000
    train, val = ids.astype(np.uint16), ids[::-1].astype(np.uint16)
    tracemalloc.start()
    overlap(train, val, np.array([0]), 8)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 500_000  # of 8 MB that the hashes of all runs would have


@given(IDS, st.integers(0, 70), st.integers(0, 70))
def test_parts_of_mapped_rows_are_those_of_rows(ids, first, end):
    row = np.array(ids, np.uint16)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"head" + row.tobytes())
        file.flush()
        mapped = np.memmap(file.name, np.uint16, "r", offset=4) if ids else row
        for whole, same in ((row, mapped), (row[3:], mapped[3:])):
            assert part(same, first, end).tolist() == whole[first:end].tolist()


def test_the_length_of_a_run():
    assert run_length(1000, 1000) == 64 and run_length(4_300_000, 1_000_000) == 15 and run_length(0, 0) == 2
