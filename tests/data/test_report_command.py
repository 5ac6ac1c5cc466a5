"""Where gptforge prepare puts its report, and what it says when that cannot be."""

import json
from pathlib import Path

import pytest

import small
from gptforge.config import PrepareConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, ResourceError

WORDS = ("prepare", "text.txt", "ui=quiet")


@pytest.fixture
def text(own_folder, own_cache) -> Path:
    return small.write_text()


def stored(cache: Path) -> Path:
    (folder,) = (cache / "tokens").iterdir()
    return folder


def test_the_report_is_stored_beside_the_tokens_which_stay_good(text, own_cache, capsys):
    assert small.gptforge(*WORDS, "json=true") == 0
    said = capsys.readouterr()
    folder = stored(own_cache)
    assert f"the report with pictures is {folder / 'report.html'}" in said.err
    assert json.loads((folder / "report.json").read_text()) == json.loads(said.out)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and folder.name in page
    before = (folder / "train.bin").stat().st_mtime_ns
    assert small.gptforge(*WORDS) == 0
    said = capsys.readouterr()
    assert "damaged" not in said.out + said.err and stored(own_cache) == folder
    assert (folder / "train.bin").stat().st_mtime_ns == before
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_the_page_changes_with_the_text_it_is_of(text, own_cache):
    """Tokens that two texts have in common are reported on for the one that was asked about last."""
    assert small.gptforge(*WORDS) == 0
    Path("other.txt").write_bytes(text.read_bytes())
    assert small.gptforge("prepare", "other.txt", "ui=quiet") == 0
    assert "<bdi>other.txt</bdi>" in (stored(own_cache) / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("out", "files"),
    [
        ("a.html", ["a.html"]), ("sub/a.JSON", ["sub/a.JSON"]), ("sub", ["sub/report.html", "sub/report.json"]),
        ("v1.2/", ["v1.2/report.html", "v1.2/report.json"]), ("x.html/", ["x.html/report.html", "x.html/report.json"]),
    ],
)  # fmt: skip
def test_out_is_a_page_or_json_or_a_folder_for_both(text, out, files, capsys):
    assert small.gptforge(*WORDS, f"out={out}") == 0
    said = capsys.readouterr().err
    written = {path.as_posix() for path in Path().rglob("*") if path.is_file() and path.parts[0] != "own-cache"}
    assert written == {"text.txt", *files}
    for name in files:
        assert f"the report is in {name}" in said
        content = Path(name).read_text(encoding="utf-8")
        assert content.startswith("<!DOCTYPE html>") if name.endswith("html") else json.loads(content)["documents"] == 1


@pytest.mark.parametrize(("out", "fix"), [("a.txt", "out=a.html or out=a.txt/"), ("v1.2", "out=v1.html or out=v1.2/")])
def test_another_suffix_is_an_error_before_anything_is_done(text, own_cache, out, fix, capsys):
    assert small.gptforge(*WORDS, f"out={out}") == 2
    said = capsys.readouterr().err
    assert f"out={out} is neither a page (.html), nor JSON (.json), nor a folder" in said and fix in said
    assert not own_cache.exists() and not Path(out).exists()


def test_what_out_means_is_known_from_its_name_alone():
    assert PrepareConfig().reports == PrepareConfig(out="").reports == []
    assert PrepareConfig(out="~/a.html").reports == [Path.home() / "a.html"]
    with pytest.raises(ConfigError, match="neither a page"):
        build(PrepareConfig, {"out": "a.htm"})


def test_a_report_that_cannot_be_written_where_it_was_asked_for_is_an_error(text, capsys):
    Path("a.html").mkdir()
    assert small.gptforge(*WORDS, "out=a.html") == ResourceError.exit_code
    said = capsys.readouterr()
    assert "writing a.html" in said.err and "fingerprint" in said.out  # what was found is shown all the same


def test_a_cache_that_takes_no_report_is_a_warning(text, own_cache, capsys):
    assert small.gptforge(*WORDS) == 0
    page = stored(own_cache) / "report.html"
    page.unlink()
    page.mkdir()
    capsys.readouterr()
    assert small.gptforge(*WORDS, "out=b.json") == 0
    said = capsys.readouterr().err
    assert "warning: the report is not stored: writing" in said and "the report is in b.json" in said


def test_dry_stores_nothing_but_what_out_asks_for(text, own_cache, capsys):
    assert small.gptforge(*WORDS, "--dry", "out=dry/") == 0
    assert "what cleaning would do" in Path("dry/report.html").read_text(encoding="utf-8")
    assert json.loads(Path("dry/report.json").read_text())["left"]["documents"] == 1
    assert not list((own_cache / "tokens").glob("*"))
    assert "with pictures" not in capsys.readouterr().err
