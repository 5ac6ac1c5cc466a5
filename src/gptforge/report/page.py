"""A whole page around the sections of a report: head, style sheet, contents, foot. Knows nothing of what they say."""

import base64
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from gptforge import __version__
from gptforge.logs.drawing import DARK, HEAT_DARK, HEAT_LIGHT, LIGHT, heat
from gptforge.report.html import Markup, element, joined

RULES = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3, dd, th[scope=row] { color: var(--ink); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid var(--grid); }
h3, caption, figcaption, summary { font-size: 0.95rem; font-weight: 600; color: var(--ink); }
p { max-width: 44rem; margin: 0.5rem 0; }
a { color: var(--first); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; padding: 0; margin: 1rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 0.6rem; margin: 1rem 0; }
.tiles div { background: var(--track); border-radius: 0.4rem; padding: 0.5rem 0.7rem; }
.tiles dt { font-size: 0.8rem; }
.tiles dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.said { padding: 0.5rem 0.8rem; border-left: 4px solid var(--axis); background: var(--track); margin: 0.5rem 0; }
.said.warning { border-color: var(--second); color: var(--ink); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem 2rem;
  align-items: start; }
.beside > * { min-width: 0; }
figure { margin: 0.5rem 0; }
figcaption { margin-bottom: 0.3rem; }
svg { display: block; width: 100%; }
svg.chart { max-width: 34rem; }
svg.chart text { fill: var(--text); font-size: 12px; }
.grid { stroke: var(--grid); } .axis { stroke: var(--axis); }
.fit { fill: none; stroke: var(--second); stroke-width: 1.5; stroke-dasharray: 5 4; }
.first { fill: var(--first); } .second { fill: var(--second); } .track { fill: var(--track); }
svg.bar { height: 0.8rem; min-width: 3rem; }
svg.whole { height: 1.6rem; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; padding: 0; margin: 0.4rem 0; }
.key svg { display: inline-block; width: 0.8rem; height: 0.8rem; margin-right: 0.4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; font-size: 0.9rem; }
caption { text-align: left; padding: 0.2rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.6rem 0.25rem 0; font-weight: 400;
  border-bottom: 1px solid var(--grid); }
thead th.n { white-space: normal; }
th[scope=row] { min-width: 7.5rem; }
td { overflow-wrap: break-word; }
thead th { font-size: 0.8rem; vertical-align: bottom; overflow-wrap: normal; }
tfoot th, tfoot td { font-weight: 600; }
th.n, td.n { padding-right: 1rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr > :last-child, tr > .n:last-child { padding-right: 0; }
.bars td:last-child { width: 38%; vertical-align: middle; }
@media (max-width: 40rem) { .bars td:last-child { width: 25%; } }
code { font: 0.9em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--ink);
  white-space: pre-wrap; background: var(--track); border-radius: 0.2rem; padding: 0 0.2em; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; padding: 0.2rem 0; }
footer { margin-top: 2.5rem; padding-top: 0.6rem; border-top: 1px solid var(--grid); font-size: 0.85rem; }
@page { margin: 15mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  h2, h3, caption, figcaption, summary { break-after: avoid; }
  figure, tr, .tiles div, .said { break-inside: avoid; }
  .tiles div, .said { border: 1px solid var(--axis); }
  .wide { overflow: visible; }
  details.long { display: none; }
}
"""


class Section(NamedTuple):
    """A part of a page under a heading; `anchor` is its id."""

    anchor: str
    title: str
    content: Sequence[Markup]


def page(title: str, heading: Markup, lead: Sequence[Markup], sections: Sequence[Section], rules: str = "") -> str:
    """The page as a file holds it; `title` is what a browser calls it, `lead` what stands before the contents.

    `rules` are added to the style sheet. Whatever a text in it might try, a browser fetches and runs nothing for it.
    """
    links = [element("li", element("a", s.title, href=f"#{s.anchor}")) for s in sections]
    parts = [
        element("header", element("h1", heading), *lead),
        element("nav", element("ul", *links), aria_label="Contents"),
        element("main", *map(_section, sections)),
        element("footer", element("p", f"Made by gptforge {__version__}. This page needs no network and no script.")),
    ]
    style = _style() + rules
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    ]
    whole = element("html", element("head", *head), element("body", *parts), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def paragraph(*content: str) -> Markup:
    return element("p", *content)


def figure(caption: str, *content: Markup) -> Markup:
    """A picture with what it is."""
    return element("figure", element("figcaption", caption), *content)


def beside(*content: Markup | None) -> Markup:
    """Parts that stand side by side where there is room; those that are None are left out."""
    return element("div", *content, class_="beside")


def key(entries: Sequence[tuple[str, str]]) -> Markup:
    """What colours stand for: text and style of each."""
    square = {"viewBox": "0 0 10 10", "aria_hidden": "true"}
    items = (
        element("li", joined([element("svg", element("rect", width=10, height=10, class_=style), **square), text]))
        for text, style in entries
    )
    return element("ul", *items, class_="key")


def _section(section: Section) -> Markup:
    heading = element("h2", section.title, id=section.anchor)
    return element("section", heading, *section.content, aria_labelledby=section.anchor)


def _policy(style: str) -> str:
    """What a browser may do with the page: show it, in this style alone. The digest is of the URL-safe kind."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _style() -> str:
    both = {**LIGHT, **heat(LIGHT, HEAT_LIGHT)}, {**DARK, **heat(DARK, HEAT_DARK)}
    light, dark = (" ".join(f"--{name}: {colour};" for name, colour in c.items()) for c in both)
    paper = f"@media print {{ :root {{ {light} color-scheme: light; }} }}"
    screens = f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{paper}"
    return f"\n{screens}{RULES}"
