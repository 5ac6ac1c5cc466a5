"""A tokenizer.json gives the ids that its own library gives, and any text back; what could not is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge import assets
from gptforge.config.data import TokenizerConfig
from gptforge.errors import DataError
from gptforge.tokenizers import build_tokenizer, byte_level, load_tokenizer
from gptforge.tokenizers.base import MAX_FILE_BYTES
from gptforge.tokenizers.bpe import BPETokenizer, gpt2
from gptforge.tokenizers.hf import read_hf
from gptforge.tokenizers.vocabulary import MAX_UNUSED

tokenizers = pytest.importorskip("tokenizers", reason="the extra bpe")
pre, models = tokenizers.pre_tokenizers, tokenizers.models

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
SAMPLE = "It's 12345 o'clock!!\r\n\r\n  The end. <|endoftext|> <tool> ９漢字漢字 e\u0301 \t\tΣΑΣ x=1;\n\n" * 3
# How Llama 3 and Qwen cut words, and how DeepSeek and others part digits
PATTERN = r"'s|'t|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = pre.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = {
    "gpt2": pre.ByteLevel(add_prefix_space=False),
    "llama3": pre.Sequence([pre.Split(tokenizers.Regex(PATTERN), "isolated"), BYTES]),
    "inverted": pre.Sequence([pre.Split(tokenizers.Regex(PATTERN), "removed", invert=True), BYTES]),
    "digits": pre.Sequence([pre.Digits(individual_digits=True), pre.Punctuation("contiguous"), BYTES]),
    "none": BYTES,
}


def trained(words: str, folder: Path, text: str = SAMPLE) -> tuple[Path, "tokenizers.Tokenizer"]:
    """A tokenizer.json as the library makes it, special and added tokens among them, and the library's object."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = WORDS[words]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<pad>", "<|endoftext|>"],
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.add_tokens([tokenizers.AddedToken("<tool>", normalized=False), "  \t"])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # text is text
    return folder / "tokenizer.json", tokenizer


@pytest.fixture(scope="module", params=WORDS)
def pair(request, tmp_path_factory):
    """Ours and the library's."""
    path, library = trained(request.param, tmp_path_factory.mktemp("hf"))
    return read_hf(path), library


def test_ids_are_the_librarys(pair):
    ours, library = pair
    assert ours.kind == "hf" and ours.vocab_size == library.get_vocab_size()
    assert ours.encode(SAMPLE).tolist() == library.encode(SAMPLE, add_special_tokens=False).ids
    assert (ours.special, ours.eos) == ({"<pad>": 0, "<|endoftext|>": 1}, 1)
    tool = library.token_to_id("<tool>")
    assert tool in ours.encode(SAMPLE) and ours.token_bytes()[tool] == 6
    assert not {0, 1} & set(ours.encode(SAMPLE).tolist())


@given(text=TEXT | st.lists(st.sampled_from(["<tool>", "  \t", " ", "a", "12", "\n", "漢", "!"])).map("".join))
def test_round_trip_and_bytes(pair, text):
    ours, library = pair
    ids = ours.encode(text)
    assert ours.decode(ids) == text and ours.token_bytes()[ids].sum() == len(text.encode())
    assert ids.tolist() == library.encode(text, add_special_tokens=False).ids


def test_saved_and_loaded(pair, tmp_path):
    ours, _ = pair
    (tmp_path / "tokenizer.json").write_text(json.dumps(ours.stored()), encoding="utf-8")
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint == ours.fingerprint and (loaded.encode(SAMPLE) == ours.encode(SAMPLE)).all()


def test_gpt2s_as_the_library_saves_it_is_gpt2(tmp_path, shared_cache):
    ids, merges = json.loads(assets.gpt2_file("encoder.json")), assets.gpt2_file("vocab.bpe").decode().splitlines()
    library = tokenizers.Tokenizer(models.BPE(ids, [tuple(merge.split()) for merge in merges[1:]]))
    library.pre_tokenizer = WORDS["gpt2"]
    library.add_special_tokens(["<|endoftext|>"])
    library.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):  # a folder that has one will do
        ours = build_tokenizer(TokenizerConfig(kind="hf", path=str(path)))
        assert isinstance(ours, BPETokenizer) and ours.vocabulary == gpt2().vocabulary
        assert ours.eos == 50_256 and ours._ranks is not None


def changed(folder: Path, change) -> Path:
    """The tokenizer.json of Llama 3's kind after `change` has been done to its content."""
    path, _ = trained("llama3", folder)
    content = json.loads(path.read_bytes())
    content = change(content) or content
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_nfc_is_left_out_and_said(tmp_path):
    for normalizer in ({"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}):
        ours = read_hf(changed(tmp_path, lambda content, n=normalizer: content.update(normalizer=n)))
        assert ours.decode(ours.encode("e\u0301")) == "e\u0301" and "NFC" in ours.notes[0]
    for normalizer in (None, {"type": "Sequence", "normalizers": []}):
        assert read_hf(changed(tmp_path, lambda content, n=normalizer: content.update(normalizer=n))).notes == ()


def test_merges_as_texts_and_ids_that_stand_for_nothing(tmp_path):
    """Files of older versions, and of tokenizers that keep some ids for later."""

    def change(content: dict) -> None:
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        content["added_tokens"][-1]["id"] += 20

    before = read_hf(trained("llama3", tmp_path)[0])
    ours = read_hf(changed(tmp_path, change))
    assert ours.vocab_size == before.vocab_size + 20
    assert ours.decode(ours.encode(SAMPLE)) == SAMPLE and ours.decode([before.vocab_size]) == ""


def test_an_end_of_text_that_is_not_marked_as_special_is_so_all_the_same(tmp_path):
    ours = read_hf(changed(tmp_path, lambda content: content["added_tokens"][1].update(special=False)))
    assert ours.eos == 1 and 1 not in ours.encode("<|endoftext|>")


def steps(*types: dict):
    return lambda content: content.update(pre_tokenizer={"type": "Sequence", "pretokenizers": list(types)})


def model(**changes):
    return lambda content: content["model"].update(changes)


LAST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPLIT = {"type": "Split", "pattern": {"Regex": r"\s"}, "behavior": "Isolated", "invert": False}
REFUSED = {
    "another model": (model(type="Unigram"), "holds a Unigram model"),
    "no model": (lambda content: content.update(model=None), "holds no model"),
    "a list": (lambda content: [content], "no JSON object"),
    "Llama 2": (lambda content: content.update(pre_tokenizer=None), "no byte-level BPE"),
    "blanks are replaced": (steps({"type": "Metaspace"}), "no byte-level BPE"),
    "blanks are lost": (steps({"type": "Whitespace"}, LAST), "'Whitespace', which may lose bytes"),
    "matches are lost": (steps({**SPLIT, "behavior": "Removed"}, LAST), "'Removed', which loses text"),
    "a step after the bytes": (steps(LAST, SPLIT), "steps after ByteLevel"),
    "bytes twice": (steps(LAST, LAST), "no byte-level BPE"),
    "no pattern": (steps({**SPLIT, "pattern": {"Regex": 1}}, LAST), "has no pattern"),
    "a wrong pattern": (steps({**SPLIT, "pattern": {"Regex": "("}}, LAST), "the package tokenizers refuses it"),
    "a space before": (steps({**LAST, "add_prefix_space": True}), "a space before each text"),
    "small letters": (lambda content: content.update(normalizer={"type": "Lowercase"}), "'Lowercase' changes the text"),
    "normalizers": (lambda content: content.update(normalizer={"type": "Sequence"}), "are no list"),
    "a suffix": (model(end_of_word_suffix="</w>"), "has a end_of_word_suffix"),
    "chance": (model(dropout=0.1), "has a dropout"),
    "no vocabulary": (model(vocab=[]), "no table of tokens"),
    "an id twice": (lambda content: content["model"]["vocab"].update(zz=300), "two of its tokens have one id"),
    "an id far beyond": (lambda content: content["model"]["vocab"].update(zz=10**9), "the id 1000000000 is beyond"),
    "a negative id": (lambda content: content["model"]["vocab"].update(zz=-1), "the id -1 is beyond"),
    "too many unused": (
        lambda content: content["model"]["vocab"].update(zz=len(content["model"]["vocab"]) + MAX_UNUSED + 3),
        "is beyond its vocabulary",
    ),
    "a byte is missing": (lambda content: rename(content, "Ã", "zz"), "lacks 1 of the 256 bytes"),
    "not in bytes": (lambda content: rename(content, "ÿ", "漢"), "not spelled in bytes"),
    "merges of three": (lambda content: content["model"]["merges"].append(["a", "b", "c"]), "no pair of tokens"),
    "a merge that makes none": (
        lambda content: content["model"]["merges"].append(["ÿ", "þ"]),
        "'ÿ þ', does not make one token",
    ),
    "no merges": (model(merges={}), "are no list"),
    "an added token without id": (lambda content: content["added_tokens"].append({"content": "x"}), "or no id"),
    "an added token of another id": (
        lambda content: content["added_tokens"].append({"content": "x", "id": 300}),
        "'x' has the id of another token",
    ),
    "an added token with blanks": (
        lambda content: content["added_tokens"][-1].update(lstrip=True),
        "takes the blanks around it",
    ),
}


bytes_to_letter = {byte: letter for letter, byte in byte_level.BYTES.items()}


def rename(content: dict, token: str, other: str) -> None:
    vocab = content["model"]["vocab"]
    vocab[other] = vocab.pop(token)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_message(tmp_path, name):
    change, message = REFUSED[name]
    path = changed(tmp_path, change)
    with pytest.raises(DataError) as e:
        read_hf(path)
    assert message in str(e.value) and str(path) in str(e.value) and e.value.exit_code == 3
    assert len(str(e.value).splitlines()) <= 8


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b" " * (MAX_FILE_BYTES + 1), None])
def test_a_file_that_is_none(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.path=") as e:
        read_hf(tmp_path)
    assert str(path) in str(e.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=3)
    ),
)


@given(junk=JUNK, key=st.sampled_from(["model", "pre_tokenizer", "normalizer", "added_tokens"]))
def test_junk_is_a_data_error_or_no_harm(tmp_path_factory, junk, key):
    path = changed(tmp_path_factory.mktemp("junk"), lambda content: content.update({key: junk}))
    try:
        ours = read_hf(path)
    except DataError:
        return
    assert ours.decode(ours.encode(SAMPLE)) == SAMPLE


@given(junk=JUNK, key=st.sampled_from(["vocab", "merges", "type", "ignore_merges", "dropout", "end_of_word_suffix"]))
def test_junk_in_the_model_is_a_data_error_or_no_harm(tmp_path_factory, junk, key):
    path = changed(tmp_path_factory.mktemp("junk"), lambda content: content["model"].update({key: junk}))
    try:
        ours = read_hf(path)
    except DataError:
        return
    assert ours.decode(ours.encode(SAMPLE)) == SAMPLE


def test_characters_that_a_vocabulary_lacks_are_unknown(tmp_path):
    """As SmolLM2's: it has no control characters, and no bytes that are in no text."""

    def without(content: dict) -> None:
        for byte in (4, 6, 29, 0xC0, 0xF1, 0xF2, 0xFF):
            rename(content, bytes_to_letter[byte], f"zz{byte}")

    path = changed(tmp_path, without)
    text = "a\x04b\U00050000c"
    with pytest.raises(DataError, match=r"no character '.x04'[\s\S]*character 2 of the text"):
        read_hf(path).encode(text)
    assert read_hf(path, "skip").decode(read_hf(path, "skip").encode(text)) == "abc"
    assert read_hf(path, "replace").decode(read_hf(path, "replace").encode(text)) == "a?b?c"
    assert read_hf(path).missing(text + "\x07") == "\x04\U00050000"
