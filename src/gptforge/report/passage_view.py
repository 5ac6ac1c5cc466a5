"""A passage of text whose tokens are coloured by how much they surprised a model. Knows passage.json only."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gptforge.logs.drawing import HEAT_LIGHT
from gptforge.report.html import Markup, element, joined
from gptforge.report.page import key, paragraph

# A token is of the first class whose least probability it has: from what was expected to what was a surprise
CLASSES = (0.9, 0.6, 0.35, 0.15, 0.05, 0.01, 0.0)
MOST = 2_000  # tokens that are drawn, whoever wrote the file
assert len(CLASSES) == len(HEAT_LIGHT)

RULES = """
.passage { max-width: none; margin: 0.6rem 0; padding: 0.6rem 0.8rem; border: 1px solid var(--grid);
  font: 0.95rem/1.9 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--ink);
  white-space: pre-wrap; }
.passage span { padding: 0.15rem 0; border-radius: 0.15rem; }
.passage span:hover { outline: 2px solid var(--ink); }
.passage .first-token { color: var(--text); }
.passage span, .key rect { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
""" + "\n".join(
    f".passage .heat-{n} {{ background: var(--heat-{n}); }} rect.heat-{n} {{ fill: var(--heat-{n}); "
    "stroke: var(--axis); stroke-width: 0.6; }"
    for n in range(len(CLASSES))
)


def passage(found: Mapping[str, Any]) -> Iterator[Markup]:
    """The passage, and what its colours stand for. Raises LookupError, TypeError or ValueError for what is none."""
    pieces = [(str(piece["text"]), piece["nats"]) for piece in found["pieces"][:MOST]]
    known = [float(nats) for _, nats in pieces if nats is not None]
    mean = f", {sum(known) / len(known):.3f} nats a token on average" if known else ""
    yield paragraph(
        f"How the weights after step {int(found['step']):,} predict the first tokens of the validation text{mean}. The "
        "stronger its colour, the less the model expected a token after those before it; its number is under the mouse."
    )
    yield element("p", *(_token(text, nats) for text, nats in pieces), class_="passage")
    bounds = [f"at least {least:.0%}" for least in CLASSES[:-1]] + [f"less than {CLASSES[-2]:.0%}"]
    yield key([(f"{said} likely" if not n else said, f"heat-{n}") for n, said in enumerate(bounds)])


def _token(text: str, nats: float | None) -> Markup:
    if nats is None:
        return element("span", _seen(text), title="nothing is before it", class_="first-token")
    likely = math.exp(-max(0.0, float(nats)))
    n = next(n for n, least in enumerate(CLASSES) if likely >= least)
    said = f"{float(nats):.2f} nats, {_percent(likely)} likely"
    return element("span", _seen(text), title=said, class_=f"heat-{n}")


def _seen(text: str) -> Markup:
    """A token with its line breaks marked, and made."""
    parts = text.split("\n")
    return joined(part for n, line in enumerate(parts) for part in ([line] if not n else [Markup("⏎\n"), line]))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.2g}" if share < 0.0001 else f"{share:.2%}"
