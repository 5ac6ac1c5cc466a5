import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.data import TokenizerConfig
from gptforge.errors import CheckpointError, DataError
from gptforge.tokenizers import StreamDecoder, build_tokenizer, load_tokenizer
from gptforge.tokenizers.base import MAX_FILE_BYTES, id_dtype
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
KINDS = st.sampled_from(["char", "byte"])


@given(KINDS, TEXT)
def test_round_trip(kind, text):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), text)
    ids = tokenizer.encode(text)
    assert ids.dtype == id_dtype(tokenizer.vocab_size) and ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == text == tokenizer.decode(ids.tolist())
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())
    assert tokenizer.missing(text) == ""
    assert (tokenizer.bos, tokenizer.eos) == (None, None)


@given(KINDS, st.lists(TEXT, max_size=4))
def test_many_texts_are_encoded_one_by_one(kind, texts):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), ["a", *texts])
    assert [ids.tolist() for ids in tokenizer.encode_many(texts)] == [tokenizer.encode(t).tolist() for t in texts]


@given(st.lists(st.integers(0, 255)), st.integers(1, 7))
def test_stream_decoder_gives_the_text_of_decode_for_any_bytes(ids, portion):
    tokenizer = ByteTokenizer()
    stream = StreamDecoder(tokenizer)
    pieces = [stream.feed(ids[i : i + portion]) for i in range(0, len(ids), portion)]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)


@given(KINDS, TEXT)
def test_stream_decoder_never_cuts_a_character(kind, text):
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), text)
    stream = StreamDecoder(tokenizer)
    pieces = [stream.feed([i]) for i in tokenizer.encode(text)]
    assert "".join(pieces) == text and stream.flush() == ""
    assert all(piece in text for piece in pieces)


def test_stream_decoder_holds_back_and_starts_anew():
    stream = StreamDecoder(ByteTokenizer())
    assert stream.feed([0xE2, 0x82]) == ""
    assert stream.feed([0xAC]) == "€"
    assert stream.feed([0xE2]) == "" and stream.flush() == "\ufffd"
    assert stream.feed([65]) == "A"


def test_an_unknown_character_is_named_with_its_place():
    with pytest.raises(DataError) as e:
        CharTokenizer("abc ").encode("ab caÜb")
    assert "'Ü' (U+00DC)" in str(e.value) and "character 6 of" in str(e.value)
    assert "tokenizer.unknown=skip" in str(e.value) and e.value.exit_code == 3


@pytest.mark.parametrize(
    "characters, unknown, expected",
    [
        ("ab?", "skip", "ab"),
        ("ab?", "replace", "a?b?"),
        ("ab ", "replace", "a b "),
        ("ab", "replace", "aaba"),
    ],
)
def test_unknown_modes(characters, unknown, expected):
    tokenizer = CharTokenizer(characters, unknown)
    assert tokenizer.decode(tokenizer.encode("aXb\U0010ffff")) == expected


def test_half_characters_from_a_mangled_command_line():
    assert ByteTokenizer("skip").encode("a\udcffb").tolist() == [97, 98]
    assert ByteTokenizer("replace").encode("a\udcffb").tolist() == [97, 63, 98]
    assert CharTokenizer("ab", "skip").encode("a\udcffb").tolist() == [0, 1]
    for kind in ("byte", "char"):
        with pytest.raises(DataError, match="udcff"):
            build_tokenizer(TokenizerConfig(kind=kind), "ab").encode("a\udcffb")


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(DataError, match="cannot be empty"):
        CharTokenizer("")


def test_ids_outside_the_vocabulary_are_refused():
    for kind in ("char", "byte"):
        tokenizer = build_tokenizer(TokenizerConfig(kind=kind), "abc")
        for ids in ([tokenizer.vocab_size], [-1], np.array([0.5])):
            with pytest.raises(ValueError, match="token ids"):
                tokenizer.decode(ids)
        assert tokenizer.decode([]) == "" and len(tokenizer.encode("")) == 0


def test_large_vocabularies_need_more_bits():
    assert id_dtype(1 << 16) == np.uint16 and id_dtype((1 << 16) + 1) == np.uint32
    text = "".join(map(chr, (*range(0x100, 0xD800), *range(0xE000, 0x15000))))
    tokenizer = CharTokenizer(text)
    assert tokenizer.encode(text).dtype == np.uint32 and tokenizer.decode(tokenizer.encode(text)) == text


@given(KINDS, TEXT)
def test_saved_and_loaded(tmp_path_factory, kind, text):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = build_tokenizer(TokenizerConfig(kind=kind), text)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer.stored()), encoding="utf-8")
    loaded = load_tokenizer(folder, "skip")
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.unknown == "skip"
    assert (loaded.encode(text) == tokenizer.encode(text)).all()


def test_fingerprint_is_over_what_decides_the_ids():
    assert CharTokenizer("ba").fingerprint == CharTokenizer("abba", "skip").fingerprint
    prints = {tokenizer.fingerprint for tokenizer in (CharTokenizer("ab"), CharTokenizer("abc"), ByteTokenizer())}
    assert len(prints) == 3


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "missing"),
        (b"", "no JSON"),
        (b"\xff{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "no JSON object"),
        (b"{}", "version None"),
        (b'{"schema_version": true, "kind": "byte"}', "version True"),
        (b'{"schema_version": 99, "kind": "char"}', "version 99"),
        (b'{"schema_version": 1, "kind": "bpf"}', "kind 'bpf'"),
        (b'{"schema_version": 1, "kind": ["char"]}', "kind"),
        (b'{"schema_version": 1, "kind": "char"}', "sorted text"),
        (b'{"schema_version": 1, "kind": "char", "characters": ["a"]}', "sorted text"),
        (b'{"schema_version": 1, "kind": "char", "characters": ""}', "sorted text"),
        (b'{"schema_version": 1, "kind": "char", "characters": "ba"}', "sorted text"),
        (b'{"schema_version": 1, "kind": "char", "characters": "aa"}', "sorted text"),
        (b'{"schema_version": 1, "kind": "char", "characters": "\\ud800"}', "surrogates"),
        (b" " * (MAX_FILE_BYTES + 1), "larger than any"),
    ],
)
def test_a_foreign_file_is_a_checkpoint_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as e:
        load_tokenizer(tmp_path)
    assert e.value.exit_code == 4 and str(tmp_path) in str(e.value)


def test_what_is_stored_is_plain_json():
    stored = CharTokenizer("aé").stored()
    assert stored == {"schema_version": 1, "kind": "char", "characters": "aé"} == json.loads(json.dumps(stored))
