"""What a prepared text is: counts, lengths, characters, tokens, leakage, and what to train on it.

Knows the stored data set; reads no file of the user's. `facts` are JSON values, `lines` are for people.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gptforge.config.units import shown_bytes, shown_count
from gptforge.data import leakage
from gptforge.data.store import SPLITS, Dataset

MUCH_SHARED = 0.05  # of the validation text's runs of tokens in the training text, which is worth a warning
PASSES = 4  # over a text that teach nearly as much as as much new text (Muennighoff et al. 2023)
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
# Presets by the training tokens from which they are worth their time; see docs/experiments.md for the first
SIZES = ((0, "small"), (3_000_000, "medium"), (100_000_000, "gpt2"))
_DONE = {  # by action of a filter
    "changed": "changed {n:,} in {documents}",
    "dropped": "left out {documents}, {n:,} characters",
    "found": "found {n:,} in {documents}, left as they are",
    "skipped": "not used on {documents}, {n:,} characters",
}
_NAMES = {"\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\t": "TAB"}


def facts(data: Dataset) -> dict[str, Any]:
    """Everything as JSON values; reads all tokens once."""
    manifest = data.manifest
    counts = _token_counts(data)
    splits = {name: dict(manifest["splits"][name]) for name in SPLITS}
    for name in SPLITS:
        del splits[name]["sha256"], splits[name]["starts_sha256"]
    n_bytes = sum(s["bytes"] for s in splits.values())
    n_tokens = sum(s["tokens"] for s in splits.values())
    shared = leakage.overlap(data.train, data.val, data.val_starts, leakage.run_length(n_bytes, n_tokens))
    return {
        "text": manifest["label"],
        "documents": manifest["n_documents"],
        "equal_documents": manifest["n_equal"],
        "bytes": n_bytes,
        "characters": manifest["n_characters"],
        "different_characters": len(manifest["characters"]),
        "tokens": n_tokens,
        "bytes_per_token": round(n_bytes / max(1, n_tokens), 3),
        "tokenizer": manifest["tokenizer_kind"],
        "vocab_size": manifest["vocab_size"],
        "unused_tokens": int((counts == 0).sum()),
        "splits": splits,
        "split": manifest["split"],
        "document_tokens": _lengths(data),
        "frequent_characters": _named(manifest["characters"][:12]),
        "rare_characters": _named(_strange(manifest["characters"])),
        "leakage": {
            "run_of_tokens": shared.n,
            "runs": shared.runs,
            "shared": shared.shared,
            "share": round(shared.share, 5),
            "worst_documents": [[number, round(share, 4)] for number, share in shared.documents],
        },
        "recommended": recommended(splits["train"]["tokens"]),
        "cleaning": data.cleaning,
        "notes": data.notes,
        "warnings": data.warnings,
        "fingerprint": data.fingerprint,
    }


def recommended(train_tokens: int) -> dict[str, Any]:
    """A preset and a token budget for so many tokens to learn from."""
    name = [preset for least, preset in SIZES if train_tokens >= least][-1]
    return {"model": name, "tokens": PASSES * train_tokens, "passes": PASSES}


def _token_counts(data: Dataset) -> np.ndarray:
    counts = np.zeros(data.tokenizer.vocab_size, dtype=np.int64)
    for ids in (data.train, data.val):
        for first in range(0, len(ids), leakage.CHUNK):
            counts += np.bincount(ids[first : first + leakage.CHUNK], minlength=len(counts))
    return counts


def _lengths(data: Dataset) -> dict[str, int]:
    """Quantiles of the tokens in a document."""
    each = [np.diff(np.append(s, len(t))) for s, t in ((data.train_starts, data.train), (data.val_starts, data.val))]
    lengths = np.concatenate(each)
    if not len(lengths):
        return {}
    names = ("least", "quarter", "median", "three_quarters", "95%", "most")
    return {name: int(np.quantile(lengths, q)) for name, q in zip(names, QUANTILES, strict=True)}


def _strange(characters: list[list[Any]]) -> list[list[Any]]:
    """The rarest characters, those first that a text seldom means to have: controls, private use, U+FFFD."""

    def order(entry: list[Any]) -> tuple[bool, int]:
        odd = unicodedata.category(entry[0]) in ("Cc", "Cf", "Co", "Cn") and entry[0] not in "\n\t\r"
        return (not (odd or entry[0] == "\ufffd"), entry[1])

    return sorted(characters, key=order)[:12]


def _named(characters: list[list[Any]]) -> list[list[Any]]:
    return [[c, n, _NAMES.get(c) or unicodedata.name(c, f"U+{ord(c):04X}")] for c, n in characters]


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{found['text']}: {found['documents']:,} document{'s' * (found['documents'] != 1)}"
    if found["equal_documents"]:
        yield f"  of which {found['equal_documents']:,} are equal to another"
    yield ""
    yield f"  text        {shown_bytes(found['bytes'])}, {found['characters']:,} characters"
    yield f"  tokens      {found['tokens']:,} of {found['tokenizer']}, {found['bytes_per_token']:.2f} bytes each"
    used = found["vocab_size"] - found["unused_tokens"]
    yield f"  vocabulary  {found['vocab_size']:,} tokens, {used:,} of them used"
    for name, what in (("train", "learnt"), ("val", "kept")):
        split = found["splits"][name]
        yield f"  {what:11} {split['tokens']:,} tokens in {split['documents']:,} documents ({name})"
    yield f"  split       {found['split']}"
    if found["documents"] > 1:
        lengths = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found["document_tokens"].items())
        yield f"  lengths     {lengths} tokens a document"
    yield f"  frequent    {_shown(found['frequent_characters'])}"
    yield f"  rarest      {_shown(found['rare_characters'])}"
    leak = found["leakage"]
    runs = f"the kept text's runs of {leak['run_of_tokens']} tokens"
    yield f"  leakage     {leak['share']:.2%} of {runs} are in the learnt text"
    yield f"  fingerprint {found['fingerprint'][:16]}"
    advice = found["recommended"]
    yield ""
    tokens = f"about {shown_count(advice['tokens'])} tokens"
    yield f"  to train    model={advice['model']}, {tokens} ({advice['passes']} passes)"
    if found["cleaning"]["filters"]:
        yield ""
        yield from cleaning_lines(found["cleaning"])
        yield ""
    much = ["much of the kept text is in the learnt text: its loss will look better than it is"]
    yield from _said(found["notes"], [*much * (leak["share"] > MUCH_SHARED), *found["warnings"]])


def dry_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What cleaning would do, for people."""
    read, left = found["cleaning"]["documents"], found["left"]
    yield f"{found['text']}: {read:,} document{'s' * (read != 1)}, nothing is stored"
    yield f"  left        {left['documents']:,} with {left['characters']:,} characters"
    yield ""
    yield from cleaning_lines(found["cleaning"])
    yield ""
    yield from _said(found["notes"], found["warnings"])


def _said(notes: list[str], warnings: list[str]) -> Iterator[str]:
    for text in notes:
        yield f"  note        {text}"
    for text in warnings:
        yield f"  warning     {text}"


def cleaning_lines(cleaning: Mapping[str, Any]) -> Iterator[str]:
    """What each filter did, with examples."""
    if not cleaning["filters"]:
        yield "  nothing to change or to leave out"
    for name, actions in cleaning["filters"].items():
        for action, count in actions.items():
            documents = f"{count['documents']:,} of {cleaning['documents']:,} documents"
            yield f"  {name:20}{_DONE[action].format(n=count['amount'], documents=documents)}"
            for sample in count["samples"]:
                reason = f"  ({sample['reason']})" if sample["reason"] else ""
                text = f", character {sample['position']:,}: {sample['text']!r}" if sample["text"] else ""
                yield f"      {sample['file']}{text}{reason}"


def _shown(characters: list[list[Any]]) -> str:
    signs = ((repr(c)[1:-1] if c.isprintable() and not c.isspace() else name.lower(), n) for c, n, name in characters)
    return ", ".join(f"{sign} {n:,}" for sign, n in signs)
