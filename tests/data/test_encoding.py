import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.data.encoding import Found, decoded
from gptforge.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)
POEM = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" * 3
SAMPLES = {
    "big5": POEM,
    "gb18030": POEM,
    "gbk": "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n" * 3,
    "utf-16": POEM,
    "utf-32": POEM,
    "utf-8-sig": POEM,
    "utf-16-le": "Two households, both alike in dignity, in fair Verona, where we lay our scene\n",
    "utf-16-be": "Grüße aus München, wo die Straßen voller schöner Häuser sind\n",
    "cp1252": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient. "
    "La pensée qu’il était temps de chercher le sommeil m’éveillait; je n’avais pas cessé de réfléchir.\n",
    "latin-1": "Überall öffnen Läden; die Straßen sind voll, und für die Gäste gibt es Bücher, Käse, Brötchen.\n",
    "cp1251": "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n",
    "koi8_r": "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n",
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "euc_jp": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "cp1250": "Litwo! Ojczyzno moja! ty jesteś jak zdrowie. Ile cię trzeba cenić, ten tylko się dowie, "
    "kto cię stracił. Dziś piękność twą w całej ozdobie widzę i opisuję, bo tęsknię po tobie.\n",
}


SAMPLES = {encoding: text * 3 for encoding, text in SAMPLES.items()}


def read(content: bytes, chunk_bytes: int = 7, encoding: str | None = None, found: Found | None = None) -> list[str]:
    return list(decoded(io.BytesIO(content), Path("x.txt"), encoding, chunk_bytes=chunk_bytes, found=found))


def failure(content: bytes, chunk_bytes: int = 7, encoding: str | None = None) -> str:
    with pytest.raises(DataError) as e:
        read(content, chunk_bytes, encoding)
    assert len(str(e.value).splitlines()) <= 8
    return str(e.value)


@given(TEXT, st.integers(1, 9), st.booleans())
def test_utf8_in_chunks_is_the_text(text, chunk_bytes, mark):
    found = Found()
    pieces = read((b"\xef\xbb\xbf" if mark else b"") + text.encode(), chunk_bytes, found=found)
    assert "".join(pieces) == text and all(pieces) and found == Found("utf-8", mark)
    assert all(len(piece.encode()) <= chunk_bytes + 4 for piece in pieces)


@given(TEXT, st.sampled_from(["utf-16", "utf-32", "gb18030", "utf-16-be"]), st.integers(1, 9))
def test_a_given_encoding_is_used(text, encoding, chunk_bytes):
    if not text.encode(encoding).startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or encoding[3:] in (
        "16",
        "32",
    ):
        assert "".join(read(text.encode(encoding), chunk_bytes, encoding)) == text


@pytest.mark.parametrize("encoding", SAMPLES)
def test_encodings_are_found(encoding):
    text = SAMPLES[encoding]
    for before in ("", "plain words at first\n" * 400):
        for chunk_bytes in (13, 1 << 20):
            found = Found()
            whole = before + text
            assert "".join(read(whole.encode(encoding), chunk_bytes, found=found)) == whole
            assert found.guessed == (not encoding.startswith("utf"))


def test_too_little_evidence_is_no_guess():
    message = failure("A b\nc\xfc d\n".encode("latin-1"))
    assert "x.txt is not UTF-8: 1 bytes beyond ASCII are too few" in message
    assert "byte 5 (counted from 0), line 2: fc 20 64 0a" in message
    assert "data.encoding=cp1252, if this is right: 'ü d\\n'" in message
    assert "".join(read("A b\nc\xfc d\n".encode("latin-1"), encoding="cp1252")) == "A b\ncü d\n"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "content, offset, line, shown",
    [
        ("äöü\n\n€".encode() + b"\xff\xfe", 11, 3, "ff fe"),
        (POEM.encode() + b"\xff" + POEM.encode(), 219, 4, "ff e6 98 a5"),
        ("cut ähm ".encode() + b"\xe2\x82", 9, 1, "e2 82"),
        (("ä\n" * 5000).encode() + b"\x80 ", 15_000, 5001, "80 20"),
    ],
)
def test_damage_in_utf8_is_placed_not_guessed_away(content, offset, line, shown, chunk_bytes):
    message = failure(content, chunk_bytes)
    assert "x.txt is not UTF-8\n" in message
    assert f"byte {offset:,} (counted from 0), line {line:,}: {shown}\n" in message


@pytest.mark.parametrize("chunk_bytes", [5, 1000])
def test_mixed_encodings_are_placed(chunk_bytes):
    content = (SAMPLES["gbk"] * 700).encode("gbk")  # more than is looked at
    message = failure(content + b"\xff\xff\xff " + SAMPLES["gbk"].encode(), chunk_bytes)
    assert "is not GBK / GB18030, as it begins" in message and f"byte {len(content):,} (counted" in message
    assert "line 6,301: ff ff ff 20" in message
    assert "data.encoding=" in failure(
        SAMPLES["gbk"].encode("gbk") + b"\xff\xff " + SAMPLES["gbk"].encode(), chunk_bytes
    )


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1000])
def test_binary_files_are_told_by_a_nul_byte(chunk_bytes):
    assert "byte 10 (counted from 0), line 3" in failure(b"one\ntwo\nth\0ree", chunk_bytes)
    assert "it has a NUL byte" in failure(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), chunk_bytes)
    assert "NUL" in failure("äöü".encode() + b"\0", chunk_bytes)


def test_a_byte_order_mark_is_left_out_once():
    assert "".join(read(b"\xef\xbb\xbf" * 2 + b"hi")) == "\ufeffhi"
    assert "".join(read(b"\xef\xbb\xbfhi", encoding="cp1252")) == "hi"


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "charset_normalizer", None)
    assert "pip install 'gptforge[files]'" in failure(POEM.encode("big5"))


@pytest.mark.parametrize("content", [b"\xff" * 2000, bytes(range(128, 256)) * 20])
def test_what_is_of_no_language_is_no_text(content):
    assert "x.txt is not UTF-8: does not look like text in another encoding" in failure(content, 1000)
