"""The data report as a page with pictures, from the JSON values of `data.report.facts`, or of a cleaning that is tried.

Knows the names of those values; a part that they lack is left out of the page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gptforge.config.units import shown_bytes, shown_count
from gptforge.report import charts
from gptforge.report.html import Markup, definitions, details, element, joined, name_of, quoted, spelled, table
from gptforge.report.page import Section, beside, figure, key, page, paragraph

Facts = Mapping[str, Any]

_DONE = {"changed": "changed", "dropped": "left out", "found": "found, left as it is", "skipped": "not used on"}
SPLIT_NAMES = {"train": ("learnt (train)", "first"), "val": ("kept for validation (val)", "second")}
QUANTILES = ("least", "quarter", "median", "three_quarters", "95%", "most")
LINE_POINTS = 40


def data_page(found: Facts) -> str:
    """The whole page as HTML."""
    tried = "tokens" not in found
    title = f"{spelled(found['text'])}: {'what cleaning would do' if tried else 'data report'}"
    heading = joined([name_of(found["text"]), ": what cleaning would do" if tried else ": data report"])
    made = [(anchor, title, list(make(found))) for anchor, title, make in _SECTIONS]
    return page(title, heading, list(_lead(found)), [Section(*section) for section in made if section[2]])


def _lead(found: Facts) -> Iterator[Markup]:
    yield definitions((_tiles if "tokens" in found else _tiles_tried)(found), "tiles")
    for text in found["warnings"]:
        yield element("p", element("strong", "Warning: "), text, class_="said warning")
    for text in found["notes"]:
        yield element("p", text, class_="said")


def _tiles(found: Facts) -> Iterator[tuple[str, str]]:
    yield "documents", f"{found['documents']:,}"
    yield "text", shown_bytes(found["bytes"])
    yield "characters", f"{found['characters']:,}"
    yield "tokens", f"{found['tokens']:,}"
    yield f"bytes a token ({found['tokenizer']})", f"{found['bytes_per_token']:.2f}"
    used = found["vocab_size"] - found["unused_tokens"]
    yield "vocabulary used", f"{used:,} of {found['vocab_size']:,}"
    if found["languages"]["languages"]:
        code, share = found["languages"]["languages"][0]
        yield "language", f"{code}, {share:.0%}"
    yield "leakage", f"{found['leakage']['share']:.2%}"


def _tiles_tried(found: Facts) -> Iterator[tuple[str, str]]:
    yield "documents read", f"{found['cleaning']['documents']:,}"
    yield "documents left", f"{found['left']['documents']:,}"
    yield "characters left", f"{found['left']['characters']:,}"


def _advice(found: Facts) -> Iterator[Markup]:
    if advice := found.get("recommended"):
        learnt = found["splits"]["train"]["tokens"]
        passes = f"{advice['passes']} passes over the {learnt:,} tokens that are learnt"
        yield paragraph(
            "For so much text: ",
            element("code", f"model={advice['model']} train.tokens={advice['tokens']}"),
            f", that is about {shown_count(advice['tokens'])} tokens, {passes}. "
            "Further passes over the same text teach less and less.",
        )


def _split(found: Facts) -> Iterator[Markup]:
    if "splits" not in found:
        return
    splits, tokens = found["splits"], max(1, found["tokens"])
    parts = [_of_whole(name, split["tokens"], tokens) for name, split in splits.items()]
    yield _stacked(f"Split {found['split']}", parts)
    yield table(
        "What each part has",
        ("part", ">documents", ">tokens", ">bytes", ">bytes a token"),
        [
            (name, *_numbers(split["documents"], split["tokens"], split["bytes"]), f"{split['bytes_per_token']:.3f}")
            for name, split in splits.items()
        ],
    )
    if sum(split["documents"] for split in splits.values()) > found["documents"]:
        yield paragraph("A document that the split cuts in two is counted in both parts.")
    if found["texts"]:
        heads = ("text", ">files", ">documents", ">learnt tokens", ">kept tokens")
        rows = [(name_of(t["name"]), *_numbers(*list(t.values())[1:])) for t in found["texts"]]
        yield table("What each text gives", heads, rows)


def _of_whole(name: str, n: int, whole: int) -> charts.Part:
    text, style = SPLIT_NAMES[name]
    return f"{text}: {n / whole:.1%}, {n:,} tokens", n / whole, style


def _stacked(caption: str, parts: Sequence[charts.Part]) -> Markup:
    """Shares of a whole, with what each is."""
    picture = charts.stacked(parts, "; ".join(text for text, _, _ in parts))
    return figure(caption, picture, key([(text, style) for text, _, style in parts]))


def _lengths(found: Facts) -> Iterator[Markup]:
    shown = []
    if found.get("documents", 0) > 1 and found["document_lengths"]:
        shown.append(_length_picture("Documents by length", "tokens", "documents", found["document_lengths"]))
    if found.get("lines", {}).get("histogram"):
        lines = found["lines"]
        shown.append(_length_picture("Lines by length", "bytes", "lines", lines["histogram"]))
    if not shown:
        return
    yield beside(*shown)
    yield _quantiles(found)
    if lines := found["lines"]["lines"]:
        looked_at = found["lines"]["looked_at_tokens"] / max(1, found["tokens"])
        share = "" if looked_at >= 1 else f" in {looked_at:.0%} of the text, evenly spread"
        yield paragraph(f"{lines:,} lines{share}, of which {found['lines']['empty']:,} are empty.")


def _quantiles(found: Facts) -> Markup:
    documents = found["document_tokens"] if found["documents"] > 1 else {}
    columns = [(">tokens a document", documents), (">bytes a line", found["lines"]["quantiles"])]
    columns = [(head, each) for head, each in columns if each]
    names = {"least": "the shortest", "three_quarters": "three quarters", "most": "the longest"}
    rows = [(names.get(name, name), *_numbers(*(each[name] for _, each in columns))) for name in QUANTILES]
    return table("Lengths: so long are these of them at most", ("share", *(head for head, _ in columns)), rows)


def _length_picture(title: str, unit: str, what: str, bins: Sequence[Facts]) -> Markup:
    total = max(1, sum(b["total"] for b in bins))
    drawn = [
        (b["least"], b["most"] + 1, b["count"], f"{_range(b)} {unit}: {b['count']:,} {what}, {_share(b, total)}")
        for b in bins
    ]
    most = max(bins, key=lambda b: b["count"])
    label = f"{title}: from {bins[0]['least']:,} to {bins[-1]['most']:,} {unit}, most {what} have {_range(most)}"
    rows = [(_range(b), f"{b['count']:,}", f"{b['total'] / total:.1%}") for b in bins]
    numbers = table(title, (unit, f">{what}", ">share of the text"), rows)
    picture = figure(title, charts.histogram(drawn, f"{unit} in one", what, label))
    return element("div", picture, details("The numbers", numbers))


def _range(b: Facts) -> str:
    return f"{b['least']:,}" if b["least"] == b["most"] else f"{b['least']:,} to {b['most']:,}"


def _share(b: Facts, total: int) -> str:
    return f"{b['total'] / total:.1%} of the text"


def _characters(found: Facts) -> Iterator[Markup]:
    if "character_classes" not in found:
        return
    yield paragraph(f"{found['different_characters']:,} different characters.")
    scripts = found["scripts"]
    yield beside(
        _bars("Characters by class", ("class", ">characters"), found["character_classes"]),
        _bars("Letters by script", ("script", ">letters"), scripts) if len(scripts) > 1 else None,
    )
    heads = ("character", ">times", "name")
    tables = [
        table(title, heads, [(quoted(c), f"{n:,}", name.lower()) for c, n, name in found[key_]])
        for title, key_ in (("The most frequent", "frequent_characters"), ("The strangest", "rare_characters"))
    ]
    yield details("The most frequent and the strangest characters", beside(*tables))


def _bars(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], style: str = "first") -> Markup:
    """Rows of (name, number, share), each with a bar for its share."""
    shown = [(name_of(name), *_numbers(n), _percent(share), charts.bar(share, style)) for name, n, share in rows]
    return table(title, (*heads, ">share", ""), shown, class_="bars")


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or share == 0 else "< 0.1%"


def _tokens(found: Facts) -> Iterator[Markup]:
    if "token_use" not in found or not found["tokens"]:
        return
    use = found["token_use"]
    dots = [(rank, n, f"rank {rank:,}: {n:,} times") for rank, n in use["curve"]]
    zipf = use["zipf"]
    label = f"Tokens by frequency: from {dots[0][1]:,} times for the most frequent to {dots[-1][1]:,}"
    said = "" if zipf is None else f" The broken line falls as rank to the power of -{zipf['exponent']:.2f}."
    picture = figure("How often tokens occur, by rank", charts.curve(dots, _fit(zipf, dots), "rank", "times", label))
    shares = [(f"the first {n:,}" if n > 1 else "the first", "", share) for n, share in use["first"]]
    yield paragraph(
        f"{use['used']:,} of {found['vocab_size']:,} tokens occur, {use['seldom']:,} of them less than "
        f"{use['seldom_below']} times: of those little can be learnt. Who knows only how frequent each token is "
        f"predicts this text with {use['bits_per_byte']:.3f} bits per byte.{said}"
    )
    rows = [(name, _percent(share), charts.bar(share)) for name, _, share in shares]
    right = table("Share of the most frequent tokens in the text", ("tokens", ">share", ""), rows, class_="bars")
    yield beside(picture, right if rows else None)
    frequent = [
        (quoted(t["text"]), f"{t['id']:,}", f"{t['count']:,}", _percent(t["count"] / found["tokens"]))
        for t in use["frequent"]
    ]
    named = table("The most frequent tokens", ("token", ">id", ">times", ">share"), frequent)
    yield details("The most frequent tokens", named)


def _fit(zipf: Facts | None, dots: Sequence[charts.Dot]) -> list[tuple[float, float]]:
    """Points of the fitted law from the first rank to the last."""
    if zipf is None:
        return []
    ranks = [dots[-1][0] ** (i / LINE_POINTS) for i in range(LINE_POINTS + 1)]
    return [(rank, zipf["scale"] * rank ** -zipf["exponent"]) for rank in ranks]


def _languages(found: Facts) -> Iterator[Markup]:
    told = found.get("languages")
    if told is None:
        return
    if told["missing"]:
        yield paragraph(f"Not told: {told['missing']}.")
        return
    yield paragraph(
        f"Of {told['passages']:,} passages, evenly spread over the tokens. Languages are named by their ISO 639 code; "
        "near relatives may be taken for each other."
    )
    rows = [(name, _percent(share), charts.bar(share)) for name, share in told["languages"]]
    rows += [(f"no language told: {why}", _percent(share), charts.bar(share, "second")) for why, share in told["other"]]
    yield table("Languages", ("language", ">share of the tokens", ""), rows, class_="bars")


def _cleaning(found: Facts) -> Iterator[Markup]:
    cleaning = found["cleaning"]
    read = max(1, cleaning["documents"])
    if not cleaning["filters"]:
        yield paragraph("Nothing was changed or left out.")
        return
    rows = [
        _filter_row(name, action, count, read)
        for name, actions in cleaning["filters"].items()
        for action, count in actions.items()
    ]
    title = f"What each filter did, of {cleaning['documents']:,} documents that were read"
    heads = ("filter", "what it did", ">places or characters", ">documents", ">share", "")
    yield table(title, heads, rows, class_="bars")
    yield key([("changed, found or not used on", "first"), ("left out", "second")])
    for name, actions in cleaning["filters"].items():
        for action, count in actions.items():
            if count["samples"]:
                yield details(f"Examples of {name}: {_DONE[action]}", _samples(name, action, count["samples"]))


def _filter_row(name: str, action: str, count: Facts, read: int) -> tuple[str, ...]:
    share = count["documents"] / read
    bar = charts.bar(share, "second" if action == "dropped" else "first")
    return (name, _DONE[action], *_numbers(count["amount"], count["documents"]), _percent(share), bar)


def _samples(name: str, action: str, samples: Sequence[Facts]) -> Markup:
    rows = [
        (name_of(sample["file"]), f"{sample['position']:,}", quoted(sample["text"]), sample["reason"])
        if sample["text"]
        else (name_of(sample["file"]), "", "", sample["reason"])
        for sample in samples
    ]
    return table(f"{name}: {_DONE[action]}", ("file", ">character", "text", "why"), rows)


def _repeats(found: Facts) -> Iterator[Markup]:
    if "equal_documents" not in found:
        return
    equal, documents = found["equal_documents"], max(1, found["documents"])
    rows = [("equal to an earlier document", "in the text", equal, equal / documents)]
    read = max(1, found["cleaning"]["documents"])
    rows += [
        (name.replace("_", " "), f"{_DONE[action]} by cleaning", count["documents"], count["documents"] / read)
        for name, actions in found["repeats"].items()
        for action, count in actions.items()
    ]
    shown = [(name, where, f"{n:,}", _percent(share), charts.bar(share)) for name, where, n, share in rows]
    yield table(
        "Documents that repeat others",
        ("kind", "what became of them", ">documents", ">share", ""),
        shown,
        class_="bars",
    )


def _leakage(found: Facts) -> Iterator[Markup]:
    if "leakage" not in found:
        return
    leak = found["leakage"]
    whole = f"{leak['shared']:,} of {leak['runs']:,} runs of {leak['run_of_tokens']} tokens"
    yield paragraph(
        f"How much of the text kept for validation stands in the learnt text word for word: {whole}. What a model has "
        "read it predicts better than its language, so much of it makes a validation loss look better than it is."
    )
    parts = [
        (f"in the learnt text too: {leak['share']:.2%}", leak["share"], "second"),
        (f"only in the kept text: {1 - leak['share']:.2%}", 1 - leak["share"], "first"),
    ]
    yield _stacked("The text kept for validation", parts)
    rows = [
        (name_of(d["file"]), f"{d['document']:,}", _percent(d["share"]), charts.bar(d["share"], "second"))
        for d in leak["worst_documents"]
    ]
    if rows:
        heads = ("file", ">number in val", ">shared", "")
        yield table("The kept documents that share most", heads, rows, class_="bars")


def _files(found: Facts) -> Iterator[Markup]:
    if "files" not in found:
        return
    files, largest = found["files"], found["files"]["largest"]
    rows = [(name_of(f["name"]), *_numbers(f["documents"], f["train"], f["val"])) for f in largest]
    heads = ("file", ">documents", ">learnt tokens", ">kept tokens")
    less = f"The largest {len(largest):,} of {files['with_text']:,}" if len(largest) < files["with_text"] else "All"
    named = table(f"{less} files with text", heads, rows)
    yield details(f"{less} files with text", named) if len(largest) > 5 else named
    if empty := files["files"] - files["with_text"]:
        yield paragraph(f"Of {empty:,} other file{'s' * (empty != 1)} nothing is in the data set.")


def _identity(found: Facts) -> Iterator[Markup]:
    if "fingerprint" in found:
        yield paragraph("Equal fingerprints have equal tokens: it stands for the text, the tokenizer and the split.")
        yield paragraph(element("code", found["fingerprint"]))


def _numbers(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{n:,}" for n in numbers)


_SECTIONS: tuple[tuple[str, str, Callable[[Facts], Iterator[Markup]]], ...] = (
    ("advice", "What to train", _advice),
    ("split", "Split", _split),
    ("lengths", "Lengths", _lengths),
    ("characters", "Characters", _characters),
    ("tokens", "Tokens", _tokens),
    ("languages", "Languages", _languages),
    ("cleaning", "Cleaning", _cleaning),
    ("repeats", "Duplicates", _repeats),
    ("leakage", "Leakage", _leakage),
    ("files", "Files", _files),
    ("fingerprint", "Fingerprint", _identity),
)
