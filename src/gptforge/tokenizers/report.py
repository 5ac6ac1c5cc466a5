"""How a tokenizer cuts a text, in figures. Knows ids and tokenizers; not where a text or a tokenizer comes from."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gptforge.errors import UserError
from gptforge.tokenizers.base import StreamDecoder, Tokenizer
from gptforge.tokenizers.bpe import gpt2

COMPARED = 500_000  # tokens of the validation part that are compared with another tokenizer
_PORTION = 1 << 24


def describe(
    tokenizer: Tokenizer, splits: Mapping[str, np.ndarray], sources: Iterable[tuple[str, str]], top: int
) -> dict[str, Any]:
    """The figures as JSON values.

    `splits` has the ids (n,) of the training part and those of the validation part, in this order; `sources` are the
    names and texts of what the whole consists of.
    """
    sizes = tokenizer.token_bytes()
    counts = [_counts(ids, tokenizer.vocab_size) for ids in splits.values()]
    parts = [_part(name, int(n.sum()), int(n @ sizes)) for name, n in zip(splits, counts, strict=True)]
    of_sources = [_part(name, len(tokenizer.encode(text)), len(text.encode())) for name, text in sources]
    learnt = counts[0]
    unused = np.setdiff1d(np.flatnonzero(learnt == 0), list(tokenizer.special.values()))
    longest = np.argsort(-sizes, kind="stable")[:top]
    frequent = [i for i in np.argsort(-learnt, kind="stable")[:top] if learnt[i]]
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "special": dict(tokenizer.special),
        "fingerprint": tokenizer.fingerprint,
        "parts": parts,
        "sources": of_sources,
        "unused": len(unused),
        "unused_examples": [_token(tokenizer, i, learnt) for i in unused[:top]],
        "longest": [_token(tokenizer, i, learnt) for i in longest],
        "frequent": [_token(tokenizer, i, learnt) for i in frequent],
    }


def beside_gpt2(tokenizer: Tokenizer, ids: np.ndarray) -> dict[str, Any] | None:
    """What GPT-2's tokenizer makes of the text of these ids (n,), or of its beginning; None if it is that itself."""
    if tokenizer.kind == "gpt2":
        return None
    try:
        other = gpt2()
    except UserError as e:
        return {"missing": e.what}
    text = StreamDecoder(tokenizer).feed(ids[:COMPARED])
    size = len(text.encode())
    return {name: _part(t.kind, len(t.encode(text)), size) for name, t in (("own", tokenizer), ("other", other))}


def cut(tokenizer: Tokenizer, ids: np.ndarray) -> list[dict[str, Any]]:
    """The tokens of a text, one by one; ids (n,)."""
    return [{"id": int(i), "text": token_text(tokenizer, int(i))} for i in ids]


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """What a token stands for, to be read: its text, its name, or its bytes where they are no whole characters."""
    content = tokenizer.decode_bytes([token_id])
    try:
        return content.decode() or next(name for name, i in tokenizer.special.items() if i == token_id)
    except UnicodeDecodeError:
        return f"<{content.hex(' ')}>"


def _counts(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """How often each token occurs, (vocab_size,); in portions, for bincount makes eight bytes of each id."""
    portions = (ids[at : at + _PORTION] for at in range(0, len(ids), _PORTION))
    return sum((np.bincount(portion, minlength=vocab_size) for portion in portions), np.zeros(vocab_size, np.int64))


def _part(name: str, tokens: int, size: int) -> dict[str, Any]:
    return {"name": name, "bytes": size, "tokens": tokens, "bytes_per_token": round(size / max(1, tokens), 4)}


def _token(tokenizer: Tokenizer, token_id: Any, counts: np.ndarray) -> dict[str, Any]:
    size = len(tokenizer.decode_bytes([token_id]))
    text = token_text(tokenizer, token_id)
    return {"id": int(token_id), "text": text, "bytes": size, "count": int(counts[token_id])}
