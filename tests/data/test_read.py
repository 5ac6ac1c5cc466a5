import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.data import DataConfig
from gptforge.data.read import Source, chunks, open_source
from gptforge.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


def files(path) -> DataConfig:
    return DataConfig(source="files", path=str(path))


def whole(source: Source, chunk_bytes: int = 7) -> str:
    return "".join(chunks(source, chunk_bytes))


def failure(path, chunk_bytes: int = 7) -> str:
    with pytest.raises(DataError) as e:
        whole(open_source(files(path)), chunk_bytes)
    assert len(str(e.value).splitlines()) <= 8 and e.value.exit_code == 3
    return str(e.value)


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 9), st.lists(st.booleans(), min_size=4, max_size=4))
def test_chunks_joined_are_the_files_joined(tmp_path_factory, texts, chunk_bytes, marks):
    folder = tmp_path_factory.mktemp("text")
    paths = []
    for i, (text, mark) in enumerate(zip(texts, marks, strict=False)):
        paths.append(folder / f"{i}.txt")
        paths[-1].write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    pieces = list(chunks(Source(tuple(paths), "t"), chunk_bytes))
    expected = ""
    for text in texts:
        expected += ("\n" if expected and not expected.endswith("\n") else "") + text
    assert "".join(pieces) == expected and all(pieces)
    assert all(len(piece.encode()) <= chunk_bytes + 4 for piece in pieces)


def test_line_ends_and_odd_separators_stay_as_they_are(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\r\nb\rc\u2028d\n".encode())
    assert whole(open_source(files(path))) == "a\r\nb\rc\u2028d\n"


def test_a_byte_order_mark_is_left_out_once_and_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" * 2 + b"hi")
    source = open_source(files(path))
    assert whole(source) == "\ufeffhi"
    assert "byte order mark" in source.notes[0]


def test_missing_file_suggests_the_nearest_name(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("x")
    assert f"data={tmp_path / 'notes.txt'}" in failure(tmp_path / "note.txt")
    monkeypatch.chdir(tmp_path)
    assert "data=notes.txt" in failure("nots.txt")
    assert "sub in it does not" in failure(tmp_path / "sub" / "deep" / "x.txt")


def test_empty_texts(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    assert "is empty" in failure(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf")
    assert "is empty" in failure(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"")
    assert "is empty" in failure(tmp_path)
    (tmp_path / "c.txt").write_bytes(b"word")
    (tmp_path / "d.txt").write_bytes(b"")
    (tmp_path / "e.txt").write_bytes(b"end")
    assert whole(open_source(files(tmp_path))) == "word\nend"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "content, offset, line, shown",
    [
        (b"ab\ncd\xfc\n", 5, 2, "fc 0a"),
        ("äöü\n\n€".encode() + b"\xff\xfe", 11, 3, "ff"),
        (b"a\nb\x80", 3, 2, "80"),
        (b"cut \xe2\x82", 4, 1, "e2 82"),
        (b"one\ntwo\nth\0ree", 10, 3, "00"),
        (b"\xff", 0, 1, "ff"),
        (b"wide\n" * 3 + b"\xff\xfe\xfd\xfc\xfb", 15, 4, "ff fe fd fc\n"),
    ],
)
def test_bytes_that_are_no_text_are_placed(tmp_path, content, offset, line, shown, chunk_bytes):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    message = failure(path, chunk_bytes)
    assert f"byte {offset} (counted from 0), line {line}: {shown}" in message
    assert ("NUL" in message) == (shown == "00") and str(path) in message


def test_utf16_is_recognised(tmp_path):
    (tmp_path / "x.txt").write_bytes("Grüße".encode("utf-16"))
    assert "iconv -f UTF-16 -t UTF-8" in failure(tmp_path / "x.txt", 1 << 20)


def test_folder_rules(tmp_path):
    for name in ("b.txt", "a/z.md", "a.b/y.RST", "c.text", "photo.jpg", "code.py", ".hidden.txt", ".git/x.txt"):
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    source = open_source(files(tmp_path / "notes"))
    assert whole(source) == "a/z.md\na.b/y.RST\nb.txt\nc.text"
    assert source.label == "notes"
    assert source.notes[0].startswith("4 text files (") and "2 other files are not read" in source.notes[0]


def test_a_folder_without_text(tmp_path):
    assert "has no files" in failure(tmp_path)
    (tmp_path / "a.jpg").write_text("x")
    assert "only 1 others" in failure(tmp_path) and f"data={tmp_path / 'a.jpg'}" in failure(tmp_path)
    assert whole(open_source(files(tmp_path / "a.jpg"))) == "x"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in failure(tmp_path / "pipe")


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("x")
    source = open_source(files(path))

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
        whole(source)
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
        open_source(files(path))


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.txt").write_text("x")
    assert open_source(files("~/mine.txt")).files == (tmp_path / "mine.txt",)


def test_built_in_text():
    assert "assert" in whole(open_source(DataConfig(source="pydoc")), 1 << 20)
