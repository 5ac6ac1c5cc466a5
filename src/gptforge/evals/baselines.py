"""What a model is compared with: simple predictors of the same text, all in bits per byte.

Knows tokens and their bytes; no model. What each one measures is said in its `note`.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gptforge.evals.ngram import KneserNey
from gptforge.tokenizers import Tokenizer

XZ_BYTES = 8_000_000  # of the training text, before the text that is packed


@dataclass(frozen=True, slots=True)
class Baseline:
    """A predictor by name: its bits per byte, and what it knows and what is counted."""

    name: str
    bits_per_byte: float
    note: str


def baselines(
    tokens: np.ndarray,
    learnt: np.ndarray | None,
    tokenizer: Tokenizer,
    order: int | None,
    max_tokens: int,
    on_step: Callable[[float], None] = lambda share: None,
) -> list[Baseline]:
    """The baselines of a text, tokens (n,), all its tokens but the first predicted, as the model does.

    `learnt` are the training tokens, of which the last `max_tokens` are used; without them only those that learn
    nothing. `order` is that of the n-gram, None: chosen by how long tokens are. `on_step` is told the share done.
    """
    size = int(tokenizer.token_bytes()[tokens[1:]].sum())

    def per_byte(nats: float) -> float:
        return nats / math.log(2) / max(1, size)

    found = [
        Baseline(
            "uniform",
            per_byte((len(tokens) - 1) * math.log(tokenizer.vocab_size)),
            f"each of the {tokenizer.vocab_size:,} tokens is equally likely",
        )
    ]
    if learnt is not None and len(learnt):
        part = learnt[-max_tokens:]
        last = "the last " if len(part) < len(learnt) else ""
        source = f"from {last}{len(part):,} training tokens"
        found.append(Baseline("unigram", per_byte(_unigram(tokens, part, tokenizer.vocab_size)), f"counted {source}"))
        on_step(0.2)
        model = KneserNey(part, order or default_order(tokenizer), tokenizer.vocab_size)
        on_step(0.5)
        what = f"interpolated modified Kneser-Ney, {source}"
        found.append(Baseline(f"{model.order}-gram", per_byte(float(model.nats(tokens).sum())), what))
    on_step(0.7)
    found += _packed(tokens, learnt, tokenizer)
    on_step(1.0)
    return found


def default_order(tokenizer: Tokenizer) -> int:
    """5 where a token is a character or a byte, 3 where it is more."""
    return 5 if tokenizer.kind in ("char", "byte") else 3


def _unigram(tokens: np.ndarray, learnt: np.ndarray, vocab_size: int) -> float:
    """Nats of tokens[1:] by how often each occurs in `learnt`, each counted once more (Laplace)."""
    counts = np.bincount(learnt, minlength=vocab_size) + 1
    return float(-np.log(counts / counts.sum())[tokens[1:]].sum())


def _packed(tokens: np.ndarray, learnt: np.ndarray | None, tokenizer: Tokenizer) -> list[Baseline]:
    """What packers need for the whole text. A Python may come without lzma: then there is no xz."""
    text = _bytes_of(tokens, tokenizer)

    def baseline(name: str, packed: int, note: str) -> Baseline:
        return Baseline(name, 8 * packed / max(1, len(text)), note)

    found = [baseline("gzip", len(zlib.compress(text, 9, wbits=31)), "the text alone, gzip -9")]
    try:
        import lzma
    except ImportError:
        return found
    known = b"" if learnt is None else _bytes_of(learnt[-XZ_BYTES:], tokenizer)[-XZ_BYTES:]
    # So large that all of what comes before is still there when the text begins
    window = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": max(4096, len(known) + min(len(text), XZ_BYTES))}

    def xz(content: bytes) -> int:
        return len(lzma.compress(content, filters=[window]))

    found.append(baseline("xz", xz(text), "the text alone, xz -6"))
    if known:
        note = f"what the text adds to {len(known):,} bytes of training text before it"
        found.append(baseline("xz, trained", xz(known + text) - xz(known), note))
    return found


def _bytes_of(tokens: np.ndarray, tokenizer: Tokenizer) -> bytes:
    """The text of tokens (n,), without those that stand for none of it."""
    return tokenizer.decode_bytes(tokens[tokenizer.token_bytes()[tokens] > 0])
