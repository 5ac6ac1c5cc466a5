"""Byte-level BPE: the ids of GPT-2's tokenizer are those of others' code, and every text comes back as it was."""

import json
import subprocess
import sys
import sysconfig
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import assets
from gptforge.config.data import LEAST_BPE, TokenizerConfig
from gptforge.errors import CheckpointError, DataError, UserError
from gptforge.tokenizers import StreamDecoder, bpe, build_tokenizer, load_tokenizer, train_bpe
from gptforge.tokenizers.base import id_dtype
from gptforge.tokenizers.bpe import LONG, PIECE, SPECIAL_TOKENS, BPETokenizer
from gptforge.tokenizers.byte_level import ALPHABET, BYTES, GPT2_PATTERN, GPT2_WORDS, pieces
from gptforge.tokenizers.train_bpe import auto_vocab_size, train

tokenizers = pytest.importorskip("tokenizers", reason="the extra bpe")
tiktoken = pytest.importorskip("tiktoken", reason="the extra bpe")

CHINESE = "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n" * 3 + "中文English混排 123、全角　空格\r\n"
EMOJI = "🙂👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301é \u200b\u2028\u0085\x1c\x00\ufeff🇩🇪  \t\r\n\n  x"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
# What GPT-2's words depend on: letters, digits, apostrophes, blanks of all kinds, in any order
SIGNS = ["a", "B", "é", "漢", "1", "²", "'", "'s", "'ll", "!", "...", "☃"]
BLANKS = [" ", "  ", "\n", "\r\n", "\t", "\u3000", "\x85", "\x1c"]
WORDS = st.lists(st.sampled_from(SIGNS + BLANKS))


def code() -> str:
    """Some hundred thousand characters of Python."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return "".join((folder / name).read_text("utf-8") for name in ("argparse.py", "typing.py", "turtle.py"))


@pytest.fixture(scope="module")
def shakespeare() -> str:
    return assets.shakespeare(full=False).read_text("utf-8")


@pytest.fixture(scope="module")
def gpt2(shared_cache) -> BPETokenizer:
    return bpe.gpt2()


@pytest.fixture(scope="module")
def trained(shakespeare) -> BPETokenizer:
    text = shakespeare[:200_000] + CHINESE
    return train(lambda: iter([text]), len(text.encode()), 700)


@pytest.fixture(scope="module")
def texts(shakespeare) -> dict[str, str]:
    return {"shakespeare": shakespeare, "code": code(), "chinese": CHINESE, "emoji": EMOJI}


# Other people's code as a judge ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judges(shared_cache):
    """GPT-2's tokenizer made of the two published files by tiktoken's own loader, and by `tokenizers`."""
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    folder = shared_cache / "gpt2"
    folder.mkdir(exist_ok=True)
    for name in assets.GPT2_SHA256:
        (folder / name).write_bytes(assets.gpt2_file(name))
    vocab, merges = str(folder / "encoder.json"), str(folder / "vocab.bpe")
    ranks = data_gym_to_mergeable_bpe_ranks(vocab_bpe_file=merges, encoder_json_file=vocab)
    one = tiktoken.Encoding("gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    two = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocab, merges))
    two.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: one.encode_ordinary(text), lambda text: two.encode(text).ids


@pytest.mark.parametrize("name", ["shakespeare", "code", "chinese", "emoji"])
def test_gpt2_gives_the_ids_of_tiktoken_and_of_tokenizers(gpt2, judges, texts, name):
    text = texts[name]
    ids = gpt2.encode(text).tolist()
    for judge in judges:
        assert ids == judge(text)
    assert gpt2.decode(ids) == text


def test_known_ids_of_gpt2(gpt2):
    """As printed in many places, so that not all judges share one mistake."""
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("hello world!").tolist() == [31373, 995, 0]
    assert (gpt2.vocab_size, gpt2.eos, gpt2.bos) == (50_257, 50_256, None)
    assert gpt2.encode("a\n\nb").tolist() == [64, 198, 198, 65]


def test_ids_of_gpt2_are_those_of_encoder_json(gpt2):
    ids = json.loads(assets.gpt2_file("encoder.json"))
    assert ids.pop("<|endoftext|>") == gpt2.eos
    assert {token: i for i, token in enumerate(gpt2.vocabulary.tokens) if token is not None} == ids


@given(text=TEXT | WORDS.map("".join))
def test_gpt2_gives_the_ids_of_the_judges_for_any_text(gpt2, judges, text):
    ids = gpt2.encode(text).tolist()
    assert ids == judges[0](text) == judges[1](text)


# The two ways of encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shakespeare", "code", "chinese", "emoji"])
@pytest.mark.parametrize("which", ["gpt2", "trained"])
def test_tiktoken_gives_the_ids_of_tokenizers(request, texts, name, which):
    tokenizer = request.getfixturevalue(which)
    assert tokenizer._ranks is not None
    text = texts[name][-300_000:]
    (fast,), (slow,) = tokenizer._ranks.encode([text]), tokenizer._merges.encode([text])
    assert (fast == slow).all()


@given(text=TEXT | WORDS.map("".join))
def test_tiktoken_gives_the_ids_of_tokenizers_for_any_text(gpt2, trained, text):
    for tokenizer in (gpt2, trained):
        (fast,), (slow,) = tokenizer._ranks.encode([text]), tokenizer._merges.encode([text])
        assert fast.tolist() == slow.tolist()


def test_both_cut_words_alike_at_every_character_there_is():
    """Each has a table of letters, digits and blanks of its own, of another year perhaps; Python has a third."""
    last_bytes = {chr(c).encode()[-1] for c in range(0x800)}
    spelled = {byte: sign for sign, byte in BYTES.items()}
    merges = [f"{spelled[byte]} {sign}" for byte in sorted(last_bytes) for sign in "a1!"]
    tokenizer = BPETokenizer("bpe", bpe.Vocabulary.of(merges, SPECIAL_TOKENS))
    # Of the long blocks of Chinese and Korean signs every seventh; beyond U+34000 hardly anything has a meaning
    blocks = (range(0x4E00), range(0x4E00, 0xD7B0, 7), range(0xD7B0, 0xD800), range(0xF900, 0x20000))
    characters = [chr(c) for c in (*chain(*blocks), *range(0x20000, 0x34000, 7), *range(0xE0000, 0xE0200))]
    texts = [f"{c}a{c}1{c}!" for c in characters]  # merged where c is of the kind of its neighbour
    fast, slow = ([ids.tolist() for ids in way.encode(texts)] for way in (tokenizer._ranks, tokenizer._merges))
    assert [c for c, one, two in zip(characters, fast, slow, strict=True) if one != two] == []
    unmerged = {c for c, text, ids in zip(characters, texts, slow, strict=True) if len(ids) == len(text.encode())}
    assert {"\t", "\n", "\u3000"} <= unmerged < {c for c in characters if c.isspace()}


@pytest.mark.parametrize("blank", [" ", " \n\t"])
def test_very_many_blanks_which_are_too_much_for_tiktoken(gpt2, blank):
    text = "x" + blank * (1_500_000 // len(blank)) + "x"
    with pytest.raises(ValueError, match="stack"):
        gpt2._ranks._encoding.encode_to_numpy(text)
    assert gpt2.decode(gpt2.encode(text)) == text


@given(st.integers(0, 30_000), st.integers(9_900, 10_100), st.integers(0, 15_000))
def test_many_blanks_are_found_wherever_they_are(before, blanks, after):
    text = "x" * before + " " * blanks + "x" * after
    assert bpe._has_many_blanks(text) == (blanks >= 10_000)


def test_many_blanks_are_in_a_row():
    assert not bpe._has_many_blanks(" " * 9_999 + ("x" + " " * 9_998) * 3)


def test_tiktoken_is_left_alone_where_it_could_differ():
    """It would join a and b wherever they meet, whatever the merges say."""

    def ranks(merges: list[str]) -> object:
        vocabulary = bpe.Vocabulary.of(merges, SPECIAL_TOKENS)
        return BPETokenizer("bpe", vocabulary)._ranks

    assert ranks(["a b", "b c", "ab c"]) is not None
    assert ranks(["b c", "a b", "ab c"]) is None  # abc is never made: b goes to c first
    once = bpe.Vocabulary.of(["a b", "b c"], SPECIAL_TOKENS)
    for change in ({"ignore_merges": True}, {"words": {**GPT2_WORDS, "use_regex": False}}):
        other = bpe.Vocabulary.checked(once.to_dict() | change)
        assert BPETokenizer("bpe", other)._ranks is None


def test_without_tiktoken_the_ids_are_the_same(gpt2, monkeypatch):
    text = code()[: 3 * LONG]
    expected = gpt2.encode(text)
    monkeypatch.setattr(bpe.importlib.util, "find_spec", lambda name: None)
    alone = bpe.gpt2()
    assert (alone.encode(text) == expected).all() and alone._ranks is None


def test_without_tokenizers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for kind in ("bpe", "gpt2"):
        with pytest.raises(UserError, match="needs the package tokenizers") as e:
            build_tokenizer(TokenizerConfig(kind=kind))
        assert "pip install 'gptforge[bpe]'" in str(e.value)


# Pieces of a long text --------------------------------------------------------------------------------------


@given(text=WORDS.map("".join), size=st.integers(1, 9))
def test_pieces_are_encoded_as_the_whole(trained, text, size):
    cut = list(pieces(text, size))
    assert "".join(cut) == text
    (whole,) = trained._merges.encode([text])
    assert np.concatenate(list(trained._merges.encode(cut))).tolist() == whole.tolist()


def test_long_texts_one_by_one_and_together(gpt2, shakespeare):
    parts = [shakespeare[: 2 * PIECE], "", "a", shakespeare[:-7]]
    together = gpt2.encode_many(parts)
    for part, ids in zip(parts, together, strict=True):
        assert (gpt2.encode(part) == ids).all() and ids.dtype == id_dtype(50_257)
    assert gpt2.encode_many([]) == []


# Texts and bytes --------------------------------------------------------------------------------------------


@given(text=TEXT)
@pytest.mark.parametrize("which", ["gpt2", "trained"])
def test_round_trip_and_bytes(request, which, text):
    tokenizer = request.getfixturevalue(which)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint16 and tokenizer.decode(ids) == text
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())
    assert tokenizer.missing(text) == ""
    stream = StreamDecoder(tokenizer)
    shown = [stream.feed([i]) for i in ids]
    assert "".join(shown) == text and stream.flush() == ""


@given(ids=st.lists(st.integers(0, 699), max_size=30))
def test_bytes_of_any_ids_are_those_that_are_counted(trained, ids):
    ids = [i % trained.vocab_size for i in ids]
    assert len(trained.decode_bytes(ids)) == trained.token_bytes()[ids].sum()


def test_special_tokens_are_no_text(trained):
    text = "a<|endoftext|>b<|im_start|>user<|im_end|>"
    ids = trained.encode(text)
    special = [trained.special[name] for name in SPECIAL_TOKENS]
    assert not set(ids.tolist()) & set(special) and trained.decode(ids) == text
    assert trained.eos == special[0] == trained.vocab_size - 3
    assert trained.token_bytes()[special].tolist() == [0, 0, 0]
    assert trained.decode([*trained.encode("ab"), trained.eos, *trained.encode("c")]) == "abc"


def test_half_characters(trained):
    with pytest.raises(DataError, match="character 2 of"):
        trained.encode("a\udcffb")
    for unknown, expected in (("skip", "ab"), ("replace", "a?b")):
        other = BPETokenizer("bpe", trained.vocabulary, unknown)
        assert other.decode(other.encode("a\udcffb")) == expected
    assert trained.missing("a\udcff漢") == "\udcff"


def test_ids_outside_are_refused(trained):
    for ids in ([trained.vocab_size], [-1], np.array([0.5])):
        with pytest.raises(ValueError, match="token ids"):
            trained.decode(ids)
    assert trained.decode([]) == "" and len(trained.encode("")) == 0


def test_the_alphabet():
    assert sorted(BYTES.values()) == list(range(256)) and len(ALPHABET) == 256
    assert set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) == set(ALPHABET)
    assert BYTES["Ġ"] == ord(" ") and BYTES["Ċ"] == ord("\n")


# Training -----------------------------------------------------------------------------------------------------


def test_what_is_learnt_by_hand():
    """hug 10, pug 5, pun 12, bun 4, hugs 5: the merges are u+g (20), u+n (16), h+ug (15), p+un (12), ..."""
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    text = "\n".join(word for word, count in words.items() for _ in range(count))
    tokenizer = train(lambda: iter([text]), len(text), LEAST_BPE + 4)
    assert tokenizer.vocabulary.merges == ["u g", "u n", "h ug", "p un"]
    assert [tokenizer.decode([i]) for i in tokenizer.encode("hugs bun")] == ["hug", "s", " ", "b", "un"]


def test_the_size_reached_is_the_size_said():
    for asked in (LEAST_BPE, 300, 10_000):
        tokenizer = train(lambda: iter(["the cat sat on the mat, the cat sat"]), 35, asked)
        assert tokenizer.vocab_size == len(tokenizer.token_bytes()) <= asked
        assert tokenizer.vocab_size == asked or "no other pair occurs twice" in " ".join(tokenizer.notes)
    assert 256 + len(SPECIAL_TOKENS) == LEAST_BPE == train(lambda: iter([]), 0, 400).vocab_size


def test_the_same_text_gives_the_same_merges_on_any_number_of_cores(shakespeare, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(shakespeare[:400_000] + CHINESE + code()[:200_000], encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from gptforge.tokenizers.train_bpe import train\n"
        "text = Path(sys.argv[1]).read_text('utf-8')\n"
        "print(train(lambda: iter([text]), len(text.encode()), 2000).fingerprint)"
    )
    found = set()
    for threads in "1", "2", "2":
        environment = {**bpe.os.environ, "RAYON_NUM_THREADS": threads}
        command = [sys.executable, "-c", program, str(path)]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1 and len(found.pop().strip()) == 64


@settings(max_examples=8)
@given(st.lists(st.integers(0, 40_000), max_size=4).map(sorted))
def test_how_the_text_is_parted_does_not_matter(shakespeare, trained, ends):
    """As long as a part ends where a word does."""
    text = shakespeare[:200_000] + CHINESE
    ends = [text.index("\n", end) for end in ends]
    parts = [text[a:b] for a, b in zip([0, *ends], [*ends, None], strict=True)]
    assert train(lambda: iter(parts), len(text.encode()), 700).fingerprint == trained.fingerprint


def test_an_automatic_size_is_said_and_grows_with_the_text(shakespeare):
    tokenizer = train(lambda: iter([shakespeare[:100_000]]), 100_000)
    assert tokenizer.vocab_size == auto_vocab_size(100_000) == 512
    assert tokenizer.notes == ("tokenizer.vocab_size=512, chosen for 100.0 kB of text to learn",)
    sizes = [auto_vocab_size(10**n) for n in range(13)]
    assert sizes == sorted(sizes) and sizes[0] == 512 and sizes[-1] == 32_768
    assert [auto_vocab_size(n) for n in (1_070_109, 12_000_000)] == [1024, 4096]


def test_of_a_large_text_a_part_is_learnt_from(monkeypatch):
    monkeypatch.setattr(train_bpe, "BUDGET", 20_000)
    monkeypatch.setattr(train_bpe, "PIECE", 500)
    lines = [f"begin {n % 7} " * 20 if n < 900 else f"end {n % 5} " * 20 for n in range(1000)]
    texts = ["\n".join(lines[:500]), "\n".join(lines[500:])]
    size = sum(map(len, texts))
    taken = list(train_bpe._spread(texts, train_bpe._share(lambda: iter(texts), size)))
    assert 19_000 < sum(map(len, taken)) < 21_000
    assert 0.07 < sum("end" in piece for piece in taken) / len(taken) < 0.15  # from the last tenth, a tenth
    tokenizer = train(lambda: iter(texts), size, 300)
    share = 20_000 / size
    assert tokenizer.notes[-1] == f"the tokenizer is trained on {share:.0%} of the text, spread evenly over it"
    assert train_bpe._share(lambda: iter(["漢" * 7000]), 21_000) < train_bpe._share(
        lambda: iter(["a" * 21_000]), 21_000
    )


# Stored ---------------------------------------------------------------------------------------------------------


def store(folder: Path, tokenizer: BPETokenizer, **changes) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer.stored() | changes), encoding="utf-8")
    return folder


@pytest.mark.parametrize("which", ["gpt2", "trained"])
def test_saved_and_loaded(request, tmp_path, texts, which):
    tokenizer = request.getfixturevalue(which)
    loaded = load_tokenizer(store(tmp_path, tokenizer), "skip")
    assert (loaded.kind, loaded.vocab_size, loaded.eos) == (tokenizer.kind, tokenizer.vocab_size, tokenizer.eos)
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.unknown == "skip"
    for text in texts.values():
        assert (loaded.encode(text) == tokenizer.encode(text)).all()


def test_fingerprint_is_over_what_decides_the_ids(trained):
    vocabulary = trained.vocabulary
    others = [
        bpe.Vocabulary.of(vocabulary.merges[:-1], SPECIAL_TOKENS),
        bpe.Vocabulary.of([vocabulary.merges[1], vocabulary.merges[0], *vocabulary.merges[2:]], SPECIAL_TOKENS),
        bpe.Vocabulary.of(vocabulary.merges, [*SPECIAL_TOKENS, "<|more|>"]),
        bpe.Vocabulary.checked(vocabulary.to_dict() | {"words": {**GPT2_WORDS, "use_regex": False}}),
    ]
    prints = {BPETokenizer("bpe", other).fingerprint for other in [vocabulary, *others]}
    assert len(prints) == 5 and trained.fingerprint in prints


def damaged(stored: dict) -> dict[str, tuple[dict, str]]:
    """Changes that make a stored tokenizer none, and what is said of them."""
    tokens, merges, special = stored["tokens"], stored["merges"], stored["special"]
    swapped = [tokens[1], tokens[1], *tokens[2:]]
    return {
        "no tokens": ({"tokens": None}, "its tokens are no list"),
        "a number among the tokens": ({"tokens": [1, *tokens[1:]]}, "its tokens are no list"),
        "too few tokens": ({"tokens": tokens[:-1]}, f"the id {len(tokens) - 1} is beyond its vocabulary"),
        "a byte is missing": ({"tokens": [tokens[300] + tokens[301], *tokens[1:]]}, "lacks 1 of the 256 bytes"),
        "a token twice": ({"tokens": swapped}, "a token twice"),
        "not spelled in bytes": ({"tokens": [*tokens[:256], "漢", *tokens[257:]]}, "not spelled in bytes"),
        "an empty token": ({"tokens": [*tokens[:256], "", *tokens[257:]]}, "not spelled in bytes"),
        "an id for nothing": (
            {"special": {k: v for k, v in special.items() if k != "<|im_end|>"}},
            "lacks the special",
        ),
        "ids for nothing": ({"tokens": [*tokens, *([None] * 1001)]}, "more than 1,000 of its ids"),
        "an id for two": ({"special": special | {"<|x|>": special["<|im_end|>"]}}, "stands for two tokens"),
        "an id of a text": ({"special": special | {"<|x|>": 300}}, "stands for two tokens"),
        "an id that is far": ({"special": special | {"<|im_end|>": 10**9}}, "the id 1000000000 is beyond"),
        "a negative id": ({"special": special | {"<|im_end|>": -1}}, "the id -1 is beyond"),
        "an id that is true": ({"special": special | {"<|im_end|>": True}}, "no table of texts and ids"),
        "no special tokens": ({"special": []}, "its special tokens are no table"),
        "another name": (
            {"special": {"<|end|>" if k == "<|im_end|>" else k: v for k, v in special.items()}},
            "lacks the special token <|im_end|>",
        ),
        "half a character": (
            {"special": {"\ud800" if k == "<|im_end|>" else k: v for k, v in special.items()}},
            "half a character",
        ),
        "no merges": ({"merges": "abc"}, "its merges are no list"),
        "a merge of one": ({"merges": [*merges, "a"]}, "does not make one token of two"),
        "a merge of three": ({"merges": [*merges, "a b c"]}, "does not make one token of two"),
        "a merge that makes none": ({"merges": [*merges, f"{merges[0].split()[0]} ĠĠĠ"]}, "does not make one token"),
        "a merge twice": ({"merges": [*merges, merges[0]]}, "a merge twice"),
        "no words": ({"words": None}, "no byte-level BPE"),
        "words with a space before": ({"words": {**GPT2_WORDS, "add_prefix_space": True}}, "a space before each text"),
        "a wrong pattern": (
            {"words": {"type": "Sequence", "pretokenizers": [split("Regex", "("), GPT2_WORDS]}},
            "the package tokenizers refuses it",
        ),
        "merges ignored perhaps": ({"ignore_merges": None}, "ignore_merges is neither"),
        "an added token that is one already": (
            {"tokens": [*tokens, None], "added": {tokens[300]: len(tokens)}},
            "is an ordinary one too",
        ),
        "added tokens in a list": ({"added": [1]}, "its added tokens are no table"),
    }


def split(kind: str, pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict:
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def test_a_damaged_vocabulary_is_one_message(trained, tmp_path):
    for name, (changes, message) in damaged(trained.stored()).items():
        with pytest.raises(CheckpointError) as e:
            load_tokenizer(store(tmp_path, trained, **changes))
        assert message in str(e.value), name
        assert e.value.exit_code == 4 and str(tmp_path) in str(e.value) and len(str(e.value).splitlines()) <= 8


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["Sequence", "Split"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=3)
    ),
)


@given(data=st.data(), key=st.sampled_from(["tokens", "merges", "special", "added", "words", "ignore_merges", "kind"]))
def test_junk_in_a_stored_tokenizer_is_a_checkpoint_error_or_no_harm(trained, tmp_path_factory, data, key):
    folder = store(tmp_path_factory.mktemp("junk"), trained, **{key: data.draw(JUNK)})
    try:
        tokenizer = load_tokenizer(folder)
    except CheckpointError:
        return
    assert tokenizer.decode(tokenizer.encode(CHINESE)) == CHINESE


def test_a_text_that_cannot_be_read_ends_the_training():
    def texts():
        yield "a text " * 10
        raise DataError("the rest is missing")

    with pytest.raises(DataError, match="the rest is missing"):
        train(texts, 100, 300)
