"""A made-up text of 65 different characters, the same each time: no benchmark of speed needs a download."""

import random
from pathlib import Path

ALPHABET = "\n !,.;:'?-" + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + "018"


def write_text(path: Path, characters: int) -> Path:
    """Writes it; all characters are equally likely, so that a model can learn nothing but their number."""
    path.write_text("".join(random.Random(0).choices(ALPHABET, k=characters)), encoding="utf-8")
    return path
