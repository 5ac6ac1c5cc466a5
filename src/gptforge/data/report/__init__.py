"""What a prepared text is: counts, lengths, characters, tokens, leakage, and what to train on it.

Knows the stored data set; reads no file of the user's. `facts` are JSON values, `lines` are for people; pages with
pictures are drawn elsewhere, from the facts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptforge.data import leakage
from gptforge.data.report.characters import character_facts
from gptforge.data.report.files import file_facts, text_facts
from gptforge.data.report.languages import language_facts
from gptforge.data.report.lengths import document_lengths, histogram, line_facts, quantiles
from gptforge.data.report.terminal import dry_lines, lines
from gptforge.data.report.use import token_counts, use_facts
from gptforge.data.store import SPLITS, Dataset

MUCH_SHARED = 0.05  # of the validation text's runs of tokens in the training text, which is worth a warning
PASSES = 4  # over a text that teach nearly as much as as much new text (Muennighoff et al. 2023)
# Presets by the training tokens from which they are worth their time; see docs/experiments.md for the first
SIZES = ((0, "small"), (3_000_000, "medium"), (100_000_000, "gpt2"))
REPEATS = ("exact_duplicates", "near_duplicates", "paragraphs", "boilerplate")  # filters that look for what repeats

__all__ = ["dry_lines", "facts", "lines", "recommended"]


def facts(data: Dataset, names: Sequence[str] = ()) -> dict[str, Any]:
    """Everything as JSON values; reads all tokens twice. `names` are what each of several texts is called."""
    manifest = data.manifest
    splits = _splits(manifest)
    n_bytes = sum(s["bytes"] for s in splits.values())
    n_tokens = sum(s["tokens"] for s in splits.values())
    lengths = np.concatenate(document_lengths(data))
    use = use_facts(token_counts(data), data.tokenizer)
    leaked = _leakage(data, leakage.run_length(n_bytes, n_tokens))
    return {
        "text": manifest["label"],
        "documents": manifest["n_documents"],
        "equal_documents": manifest["n_equal"],
        "bytes": n_bytes,
        "characters": manifest["n_characters"],
        **character_facts(manifest["characters"]),
        "tokens": n_tokens,
        "bytes_per_token": round(n_bytes / max(1, n_tokens), 3),
        "tokenizer": manifest["tokenizer_kind"],
        "vocab_size": manifest["vocab_size"],
        "unused_tokens": use["unused"],
        "token_use": use,
        "splits": splits,
        "split": manifest["split"],
        "texts": text_facts(data, names),
        "files": file_facts(data),
        "document_tokens": quantiles(lengths),
        "document_lengths": histogram(lengths),
        "lines": line_facts(data),
        "languages": language_facts(data),
        "repeats": {name: data.cleaning["filters"][name] for name in REPEATS if name in data.cleaning["filters"]},
        "leakage": leaked,
        "recommended": recommended(splits["train"]["tokens"]),
        "cleaning": data.cleaning,
        "notes": data.notes,
        "warnings": [*_much_shared(leaked), *data.warnings],
        "fingerprint": data.fingerprint,
    }


def recommended(train_tokens: int) -> dict[str, Any]:
    """A preset and a token budget for so many tokens to learn from."""
    name = [preset for least, preset in SIZES if train_tokens >= least][-1]
    return {"model": name, "tokens": PASSES * train_tokens, "passes": PASSES}


def _splits(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is counted of train and val, without what checks their files."""
    found = {}
    for name in SPLITS:
        split = {key: n for key, n in manifest["splits"][name].items() if not key.endswith("sha256")}
        found[name] = split | {"bytes_per_token": round(split["bytes"] / max(1, split["tokens"]), 4)}
    return found


def _leakage(data: Dataset, n: int) -> dict[str, Any]:
    shared = leakage.overlap(data.train, data.val, data.val_starts, n)
    return {
        "run_of_tokens": shared.n,
        "runs": shared.runs,
        "shared": shared.shared,
        "share": round(shared.share, 5),
        "worst_documents": [
            {"document": number, "file": data.files[int(data.val_files[number])], "share": round(share, 4)}
            for number, share in shared.documents
        ],
    }


def _much_shared(leaked: Mapping[str, Any]) -> list[str]:
    much = "much of the kept text is in the learnt text: its loss will look better than it is"
    return [much] * (leaked["share"] > MUCH_SHARED)
