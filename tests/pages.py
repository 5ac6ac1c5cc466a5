"""What must hold for every page: valid, self-contained, nothing of the user's become markup; and what is in one."""

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

from gptforge.report.html import VOID

HOSTILE = "</script><b>&amp;\u202egpj.txt\u2066\x07\x1b[31m\"'\ud800 onload=x"
# What would act on the text around it, or on a terminal, instead of being seen
UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
SHOWN = ("title", "aria-label", "content")  # attributes that are texts


class Page(HTMLParser):
    """Reads a page and checks on the way that every element is closed where it belongs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), "an attribute is there twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        raise AssertionError("elements are closed by end tags")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def text(self) -> str:
        return "".join(data for where, data in self.texts if "style" not in where)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def headings(self) -> list[str]:
        return [data for where, data in self.texts if where[-1:] == ("h2",)]


def checked(text: str) -> Page:
    """The page, after all that must hold for every page."""
    assert text.startswith("<!DOCTYPE html>\n<html")
    page = Page(text)
    ids = Counter(attrs["id"] for _, attrs in page.elements if "id" in attrs)
    assert ids and set(ids.values()) == {1}
    assert {attrs["href"] for attrs in page.all("a")} == {f"#{name}" for name in ids}
    labelled = {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs}
    assert labelled <= set(ids)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") or name in ("src", "style") for _, a in page.elements for name in a)
    style = "".join(data for where, data in page.texts if "style" in where)
    values = [value for _, attrs in page.elements for name, value in attrs.items() if name not in SHOWN]
    assert not re.search(r"https?:|//|url\(|@import|javascript:", "\n".join([style, *values]))
    (policy,) = (attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    digest = base64.urlsafe_b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert not UNSEEN.search(text)
    return page
