import os
from pathlib import Path

import pytest

from gptforge.config.data import DataConfig
from gptforge.data.files import File, find, kind_of
from gptforge.errors import DataError


def files(path, **settings) -> DataConfig:
    return DataConfig(source="files", path=str(path), **settings)


def names(folder: Path, cfg: DataConfig) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in find(cfg).files]


def failure(path, **settings) -> str:
    with pytest.raises(DataError) as e:
        find(files(path, **settings))
    assert len(str(e.value).splitlines()) <= 8 and e.value.exit_code == 3
    return str(e.value)


def make(folder: Path, *paths: str) -> Path:
    for name in paths:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_missing_file_suggests_the_nearest_name(tmp_path, monkeypatch):
    make(tmp_path, "notes.txt")
    assert f"data={tmp_path / 'notes.txt'}" in failure(tmp_path / "note.txt")
    monkeypatch.chdir(tmp_path)
    assert "data=notes.txt" in failure("nots.txt")
    assert "sub in it does not" in failure(tmp_path / "sub" / "deep" / "x.txt")


def test_what_of_a_folder_is_read(tmp_path):
    notes = make(
        tmp_path / "notes",
        *(
            "b.txt",
            "a/z.md",
            "a.b/y.RST",
            "c.text",
            "photo.jpg",
            "code.py",
            ".hidden.txt",
            ".git/x.txt",
            "rows.jsonl.gz",
        ),
    )
    assert names(notes, files(notes)) == ["a/z.md", "a.b/y.RST", "b.txt", "c.text", "code.py", "rows.jsonl.gz"]
    source = find(files(notes))
    assert source.label == "notes"
    assert source.notes[0].startswith("6 text files (") and "1 other files are not read" in source.notes[0]
    assert names(notes, files(notes, include=["*.jpg", "a/*"])) == ["a/z.md", "photo.jpg"]
    assert names(notes, files(notes, exclude=["*.py", "a*", "*.gz"])) == ["b.txt", "c.text"]


def test_a_pattern(tmp_path):
    make(tmp_path, "a/1.md", "a/b/2.md", "a/3.txt")
    assert names(tmp_path, files(tmp_path / "**" / "*.md")) == ["a/1.md", "a/b/2.md"]
    assert names(tmp_path, files(tmp_path / "a" / "?.*", exclude=["*.txt"])) == ["a/1.md"]
    assert "no file matches" in failure(tmp_path / "*.rst")
    make(tmp_path, "odd[1].txt")
    assert names(tmp_path, files(tmp_path / "odd[1].txt")) == ["odd[1].txt"]


def test_a_folder_without_text(tmp_path):
    assert "has no files" in failure(tmp_path)
    make(tmp_path, "a.jpg")
    assert "only 1 others" in failure(tmp_path) and f"data={tmp_path / 'a.jpg'}" in failure(tmp_path)
    assert "data.include=['*.jpg']" in failure(tmp_path)
    assert find(files(tmp_path / "a.jpg")).files == (File(tmp_path / "a.jpg", "text"),)
    assert "no file that matches data.include=*.doc" in failure(tmp_path, include=["*.doc"])


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.txt", ("text", "")),
        ("a.JSONL", ("jsonl", "")),
        ("a.b.ndjson.zst", ("jsonl", ".zst")),
        ("a.csv.gz", ("csv", ".gz")),
        ("a.tsv", ("tsv", "")),
        ("a.html", ("html", "")),
        ("a.parquet", ("parquet", "")),
        ("LICENSE", ("text", "")),
        ("a.gz", ("text", ".gz")),
    ],
)
def test_kinds(name, kind):
    assert kind_of(Path(name)) == kind


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and links")
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in failure(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert "leads nowhere" in failure(tmp_path / "nowhere")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    make(tmp_path, "a.txt")
    assert names(tmp_path, files(tmp_path)) == ["a.txt"]
    assert "2 links lead nowhere" in find(files(tmp_path)).notes[0]


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_links_are_what_they_lead_to(tmp_path):
    make(tmp_path, "elsewhere/a.txt", "elsewhere/deep/b.txt", "folder/own.txt", "folder/own/c.txt", "folder/own-/d.txt")
    (tmp_path / "folder" / "link.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (tmp_path / "folder" / "deep").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "folder" / "photo.jpg").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "folder" / "pipe.txt")
    source = find(files(tmp_path / "folder"))
    assert source.names == ["link.txt", "own/c.txt", "own-/d.txt", "own.txt"]  # by the names of folders, not as words
    assert "other files" not in source.notes[0] and source.notes[0].endswith("; 1 links lead nowhere")
    assert [file.path for file in source.files[:2]] == [tmp_path / "folder/link.txt", tmp_path / "folder/own/c.txt"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_within_that_may_not_be_read(tmp_path):
    make(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "sub").chmod(0)
    try:
        assert f"{tmp_path / 'sub'} cannot be read" in failure(tmp_path)
    finally:
        (tmp_path / "sub").chmod(0o700)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    make(tmp_path, "mine.txt")
    assert find(files("~/mine.txt")).files == (File(tmp_path / "mine.txt", "text"),)
