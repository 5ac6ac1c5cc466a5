"""What all pictures share: one set of colours for light and dark screens, and text that is safe inside a picture.

Knows nothing of what is drawn.
"""

from collections.abc import Mapping
from html import escape
from string import Template

from gptforge.logs.screen import visible

LIGHT = {
    "back": "#ffffff",
    "ink": "#0b0b0b",
    "text": "#52514e",
    "grid": "#e6e5e0",
    "axis": "#a3a29c",
    "track": "#f1f0ec",
    "first": "#2a6fc9",  # training, and whatever is alone
    "second": "#c8551b",  # validation
}
DARK = {
    "back": "#1a1a19",
    "ink": "#ffffff",
    "text": "#c3c2b7",
    "grid": "#2f2f2d",
    "axis": "#6b6a64",
    "track": "#2f2f2d",
    "first": "#6aa7f2",
    "second": "#ee8a4f",
}


def style(rules: str, more: Mapping[str, tuple[str, str]] | None = None) -> str:
    """CSS in which $NAME is the colour of that name, for light and for dark screens; `more` has further ones of both.

    Colours are written out: programs that show an SVG file seldom know variables.
    """
    both = (more or {}).items()
    dark = Template(rules).substitute(DARK | {name: pair[1] for name, pair in both}).strip().replace("\n", "\n  ")
    light = Template(rules).substitute(LIGHT | {name: pair[0] for name, pair in both}).strip()
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n  {dark}\n}}\n"


def safe(text: str) -> str:
    """Text for one line of a picture: control codes shown, markup escaped."""
    return escape(visible(text).replace("\n", " "))
