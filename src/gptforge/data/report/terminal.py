"""The data report as lines for people. Knows the facts' JSON values only."""

from collections.abc import Iterator, Mapping
from typing import Any

from gptforge.config.units import shown_bytes, shown_count

SHOWN = 12  # characters of a kind
SHOWN_LANGUAGES = 5
_DONE = {  # by action of a filter
    "changed": "changed {n:,} in {documents}",
    "dropped": "left out {documents}, {n:,} characters",
    "found": "found {n:,} in {documents}, left as they are",
    "skipped": "not used on {documents}, {n:,} characters",
}


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
    for text in found["texts"]:
        yield f"              {text['name']}: {text['train']:,} tokens learnt, {text['val']:,} kept"
    if found["documents"] > 1:
        lengths = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found["document_tokens"].items())
        yield f"  lengths     {lengths} tokens a document"
    yield from _line_lengths(found["lines"])
    yield from _languages(found["languages"])
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
    yield from _said(found["notes"], found["warnings"])


def _line_lengths(found: Mapping[str, Any]) -> Iterator[str]:
    if found["lines"]:
        quantiles = found["quantiles"]
        longest = f"95% have {quantiles['95%']:,} bytes at most, the longest {quantiles['most']:,}"
        yield f"  lines       {found['lines']:,} looked at, {found['empty']:,} empty; {longest}"


def _languages(found: Mapping[str, Any]) -> Iterator[str]:
    if found["missing"]:
        yield f"  languages   {found['missing']}"
        return
    named = [f"{name} {share:.1%}" for name, share in [*found["languages"][:SHOWN_LANGUAGES], *found["other"]]]
    passages = f"{found['passages']:,} passage{'s' * (found['passages'] != 1)}"
    yield f"  languages   {', '.join(named)} (of {passages})"


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
    signs = (
        (repr(c)[1:-1] if c.isprintable() and not c.isspace() else name.lower(), n) for c, n, name in characters[:SHOWN]
    )
    return ", ".join(f"{sign} {n:,}" for sign, n in signs)
