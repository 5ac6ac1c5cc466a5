"""Text from a model: the cache changes nothing, seeds decide everything, stop texts never show."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptforge.errors import DataError
from gptforge.sampling import engine, generate_text, samplers, unescaped
from gptforge.sampling.engine import TextWriter, start_ids
from gptforge.sampling.samplers import draw, keep_min_p, keep_top_k, keep_top_p, next_tokens, penalized
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer
from writing import BLOCK, KINDS, VOCAB, cached, make, prompts, sampling, uncached

CLOSE = 1e-4  # two logits that near may change places by rounding


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The cache ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cached_tokens_are_those_of_a_reference(kind):
    model, cfg = make(**KINDS[kind]), sampling()
    excused = 0
    for prompt in prompts(200 if kind == "rope" else 25, seed=len(kind)):
        (mine,) = cached(model, prompt, cfg)
        theirs, gaps = uncached(model, prompt, cfg)
        if mine != theirs:
            first = next(n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
            assert gaps[first] < CLOSE, (prompt, first, gaps[first])
            excused += 1
        assert len(mine) == 30
    assert excused <= 2


def test_the_reference_would_notice_another_rule():
    """A context that slides by one token, instead of keeping its last half, gives other texts."""
    model, cfg = make(), sampling()
    different = 0
    for prompt in prompts(20, seed=3):
        tokens = list(prompt)
        for _ in range(cfg.max_new_tokens):
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens[-BLOCK:]]))[0, -1].argmax()))
        different += tokens[len(prompt) :] != cached(model, prompt, cfg)[0]
    assert different > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{"temperature": 1.0}, {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3}])
def test_drawn_tokens_are_those_of_a_reference(kind, changes):
    model, cfg = make(**KINDS[kind]), sampling(**changes)
    for seed, prompt in enumerate(prompts(8, seed=5)):
        assert cached(model, prompt, cfg, seed) == [uncached(model, prompt, cfg, seed)[0]]


def test_a_long_prompt_keeps_its_tail():
    model, cfg = make(), sampling()
    prompt = prompts(1, seed=1)[0] * 9
    assert cached(model, prompt, cfg) == cached(model, prompt[-BLOCK:], cfg)
    assert cached(model, prompt, cfg) != cached(model, prompt[:BLOCK], cfg)


# Batches and seeds -------------------------------------------------------------------------------------------


def test_same_seed_same_text_and_other_seed_another():
    model, cfg = make(), sampling(temperature=1.0, num_samples=3)
    first = cached(model, [1, 2, 3], cfg, seed=4)
    assert cached(model, [1, 2, 3], cfg, seed=4) == first
    assert cached(model, [1, 2, 3], cfg, seed=5) != first
    assert len({tuple(text) for text in first}) == 3


def test_torch_s_own_generator_is_neither_read_nor_moved():
    model, cfg = make(), sampling(temperature=1.0)
    torch.manual_seed(0)
    first = cached(model, [1], cfg, seed=4)
    before = torch.get_rng_state()
    torch.manual_seed(1)
    assert cached(model, [1], cfg, seed=4) == first
    torch.manual_seed(0)
    cached(model, [1], cfg)
    torch.manual_seed(0)
    assert torch.equal(before, torch.get_rng_state())


def test_greedy_samples_of_a_batch_are_all_the_same():
    model = make()
    texts = cached(model, [1, 2, 3], sampling(num_samples=4))
    assert texts == cached(model, [1, 2, 3], sampling()) * 4


def test_a_text_of_a_batch_depends_on_its_own_tokens_only():
    """Each of four drawn texts is what the model would have drawn with its own numbers alone."""
    model, cfg = make(), sampling(temperature=1.0, num_samples=4, repetition_penalty=1.5)
    texts = cached(model, [1, 2, 3], cfg, seed=9)
    for n, text in enumerate(texts):
        numbers = random.Random(f"9/{n}")
        tokens, start = [1, 2, 3], 0
        for _ in range(30):
            with torch.no_grad():
                logits = model(torch.tensor([tokens[start:]]))[:, -1]
            seen = torch.zeros(1, VOCAB, dtype=torch.bool)
            seen[0, tokens] = True
            chances = penalized(logits, seen, 1.5).softmax(-1).double().cumsum(-1)[0]
            tokens.append(int(torch.searchsorted(chances, numbers.random() * chances[-1], right=True)))
            if len(tokens) - start > BLOCK:
                start = len(tokens) - BLOCK // 2
        assert tokens[3:] == text


# Text --------------------------------------------------------------------------------------------------------

ALPHABET = "abcdefgh .\né"


def written(prompt="ab", tokenizer=None, seed=1, **changes) -> list[str]:
    tokenizer = tokenizer or CharTokenizer(ALPHABET)
    model = make(tokenizer.vocab_size)
    pieces = list(generate_text(model, tokenizer, prompt, sampling(temperature=1.0, **changes), seed))
    return ["".join(text) for text in zip(*pieces, strict=True)]


def test_text_is_what_the_tokens_say():
    tokenizer = CharTokenizer(ALPHABET)
    model, cfg = make(tokenizer.vocab_size), sampling(temperature=1.0)
    (ids,) = cached(model, tokenizer.encode("ab").tolist(), cfg, seed=1)
    assert written() == [tokenizer.decode(ids)]


def test_an_empty_prompt_begins_with_a_line_break_or_the_first_token():
    tokenizer = CharTokenizer(ALPHABET)
    assert start_ids(tokenizer, "") == tokenizer.encode("\n").tolist()
    assert start_ids(CharTokenizer("xyz"), "") == [0]
    assert start_ids(ByteTokenizer(), "") == [10]
    assert len(written("")[0]) == 30
    assert written("") == written("\n")


def test_a_prompt_outside_the_vocabulary():
    with pytest.raises(DataError, match=r"no character 'Ü'"):
        written("Ü")
    skipping = CharTokenizer(ALPHABET, unknown="skip")
    assert written("aÜb", skipping) == written("ab")
    assert written("Ü", skipping) == written("")


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(training):
    tokenizer = CharTokenizer(ALPHABET)
    model = make(tokenizer.vocab_size, dropout=0.9).train(training)
    texts = [list(generate_text(model, tokenizer, "a", sampling(), 0)) for _ in range(2)]
    assert texts[0] == texts[1]
    assert model.training is training
    broken = generate_text(model, tokenizer, "a", sampling(), 0)
    next(broken)
    broken.close()
    assert model.training is training


def test_stops_at_a_stop_text_and_computes_no_further(monkeypatch):
    whole = written()[0]
    stop = whole[4:6]
    cut = whole[: whole.index(stop)]
    calls = []
    choose = engine.next_tokens
    monkeypatch.setattr(engine, "next_tokens", lambda *a: calls.append(1) or choose(*a))
    assert written(stop=[stop]) == [cut]
    assert len(calls) == whole.index(stop) + 2
    assert written(stop=["never"]) == [whole]


def test_each_text_of_a_batch_stops_for_itself():
    texts = written(num_samples=3)
    stop = texts[1][3:5]
    assert written(num_samples=3, stop=[stop]) == [text.split(stop)[0] for text in texts]


def test_stop_texts_are_typed_with_escapes():
    assert unescaped(r"a\nb\tc\\n") == "a\nb\tc\\n"
    writer = TextWriter(CharTokenizer(ALPHABET), [r"\n"])
    assert [writer.add(i) for i in writer_ids("ab\nc")] == ["a", "b", "", ""]
    assert writer.done and writer.finish() == ""


def writer_ids(text: str) -> list[int]:
    return CharTokenizer(ALPHABET).encode(text).tolist()


class Pieces:
    """A tokenizer whose tokens are any bytes at all."""

    def __init__(self, pieces: list[bytes], eos: int | None = None) -> None:
        self.pieces, self.eos = pieces, eos

    def decode_bytes(self, ids) -> bytes:
        return b"".join(self.pieces[i] for i in ids)


def test_a_text_ends_with_the_end_of_text_token():
    writer = TextWriter(Pieces([b"a", b"", b"\xe2"], eos=1), ["ab"])
    assert writer.add(0) == "" and not writer.done  # it might begin a stop text
    assert writer.add(1) == "a" and writer.done
    assert writer.add(0) == "" == writer.finish()
    writer = TextWriter(Pieces([b"a", b"", b"\xe2"], eos=1), [])
    assert writer.add(2) == "" and writer.add(1) == "\ufffd" and writer.done


def first_cut(text: str, stops: list[str]) -> str:
    """The text before the stop text that is complete first; of two that end together, before the longer."""
    for end in range(1, len(text) + 1):
        if met := [s for s in stops if text[:end].endswith(s)]:
            return text[: end - max(map(len, met))]
    return text


letters = st.text("abé\U0001f642", max_size=30)
stop_lists = st.lists(st.text("abé\U0001f642", min_size=1, max_size=5), max_size=4)


@given(text=letters, stops=stop_lists, data=st.data())
def test_pieces_make_the_text_up_to_the_first_stop(text, stops, data):
    content = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))  # also within a character
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    writer = TextWriter(Pieces(pieces), stops)
    wanted = first_cut(text, stops)
    shown, taken = "", b""
    for n, piece in enumerate(pieces):
        shown += writer.add(n)
        taken += piece
        assert wanted.startswith(shown)
        whole = taken.decode(errors="ignore")
        if not writer.done:  # no more is held back than the beginning of a stop text
            assert len(whole) - len(shown) < max(map(len, stops), default=1)
    shown += writer.finish()
    assert shown == wanted
    assert writer.done == (wanted != text or any(text.endswith(s) for s in stops))
    assert writer.add(0) == "" or not writer.done


@given(text=letters, stops=stop_lists)
def test_the_kind_of_tokens_does_not_change_where_a_text_stops(text, stops):
    shown = []
    for tokenizer in (CharTokenizer("abé\U0001f642"), ByteTokenizer()):
        writer = TextWriter(tokenizer, stops)
        shown.append("".join(writer.add(int(i)) for i in tokenizer.encode(text)) + writer.finish())
    assert shown[0] == shown[1] == first_cut(text, stops)


def test_half_a_character_at_the_end_is_shown_as_such():
    writer = TextWriter(ByteTokenizer(), [])
    assert "".join(writer.add(i) for i in "aé".encode()[:-1]) + writer.finish() == "a�"


# Samplers ----------------------------------------------------------------------------------------------------


def numbers(n: int, seed: int) -> torch.Tensor:
    """Of [0, 1), one a row."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


rows = st.lists(
    st.lists(st.one_of(st.floats(-30, 30, width=32), st.just(-np.inf)), min_size=6, max_size=6).filter(
        lambda row: max(row) > -np.inf
    ),
    min_size=1,
    max_size=3,
).map(lambda values: torch.tensor(values, dtype=torch.float32))


def kept(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Where a filter has left something; it changes nothing else."""
    left = after > -torch.inf
    assert torch.equal(after[left], before[left])
    assert (left.sum(-1) >= 1).all()
    return left


@given(rows, st.integers(1, 9))
def test_top_k_keeps_the_k_largest(logits, k):
    left = kept(logits, keep_top_k(logits, k))
    for row, keeps in zip(logits, left, strict=True):
        smallest = row.sort(descending=True).values[min(k, 6) - 1]
        assert torch.equal(keeps, (row >= smallest) & (row > -torch.inf))


@given(rows, st.floats(0.01, 1))
def test_top_p_keeps_the_fewest_that_make_up_p(logits, p):
    left = kept(logits, keep_top_p(logits, p))
    for chances, keeps in zip(logits.double().softmax(-1), left, strict=True):
        mass = chances[keeps].sum()
        assert mass >= p - 1e-5
        assert mass - chances[keeps].min() < p + 1e-5
        if (~keeps).any():
            assert chances[keeps].min() >= chances[~keeps].max() - 1e-7


@given(rows, st.floats(0, 1))
def test_min_p_keeps_what_is_likely_enough(logits, share):
    left = kept(logits, keep_min_p(logits, share))
    chances = logits.softmax(-1)
    limit = share * chances.amax(-1, keepdim=True)
    assert left[(chances > limit * 1.001) & (logits > -torch.inf)].all()
    assert not left[chances < limit * 0.999].any()


@given(rows, st.floats(0.1, 10), st.integers(0, 63))
def test_the_repetition_penalty_touches_what_was_seen(logits, penalty, mask):
    seen = torch.tensor([[bool(mask >> i & 1) for i in range(6)]]).expand_as(logits)
    after = penalized(logits, seen, penalty)
    assert torch.equal(after[~seen], logits[~seen])
    for old, new in zip(logits[seen].tolist(), after[seen].tolist(), strict=True):
        assert new == pytest.approx(old / penalty if old > 0 else old * penalty, rel=1e-5)
        if penalty > 1:
            assert new <= old


@given(rows, st.sampled_from([1e-30, 1e-6, 0.5, 1.0, 100.0]), st.integers(0, 2**32))
def test_what_was_left_out_is_never_drawn(logits, temperature, seed):
    cfg = sampling(temperature=temperature)
    drawn = next_tokens(logits, None, cfg, numbers(len(logits), seed))
    assert (logits.gather(1, drawn[:, None]) > -torch.inf).all()
    if temperature == 1e-30:
        # as good as the likeliest: what is nearer to it than the temperature may be drawn too
        torch.testing.assert_close(logits.gather(1, drawn[:, None]), logits.amax(-1, keepdim=True), rtol=0, atol=1e-25)


@given(rows, st.integers(1, 6), st.floats(0.05, 0.99), st.floats(0, 1), st.integers(0, 2**32))
def test_filters_hold_together(logits, k, p, share, seed):
    cfg = sampling(temperature=0.9, top_k=k, top_p=p, min_p=share)
    scaled = (logits - logits.amax(-1, keepdim=True)) / 0.9
    left = kept(scaled, keep_min_p(keep_top_p(keep_top_k(scaled, k), p), share))
    drawn = next_tokens(logits, None, cfg, numbers(len(logits), seed))
    assert left.gather(1, drawn[:, None]).all()


def test_top_p_of_one_leaves_everything(monkeypatch):
    logits = 4 * torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    chances = []
    monkeypatch.setattr(samplers, "draw", lambda probabilities, u: chances.append(probabilities))
    next_tokens(logits, None, sampling(temperature=1.0), numbers(1, 0))
    next_tokens(logits, None, sampling(temperature=1.0, top_p=1.0), numbers(1, 0))
    assert torch.equal(*chances) and (chances[0] > 0).all()


@given(rows)
def test_greedy_takes_the_largest(logits):
    drawn = next_tokens(logits, None, sampling(), numbers(len(logits), 0))
    assert torch.equal(logits.gather(1, drawn[:, None]), logits.amax(-1, keepdim=True))


def test_draws_follow_the_distribution():
    chances = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    drawn = draw(chances.expand(20_000, -1), numbers(20_000, 0))
    found = torch.bincount(drawn, minlength=6) / 20_000
    assert found[chances == 0].sum() == 0
    torch.testing.assert_close(found, chances, rtol=0, atol=0.015)


def test_temperature_sharpens_and_flattens():
    logits = torch.tensor([[2.0, 1.0, 0.0]]).expand(20_000, -1)
    for temperature in (0.5, 1.0, 2.0):
        cfg = dataclasses.replace(sampling(), temperature=temperature)
        drawn = next_tokens(logits, None, cfg, numbers(len(logits), 0))
        wanted = (logits[0] / temperature).softmax(-1)
        torch.testing.assert_close(torch.bincount(drawn, minlength=3) / 20_000, wanted, rtol=0, atol=0.015)
