import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data.corpus import Corpus, CorpusWriter
from gptforge.data.files import Source
from gptforge.data.prepare import prepare
from gptforge.data.read import Piece
from gptforge.data.split import VAL, divide

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


def corpus_of(folder, documents: list[list[str]]) -> Corpus:
    """A corpus of documents, each given in parts."""
    writer = CorpusWriter(folder / "text")
    for number, parts in enumerate(documents):
        for i, text in enumerate(parts):
            writer.add(Piece(text, i == 0, number))
    return writer.close()


def joined(texts: list[str]) -> str:
    out = ""
    for text in texts:
        out += "\n" * (bool(out) and not out.endswith("\n")) + text
    return out


def sides(corpus: Corpus, **settings) -> tuple[list[str], list[str]]:
    """The documents of both splits, as `begins_at` divides them; a line feed that joins two is part of neither."""
    found: tuple[list[str], list[str]] = ([], [])
    for piece in divide(corpus, DataConfig(**settings)).pieces():
        at = len(piece.text) if piece.begins_at is None else piece.begins_at
        if piece.text[:at].strip("\n") or piece.begins_at is None:
            found[piece.split][-1] += piece.text[:at]
        if piece.begins_at is not None:
            found[piece.split].append(piece.text[at:])
    return found


@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_by_position_both_parts_make_the_joined_text(tmp_path_factory, documents, val_fraction):
    corpus = corpus_of(tmp_path_factory.mktemp("c"), documents)
    whole = joined(["".join(parts) for parts in documents])
    assert corpus.n_characters == len(whole) and corpus.characters == "".join(sorted(set(whole)))
    split = divide(corpus, DataConfig(split="position", val_fraction=val_fraction))
    parts = ["", ""]
    for piece in split.pieces():
        assert piece.text
        parts[piece.split] += piece.text
    boundary = int(len(whole) * (1 - val_fraction))
    begins = {0}
    for i in range(1, len(documents)):
        before = len(joined(["".join(parts) for parts in documents[:i]]))
        begins |= {before, len(joined(["".join(parts) for parts in documents[:i]] + ["x"])) - 1}
    assert split.cuts == (boundary not in begins)
    assert parts == [whole[:boundary], whole[boundary:]]


@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=40), st.integers(0, 3))
def test_by_document_nothing_is_lost_or_on_both_sides(tmp_path_factory, documents, seed):
    corpus = corpus_of(tmp_path_factory.mktemp("c"), documents)
    texts = ["".join(parts) for parts in documents]
    for how in ("document", "hash"):
        train, val = sides(corpus, split=how, split_seed=seed, val_fraction=0.3)
        assert sorted(t.strip("\n") for t in train + val) == sorted(t.strip("\n") for t in texts)
        assert not {t for t in train if t in texts} & {t for t in val if t in texts}


def test_documents_are_drawn_by_seed_and_share(tmp_path):
    documents = [[f"document number {i} " * (1 + i % 7)] for i in range(400)]
    corpus = corpus_of(tmp_path, documents)
    total = sum(len(d[0]) for d in documents)
    drawn = []
    for seed in range(3):
        train, val = sides(corpus, split="document", split_seed=seed)
        assert 0.1 <= sum(map(len, val)) / total <= 0.112
        drawn.append(val)
        assert sides(corpus, split="document", split_seed=seed)[VAL] == val
        assert [d for d in (d[0] for d in documents) if d in train] == train  # in the order they came in
    assert drawn[0] != drawn[1] != drawn[2]


@given(
    st.lists(st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=4),
    st.floats(0.01, 0.99),
)
def test_each_of_several_texts_is_divided_by_itself(tmp_path_factory, texts, val_fraction):
    corpus = corpus_of(tmp_path_factory.mktemp("c"), [document for text in texts for document in text])
    firsts = np.cumsum([0, *(len(text) for text in texts[:-1])]).tolist()
    split = divide(corpus, DataConfig(split="position", val_fraction=val_fraction), Source((), "", parts=tuple(firsts)))
    found = ["", ""]
    for piece in split.pieces():
        assert piece.text
        found[piece.split] += piece.text
    wanted: list[list[str]] = [[], []]
    in_line = False  # as the corpus joins the texts
    for text in texts:
        whole = "\n" * in_line + joined(["".join(parts) for parts in text])
        boundary = int(len(whole) * (1 - val_fraction))
        for side, part in enumerate((whole[:boundary], whole[boundary:])):
            wanted[side] += part.split("\n")
        in_line = not whole.endswith("\n")
    for side in (0, 1):  # texts never run into each other
        assert [line for line in found[side].split("\n") if line] == [line for line in wanted[side] if line]


def test_documents_are_drawn_in_each_of_several_texts(tmp_path):
    documents = [[f"{i % 10} " * (1 + i % 7)] for i in range(400)]
    corpus = corpus_of(tmp_path, documents)
    source = Source((), "", parts=(0, 30, 300))
    val = divide(corpus, DataConfig(split="document"), source).val
    for first, end in ((0, 30), (30, 300), (300, 400)):
        size = corpus.document_lengths[first:end]
        assert 0.03 < size[val[first:end]].sum() / size.sum() < 0.2
    few = divide(corpus, DataConfig(), Source((), "", parts=(0, 390)))
    assert few.val is None and few.reason == "by position: 10 documents at least in each text"


def test_equal_documents_stay_together(tmp_path):
    corpus = corpus_of(tmp_path, [[f"text {i % 50}"] for i in range(1000)])
    for how in ("document", "hash"):
        train, val = sides(corpus, split=how)
        assert val and not set(train) & set(val) and len(train) + len(val) == 1000


def test_by_hash_a_document_keeps_its_side_when_others_come(tmp_path):
    documents = [[f"document {i}"] for i in range(300)]
    (tmp_path / "a").mkdir()
    few, many = corpus_of(tmp_path / "a", documents[:150]), corpus_of(tmp_path, documents)
    assert set(sides(few, split="hash")[VAL]) == set(sides(many, split="hash")[VAL]) & {d[0] for d in documents[:150]}


def test_one_document_that_is_nearly_everything_is_learnt(tmp_path):
    documents = [["x" * 100_000], *([f"short {i}"] for i in range(30))]
    for seed in range(5):
        train, val = sides(corpus_of(tmp_path, documents), split="document", split_seed=seed)
        assert "x" * 100_000 in train and len(val) > 0
    corpus = corpus_of(tmp_path, [["same"]] * 30)
    assert sides(corpus, split="document")[VAL] == []


def test_automatic_is_by_position_for_few_documents(tmp_path):
    few, many = (corpus_of(tmp_path, [[f"{i}\n"] for i in range(n)]) for n in (19, 20))
    assert divide(few, DataConfig()).reason == "by position: 19 documents"
    assert divide(many, DataConfig()).reason.startswith("by document") and divide(many, DataConfig()).val is not None


def test_starts_are_stored(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    texts = ["one\n", "two", "three\n", "four four four four four"]
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text)
    data = prepare(DataConfig(source="files", path=str(folder), val_fraction=0.2), TokenizerConfig())
    assert data.tokenizer.decode(data.train) == "one\ntwo\nthree\nfour four four f"
    assert data.train_starts.tolist() == [0, 4, 8, 14] and data.val_starts.tolist() == [0]
    data = prepare(DataConfig(source="files", path=str(folder), split="document", val_fraction=0.2), TokenizerConfig())
    held = [data.tokenizer.decode(x) for x in np.split(data.val, data.val_starts[1:])]
    assert data.manifest["n_documents"] == 4 and len(data.train_starts) + len(data.val_starts) == 4
    assert all(text.strip("\n") in {t.strip("\n") for t in texts} for text in held)
