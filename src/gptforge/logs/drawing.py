"""What all pictures share: one set of colours for light and dark screens, and text that is safe inside a picture.

Knows nothing of what is drawn.
"""

from collections.abc import Mapping, Sequence
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

# How much of `second` is mixed into `back`, from what is expected to what surprises; lightness alone tells them apart,
# and text in `ink` can be read on all of them.
HEAT_LIGHT = (0.0, 0.1, 0.22, 0.36, 0.5, 0.65, 0.82)
HEAT_DARK = (0.0, 0.12, 0.22, 0.32, 0.42, 0.51, 0.6)


def heat(colours: Mapping[str, str], shares: Sequence[float]) -> dict[str, str]:
    """heat-0, heat-1 …: backgrounds of text from `back` on, with so much of `second` in them."""
    back, front = ([int(colours[name][i : i + 2], 16) for i in (1, 3, 5)] for name in ("back", "second"))
    mixed = ([round(a + (b - a) * share) for a, b in zip(back, front, strict=True)] for share in shares)
    return {f"heat-{n}": "#{:02x}{:02x}{:02x}".format(*parts) for n, parts in enumerate(mixed)}


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
