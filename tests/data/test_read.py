import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.data import DataConfig
from gptforge.data import formats
from gptforge.data.files import find
from gptforge.data.read import Reader
from gptforge.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


def reader(path, chunk_bytes: int = 7, **settings) -> Reader:
    cfg = DataConfig(source="files", path=str(path), **settings)
    return Reader(find(cfg), cfg, chunk_bytes)


def documents(path, chunk_bytes: int = 7, **settings) -> list[str]:
    found: list[str] = []
    for piece in reader(path, chunk_bytes, **settings).pieces():
        assert piece.text
        if piece.begins:
            found.append("")
        found[-1] += piece.text
    return found


def failure(path, **settings) -> str:
    with pytest.raises(DataError) as e:
        documents(path, **settings)
    assert len(str(e.value).splitlines()) <= 8 and e.value.exit_code == 3
    return str(e.value)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 9), st.booleans())
def test_each_file_is_a_document(tmp_path_factory, texts, chunk_bytes, packed):
    folder = tmp_path_factory.mktemp("text")
    for i, text in enumerate(texts):
        content = text.encode()
        (folder / f"{i}.txt{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
    assert documents(folder, chunk_bytes) == texts


@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(1, 9))
def test_rows_of_jsonl_csv_and_parquet(tmp_path_factory, texts, chunk_bytes):
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("rows")
    lines = (json.dumps({"id": i, "text": t}, ensure_ascii=i % 2 == 0) for i, t in enumerate(texts))
    write(folder / "a.jsonl", "\n\n".join(lines))
    assert documents(folder / "a.jsonl", chunk_bytes) == texts
    write(folder / "b.jsonl", "\n".join(map(json.dumps, texts)) + "\n")
    assert documents(folder / "b.jsonl", chunk_bytes) == texts
    for delimiter, name in ((",", "a.csv"), ("\t", "a.tsv")):
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
            [("id", "Text"), *((str(i), t) for i, t in enumerate(texts))]
        )
        write(folder / name, out.getvalue())
        assert documents(folder / name, chunk_bytes) == texts
    parquet.write_table(pyarrow.table({"n": range(len(texts)), "content": texts}), folder / "a.parquet")
    assert documents(folder / "a.parquet") == texts


def test_long_documents_come_in_parts_cut_at_line_ends(tmp_path):
    lines = [f"line number {i}\n" for i in range(1000)]
    path = write(tmp_path / "a.txt", "".join(lines))
    pieces = list(reader(path, 256).pieces())
    assert [p.begins for p in pieces] == [True] + [False] * (len(pieces) - 1) and len(pieces) > 30
    assert all(p.text.endswith("\n") and len(p.text) < 600 for p in pieces)
    path = write(tmp_path / "b.txt", "x" * 10_000)  # one line
    assert max(len(p.text) for p in reader(path, 256).pieces()) < 600


def test_nothing_is_changed_in_a_text(tmp_path):
    path = write(tmp_path / "a.txt", "a\r\nb\rc\u2028d\n\n  e")
    assert documents(path) == ["a\r\nb\rc\u2028d\n\n  e"]


def test_the_text_key_is_found_or_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"title": "T", "body": "B"}\n')
    assert documents(path) == ["B"] and documents(path, text_key="title") == ["T"]
    message = failure(path, text_key="titel")
    assert "line 1 has no text at 'titel'" in message and "its keys are title, body" in message
    assert "data.text_key=title" in message
    write(path, '{"title": "T", "abstract": "B"}\n')
    assert "no key that is clearly the text" in failure(path) and "title, abstract" in failure(path)
    write(path, '{"n": 1, "poem_text": "B"}\n')
    assert documents(path) == ["B"]
    table = write(tmp_path / "a.csv", "title,abstract\nT,A\n")
    assert "has no column that is clearly the text" in failure(table) and "title, abstract" in failure(table)
    assert documents(table, text_key="Abstract") == ["A"]
    assert "has no column 'x'" in failure(table, text_key="x")


def test_faults_of_rows_stop_or_are_counted(tmp_path):
    rows = ['{"text": "good"}'] * 16 + ['{"text": "bad', '{"text": 3}', "[1]", '{"other": "x"}', '{"text": "last"}']
    path = write(tmp_path / "a.jsonl", "\n".join(rows))
    message = failure(path)
    assert f"{path} line 17 is no JSON: Unterminated string starting at character 10" in message
    assert "data.on_error=skip" in message
    skipping = reader(path, on_error="skip")
    assert [p.text for p in skipping.pieces()] == ["good"] * 16 + ["last"]
    assert skipping.account.skipped == 4 and "line 17 is no JSON" in skipping.account.faults[0]
    assert "4 files or rows were left out" in next(skipping.account.warnings())
    deep = write(tmp_path / "b.jsonl", '{"text": "a"}\n' + "[" * 100_000 + "\n")
    assert "line 2 is no JSON: nested too deep" in failure(deep)
    table = write(tmp_path / "a.csv", "id,text\n1,one\n2\n\n3,three\n")
    assert "line 3 has 1 columns, 'text' is missing" in failure(table)
    assert documents(table, on_error="skip") == ["one", "three"]
    assert "is no sound table" in failure(write(table, 'id,text\n1,"one"x\n'))


def test_files_that_cannot_be_used_stop_or_are_left_out(tmp_path):
    write(tmp_path / "a.txt", "good")
    (tmp_path / "b.txt").write_bytes(b"bi\0nary")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"text " * 1000)[:40])
    (tmp_path / "d.txt.zst").write_bytes(b"no zstandard at all")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 not really")
    assert "b.txt is a binary file" in failure(tmp_path)
    skipping = reader(tmp_path, on_error="skip")
    assert [p.text for p in skipping.pieces()] == ["good"] and skipping.account.skipped == 4
    faults = " ".join(skipping.account.faults)
    assert "c.txt.gz cannot be unpacked" in faults and "d.txt.zst cannot be unpacked" in faults
    assert "e.parquet is no parquet file" in faults


@pytest.mark.parametrize("chunk_bytes", [7, 1000])
def test_nothing_of_a_file_is_used_whose_end_cannot_be(tmp_path, chunk_bytes):
    """Whether it is small enough to be held until its end was seen, or is read twice."""
    write(tmp_path / "a.txt", "good\n")
    (tmp_path / "b.txt").write_bytes(b"a line\n" * 20 + b"\xff and 24 \xff")
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbfmarked\n")
    write(tmp_path / "d.txt", "")
    skipping = reader(tmp_path, chunk_bytes, on_error="skip")
    assert "".join(p.text for p in skipping.pieces()) == "good\nmarked\n"
    account = skipping.account
    assert (account.documents, account.skipped, account.marked, account.empty) == (2, 1, 1, 1)
    assert account.encodings == {"UTF-8": 3} and "b.txt is not UTF-8" in account.faults[0]


def test_a_small_file_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "a.txt", "some lines\n" * 9)
    opened = []
    monkeypatch.setattr(formats, "opened", lambda file, given=formats.opened: opened.append(file) or given(file))
    for chunk_bytes, times in ((1000, 1), (7, 2)):
        opened.clear()
        assert documents(tmp_path, chunk_bytes, on_error="skip") == ["some lines\n" * 9] and len(opened) == times


def test_no_text_at_all(tmp_path):
    path = write(tmp_path / "a.txt", "")
    assert "a.txt is empty" in failure(path)
    path.write_bytes(b"\xef\xbb\xbf")
    assert "a.txt is empty" in failure(path)
    write(tmp_path / "b.txt", "")
    assert f"{tmp_path.name} is empty" in failure(tmp_path)
    path.write_bytes(b"\0")
    assert "nothing of" in failure(tmp_path, on_error="skip") and "a.txt is a binary" in failure(
        tmp_path, on_error="skip"
    )


def test_a_page_is_its_text(tmp_path):
    paragraph = (
        "<p>It was the best of times, it was the worst of times, it was the age of wisdom &amp; foolishness.</p>"
    )
    head = "<html><head><title>T</title><script>var x=1</script></head><body><nav><a href=/>Home</a></nav>"
    page = f"{head}{paragraph * 3}</body></html>"
    (text,) = documents(write(tmp_path / "a.html", page), 1 << 20)
    assert "age of wisdom & foolishness." in text and "<p>" not in text and "var x" not in text
    assert "page without a text" in failure(write(tmp_path / "b.html", "<html></html>"))


def test_what_was_read_is_said(tmp_path):
    poem = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" * 3
    (tmp_path / "a.txt").write_bytes(poem.encode("big5"))
    (tmp_path / "b.txt").write_bytes(poem.encode("utf-8-sig"))
    (tmp_path / "c.txt").write_bytes(b"")
    reading = reader(tmp_path, 1 << 20)
    assert [p.text for p in reading.pieces()] == [poem, poem]
    notes = " | ".join(reading.account.notes(3))
    assert "1 of 3 files began with a byte order mark" in notes and "1 in BIG5" in notes
    assert "a.txt is read as BIG5, a guess; data.encoding=… sets it" in notes and "1 of 3 files are empty" in notes


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    reading = reader(write(tmp_path / "a.txt", "x"))

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
        list(reading.pieces())


def test_built_in_text():
    cfg = DataConfig(source="pydoc")
    assert "assert" in next(Reader(find(cfg), cfg).pieces()).text


def test_a_page_is_as_long_as_what_is_in_it(tmp_path, monkeypatch):
    """A packed page says little by its size."""
    pytest.importorskip("trafilatura")
    monkeypatch.setattr(formats, "LONGEST_PAGE", 10_000)
    (tmp_path / "page.html.gz").write_bytes(gzip.compress(b"<p>" + b"a" * 100_000))
    assert "more than the 10,000 characters" in failure(tmp_path / "page.html.gz")
