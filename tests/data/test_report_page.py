"""The page is valid, needs nothing else, shows what the facts say, and lets no text of the user's become markup."""

import math
import re
import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, SourceConfig, TokenizerConfig
from gptforge.data import report
from gptforge.data.collect import examine
from gptforge.data.prepare import prepare
from gptforge.logs.drawing import DARK, LIGHT
from gptforge.report import charts
from gptforge.report.data_page import data_page
from gptforge.report.html import Markup, element, spelled, table
from pages import HOSTILE, Page, checked

EVIL_NAME = "</style><b>\u202egpj&.txt"  # as a folder and a file in it
LINE = "The river flows slowly through the wide valley. </title><i>\u202evil\u202c & \x07bell\u200b\r\n"
CLEAN = CleanConfig(line_ends=True, control_characters=True, invisible=True, exact_duplicates="documents", min_length=9)


@pytest.fixture(scope="module")
def found(tmp_path_factory, shared_cache):
    """The facts of a folder with texts and names that would like to be markup."""
    folder = tmp_path_factory.mktemp("texts") / "a <b>\u202e & co"
    (folder / EVIL_NAME).parent.mkdir(parents=True)
    for n in range(60):
        (folder / f"{n}.txt").write_text(f"{n} of the texts, and all that belongs to it.\n" * (n + 2) + LINE)
    for name in (EVIL_NAME, "again.txt", "short.txt"):
        (folder / name).write_text(LINE * 30 if name != "short.txt" else "<b>\n")
    data = prepare(DataConfig(source="files", path=str(folder)), TokenizerConfig(), clean=CLEAN)
    return report.facts(data)


def test_the_page_of_a_folder(found):
    page = checked(data_page(found))
    said = page.text()
    for words in (
        "a <b>\\u202e & co: data report", "learnt", "length", "exact_duplicates", "line_ends", "left out",
        "The largest 50 of 61", found["fingerprint"], f"{found['tokens']:,}", "en,", "</style><b>\\u202egpj&.txt",
    ):  # fmt: skip
        assert words.lower() in said.lower(), words
    assert "</title><i>\\u202evil\\u202c & bell\\u200b" in said  # an example of what a filter took
    titles = [data for where, data in page.texts if where[-2:] == ("g", "title")]
    assert any("documents, " in title and "of the text" in title for title in titles)
    assert any(title.startswith("rank 1: ") for title in titles)
    headings = [data for where, data in page.texts if where[-1:] == ("h2",)]
    assert headings == [
        "What to train", "Split", "Lengths", "Characters", "Tokens", "Languages", "Cleaning", "Duplicates", "Leakage",
        "Files", "Fingerprint",
    ]  # fmt: skip


def test_bars_are_as_long_as_their_shares(found):
    text = data_page(found)
    row = next(r for r in re.findall(r"<tr>.*?</tr>", text) if "small letters" in r)
    share = dict((name, share) for name, _, share in found["character_classes"])["small letters"]
    assert f"{share:.1%}" in row
    widths = [float(w) for w in re.findall(r'<rect width="([\d.]+)"', row)]
    assert widths == [100, pytest.approx(100 * share, abs=0.01)]
    parts = re.search(r'aria-label="learnt[^>]*>(.*?)</svg>', text)
    assert parts is not None
    shares = [float(w) for w in re.findall(r'width="([\d.]+)"', parts[1])]
    assert shares == [pytest.approx(100 * s["tokens"] / found["tokens"], abs=0.01) for s in found["splits"].values()]


def test_no_text_of_the_user_is_markup_wherever_it_stands(found):
    """Every text in the facts, not only those that files could hold today."""

    def poisoned(value):
        if isinstance(value, dict):
            return {key: poisoned(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [poisoned(inner) for inner in value]
        return value + HOSTILE if isinstance(value, str) else value

    page = checked(data_page({**poisoned(found), "languages": {**poisoned(found["languages"]), "missing": ""}}))
    tags = {tag for tag, _ in page.elements}
    assert not {"b", "i"} & tags and page.text().count("</script><b>") > 100
    checked(data_page(poisoned(found)))  # with languages missing


@pytest.mark.parametrize(
    ("text", "tokenizer"), [("ab", "byte"), ("a\n" * 9, "char"), ("\u05d0\u05d1 " * 40, "char"), ("x" * 5000, "byte")]
)
def test_the_page_of_a_small_or_strange_text(text, tokenizer, own_cache, tmp_path):
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    facts = report.facts(
        prepare(DataConfig(source="files", path=str(tmp_path / "t.txt")), TokenizerConfig(kind=tokenizer))
    )
    page = checked(data_page(facts))
    assert "NaN" not in page.text() and "inf" not in re.findall(r"\w+", page.text())


def test_the_page_of_a_cleaning_that_is_tried(own_cache, tmp_path):
    (tmp_path / "t.txt").write_text(LINE * 3)
    page = checked(data_page(examine(DataConfig(source="files", path=str(tmp_path / "t.txt")), CLEAN)))
    assert "t.txt: what cleaning would do" in page.text() and "documents left" in page.text()
    assert [attrs["id"] for attrs in page.all("h2")] == ["cleaning"]


def test_the_page_of_several_texts_says_what_each_gives(own_cache, tmp_path):
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"The text {name} is here.\n" * 60)
    sources = [SourceConfig(path=str(tmp_path / name)) for name in ("one.txt", "two.txt")]
    data = prepare(DataConfig(source="mix", sources=sources), TokenizerConfig())
    facts = report.facts(data, ["<one>", "two"])
    page = checked(data_page(facts))
    assert "What each text gives" in page.text() and "<one>" in page.text()
    assert "<one>: 1,404 tokens learnt, 156 kept" in "\n".join(report.lines(facts)).replace("  ", "")


def test_without_the_package_for_languages_the_page_says_so(found):
    missing = {"passages": 0, "languages": [], "other": [], "missing": "install it"}
    assert "Not told: install it." in checked(data_page({**found, "languages": missing})).text()


# Elements ---------------------------------------------------------------------------------


@given(st.text(st.characters() | st.sampled_from("<>&\"'/\u202e\ud800")), st.text())
def test_text_comes_out_as_it_went_in_and_attributes_too(text, value):
    page = Page(element("p", text, element("b", "x"), title=value))
    assert page.elements == [("p", {"title": spelled(value)}), ("b", {})]
    assert "".join(data for where, data in page.texts if where == ("p",)) == spelled(text)


@given(st.text())
def test_spelled_text_has_no_character_that_acts(text):
    shown = spelled(text)
    assert all(unicodedata.category(c)[0] != "C" and (c == " " or unicodedata.category(c)[0] != "Z") for c in shown)
    if all(c.isprintable() for c in text):
        assert shown == text


def test_names_of_elements_and_attributes_are_checked():
    with pytest.raises(ValueError, match="no names"):
        element("p x")
    with pytest.raises(ValueError, match="no names"):
        element("p", **{"a b": 1})


def test_finished_markup_stays_as_it_is_and_a_join_of_it_does_not():
    assert element("p", Markup("<i>x</i>")) == "<p><i>x</i></p>"
    assert element("p", Markup("<i>x</i>") + "y") == "<p>&lt;i&gt;x&lt;/i&gt;y</p>"


def test_a_table_has_heads_for_its_columns_and_rows():
    page = Page(table("sizes", ("name", ">n"), [("a<", "1")]))
    assert [attrs.get("scope") for attrs in page.all("th")] == ["col", "col", "row"]
    assert page.all("td") == [{"class": "n"}] and "a<" in page.text()


# Pictures ---------------------------------------------------------------------------------

COUNT = st.integers(1, 10**12)


def inside(svg: str) -> ET.Element:
    """The picture, whose marks and labels must be within its edges."""
    picture = ET.fromstring(svg)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for mark in picture.iter():
        for name, size in (("x", width), ("cx", width), ("x1", width), ("y", height), ("cy", height), ("y1", height)):
            assert -0.01 <= float(mark.get(name, 0)) <= size + 0.01
        if mark.tag == "rect":
            assert float(mark.attrib["width"]) >= 0 and float(mark.attrib["height"]) >= 0
            assert float(mark.get("y", 0)) + float(mark.attrib["height"]) <= height
    return picture


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any), st.integers(1, 10**6))
def test_a_histogram_is_within_its_edges_and_in_proportion(heights, first):
    edges = [first * 1.5**n for n in range(len(heights) + 1)]
    bins = [(a, b, h, f"{h}") for a, b, h in zip(edges, edges[1:], heights, strict=False)]
    rects = list(inside(charts.histogram(bins, "x", "y", "label")).iter("rect"))
    drawn = [float(r.attrib["height"]) for r in rects]
    tallest = max(drawn)
    for shown, height in zip(drawn, heights, strict=True):
        expected = tallest * height / max(heights)
        assert shown == pytest.approx(max(expected, charts.SMALLEST if height else 0), abs=0.11)


@given(st.lists(COUNT, min_size=1, max_size=40))
def test_a_curve_is_within_its_edges_and_falls_as_its_numbers_do(counts):
    dots = [(float(n), float(c), "") for n, c in enumerate(sorted(counts, reverse=True), 1)]
    line = [(1.0, 10.0**13), (float(len(dots)), 1.0)]
    circles = list(inside(charts.curve(dots, line, "x", "y", "label")).iter("circle"))
    heights = [float(c.attrib["cy"]) for c in circles]
    assert heights == sorted(heights) and len(circles) == len(counts)


def test_the_x_axis_always_has_numbers():
    for low in (1, 7, 31, 99, 120, 4e7):
        for factor in (1.01, 1.5, 9, 1e3, 1e9):
            picture = ET.fromstring(charts.histogram([(low, low * factor, 3, "")], "x", "y", "label"))
            shown = [
                t.text for t in picture.iter("text") if t.get("text-anchor") == "middle" and not t.get("transform")
            ]
            assert 2 <= len(shown) <= 9, (low, factor, shown)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_what_is_behind_them(colours):
    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        high, low = sorted((luminance(colours[a]), luminance(colours[b])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for front, back, least in (
        ("text", "back", 4.5), ("text", "track", 4.5), ("ink", "back", 7), ("ink", "track", 7), ("first", "back", 4.5),
        ("first", "track", 3), ("second", "track", 3), ("second", "back", 3),
    ):  # fmt: skip
        assert contrast(front, back) >= least, (front, back)
    assert math.isclose(contrast("ink", "ink"), 1)
