from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.data.clean import hashes
from gptforge.data.clean.hashes import HashFile, begins_of_runs, hashes_of

DOCUMENTS = st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=8)


def filled(folder, documents):
    file = HashFile(folder / "h.bin")
    for document in documents:
        file.add(spread(document))
    return file


def spread(numbers):
    """Few different hashes over the whole range."""
    return np.array([n * (2**64 // 9) + n for n in numbers], dtype=np.uint64)


def test_hashes_are_those_of_every_machine():
    assert hashes_of([]).tolist() == []
    assert hashes_of(["", "a", "中", "\ud800"]).tolist() == [
        13020603013274838756, 3405396810240292928, 14628826945721186137, 7497787021708494914,
    ]  # fmt: skip


@given(DOCUMENTS, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.data())
def test_repeated_and_their_places_by_plain_counting(tmp_path_factory, documents, least, at_once, read, data):
    kept = data.draw(st.none() | st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    flags = None if kept is None else np.array(kept, bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "SORTED_AT_ONCE", at_once)
        patch.setattr(hashes, "READ_AT_ONCE", read)
        file = filled(tmp_path_factory.mktemp("h"), documents)
        found, counts = file.repeated(least, flags)
        places = [(i, d) for index, docs in file.occurrences(found, flags) for i, d in zip(index, docs, strict=True)]
        file.close()
    chosen = [(n, d) for d, document in enumerate(documents) if kept is None or kept[d] for n in document]
    expected = {n: count for n, count in Counter(n for n, _ in chosen).items() if count >= least}
    assert found.tolist() == spread(sorted(expected)).tolist()
    assert counts.tolist() == [expected[n] for n in sorted(expected)]
    order = {n: i for i, n in enumerate(sorted(expected))}
    assert places == [(order[n], d) for n, d in chosen if n in order]


@given(st.lists(st.integers(0, 5), max_size=20))
def test_a_column_is_a_document_for_each_hash(tmp_path_factory, numbers):
    file = HashFile(tmp_path_factory.mktemp("h") / "c.bin", column=True)
    for start in range(0, len(numbers), 3):
        file.add(spread(numbers[start : start + 3]))
    assert len(file) == len(numbers)
    pieces = [(h, d) for hash_, docs in file.pieces() for h, d in zip(hash_.tolist(), docs.tolist(), strict=True)]
    assert pieces == [(int(spread([n])[0]), d) for d, n in enumerate(numbers)]
    file.close()


def test_more_can_be_added_after_a_look(tmp_path):
    file = filled(tmp_path, [[1, 2], [1]])
    assert len(file.repeated()[0]) == 1
    file.add(spread([2]))
    assert len(file.repeated()[0]) == 2 and len(file) == 3
    file.close()


@given(st.lists(st.integers(0, 3)))
def test_runs(values):
    values.sort()
    assert begins_of_runs(np.array(values, np.uint64)).tolist() == [values.index(v) for v in sorted(set(values))]
