"""The language of a text, guessed by py3langid (the extra `clean`).

Knows nothing of what is done with documents in other languages.
"""

import difflib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from gptforge.errors import ConfigError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LETTERS = 20  # with fewer a guess means nothing
STRETCH = 1000  # characters that are looked at, at the begin, in the middle and at the end

_LETTER = re.compile(r"[^\W\d_]")


def identify(text: str) -> tuple[str, float] | None:
    """The likeliest language (ISO 639) and its probability; None for a text of too few letters.

    Raises ConfigError without py3langid.
    """
    looked_at = _stretches(text)
    return _identifier().classify(looked_at) if _has_letters(looked_at) else None


def probability(text: str, languages: Sequence[str]) -> float | None:
    """The probability that a text is in one of the languages; None for a text of too few letters.

    Near relatives share it: Chinese may look Cantonese or Wu by half, so name all that are welcome.
    """
    looked_at = _stretches(text)
    if not _has_letters(looked_at):
        return None
    return min(1.0, sum(share for code, share in _identifier().rank(looked_at) if code in languages))


def check(languages: Sequence[str]) -> None:
    """Raises ConfigError for a language that cannot be told, and without py3langid."""
    known = sorted(set(_identifier().labels))
    for code in languages:
        if code not in known:
            near = difflib.get_close_matches(code, known, 1, 0.3)
            raise ConfigError(
                f"clean.language has {code!r}, which is not one of the {len(known)} languages that can be told",
                where=" ".join(known),
                fix=f"clean.language=[{near[0] if near else 'en'}]",
            )


def _stretches(text: str) -> str:
    if len(text) <= 3 * STRETCH:
        return text
    middle = (len(text) - STRETCH) // 2
    return "\n".join((text[:STRETCH], text[middle : middle + STRETCH], text[-STRETCH:]))


def _has_letters(text: str) -> bool:
    return len(_LETTER.findall(text)) >= LETTERS


@cache
def _identifier() -> "LanguageIdentifier":
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError(
            "telling languages needs the package py3langid", fix=["pip install 'gptforge[clean]'", "clean.language=[]"]
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
