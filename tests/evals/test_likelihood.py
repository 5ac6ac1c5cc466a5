"""What tasks ask of a model, without the harness: likelihoods of continuations, and texts up to a stop."""

import contextlib
import importlib.util
import random

import pytest
import torch

import small
import writing
from gptforge.config import EvalTextConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, DataError, NumericalError, UserError
from gptforge.evals import harness
from gptforge.evals.harness.likelihood import WIDTH, Pair, loglikelihoods, windows
from gptforge.evals.harness.texts import kept, sampling_of, texts
from gptforge.model import Transformer
from gptforge.sampling import How, escaped, unescaped
from gptforge.tokenizers.byte import ByteTokenizer

VOCAB = writing.VOCAB


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are slowed down by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def found(model: Transformer, pairs: list[Pair], batch: int = 4) -> list[tuple[float, bool]]:
    yielded = loglikelihoods(model, pairs, lambda width: batch, contextlib.nullcontext)
    got = {n: (total, greedy) for n, total, greedy in yielded}
    return [got[n] for n in range(len(pairs))]


def ids(n: int, draw: random.Random) -> list[int]:
    return draw.choices(range(VOCAB), k=n)


# Windows -------------------------------------------------------------------------------------------------------


def test_a_whole_text_is_cut_as_the_harness_says():
    """The example in its documentation of loglikelihood_rolling."""
    expected = [([99, 0, 1, 2], [0, 1, 2, 3]), ([3, 4, 5, 6], [4, 5, 6, 7]), ([5, 6, 7, 8], [8, 9])]
    for context in ([99], [98, 99]):
        assert [(list(inputs), list(labels)) for inputs, labels in windows(context, range(10), 4)] == expected


@pytest.mark.parametrize("context", [1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 17, 40])
def test_every_token_is_predicted_once_from_those_before_it(context, n):
    tokens = list(range(context + n))
    labels: list[int] = []
    for inputs, wanted in windows(tokens[:context], tokens[context:], 8):
        assert 0 < len(wanted) <= len(inputs) <= 8
        assert list(inputs) == list(range(wanted[-1] - len(inputs), wanted[-1]))
        labels += wanted
    assert labels == tokens[context:]


@pytest.mark.parametrize(("context", "n"), [(3, 5), (4, 5), (5, 5), (20, 5), (20, 8)])
def test_a_long_context_loses_its_beginning_only(context, n):
    ((inputs, labels),) = windows(range(context), range(100, 100 + n), 8)
    assert [*inputs, labels[-1]] == [*range(context), *range(100, 100 + n)][-9:]


# Likelihoods ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def by_hand(model: Transformer, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """One forward pass for each token, over exactly the tokens that it may be predicted from."""
    block, total, greedy = model.cfg.block_size, 0.0, True
    tokens = context + continuation
    for at in range(len(context), len(tokens)):
        nth = at - len(context)
        if len(continuation) <= block:
            begin = max(0, len(tokens) - 1 - block)
        else:
            end = min((nth // block + 1) * block, len(continuation)) + len(context) - 1
            begin = end - block
        logits = model(torch.tensor([tokens[begin:at]]))[0, -1].double()
        total += logits.log_softmax(0)[tokens[at]].item()
        greedy &= int(logits.argmax()) == tokens[at]
    return total, greedy


@pytest.mark.parametrize("options", [{}, {"block_size": 80}, {"attention": {"window": 5}}, {"position": "learned"}])
def test_likelihoods_equal_brute_force(options):
    model = writing.make(**options)
    draw = random.Random(1)
    block = model.cfg.block_size
    pairs = [(ids(draw.choice([1, 3, 15, 16, 17, 60]), draw), ids(draw.choice([0, 1, 2, 9]), draw)) for _ in range(25)]
    pairs += [(ids(2, draw), ids(n, draw)) for n in (block - 1, block, block + 1, 2 * block, 3 * block + 1)]
    pairs += [(start, writing.uncached(model, start, writing.sampling(max_new_tokens=6))[0]) for start in ([1], [2, 3])]
    for (total, greedy), (context, continuation) in zip(found(model, pairs), pairs, strict=True):
        expected, likeliest = by_hand(model, context, continuation)
        assert total == pytest.approx(expected, abs=1e-5, rel=1e-6) and greedy == likeliest
    assert [greedy for _, greedy in found(model, pairs)[-2:]] == [True, True]


def test_the_batch_size_changes_no_number():
    model = writing.make(block_size=100)
    draw = random.Random(2)
    pairs = [(ids(draw.randint(1, 90), draw), ids(draw.randint(0, 130), draw)) for _ in range(60)]
    first = found(model, pairs, 1)
    assert len({-(-len(c + k) // WIDTH) for c, k in pairs if len(k) <= 100}) > 3  # several widths
    for batch in (2, 3, 7, 64):
        for (total, greedy), (expected, same), (_, k) in zip(found(model, pairs, batch), first, pairs, strict=True):
            assert abs(total - expected) <= 1e-6 * max(1, len(k)) and greedy == same
    shuffled = list(range(len(pairs)))
    draw.shuffle(shuffled)
    again = found(model, [pairs[n] for n in shuffled], 5)
    for n, (total, greedy) in zip(shuffled, again, strict=True):
        assert abs(total - first[n][0]) <= 1e-6 * max(1, len(pairs[n][1])) and greedy == first[n][1]


def test_nothing_has_probability_one():
    assert found(writing.make(), [([1], []), ([1, 2], [3]), ([2], [])])[0::2] == [(0.0, True), (0.0, True)]
    assert found(writing.make(), []) == []


def test_of_equally_likely_tokens_the_first_is_greedy():
    model = writing.make(tie_embeddings=False)
    with torch.no_grad():
        model.head.weight.zero_()
    for batch in (1, 3):
        got = found(model, [([5], [0]), ([5], [1]), ([5], [0, 0, 0])], batch)
        assert [greedy for _, greedy in got] == [True, False, True]
        assert got[2][0] == pytest.approx(3 * torch.tensor(1 / VOCAB).double().log().item())


def test_what_is_no_number_is_said():
    model = writing.make()
    with torch.no_grad():
        model.tok_emb.weight[3] = float("nan")
    with pytest.raises(NumericalError, match="not finite"):
        found(model, [([3], [1, 2])])


# Texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"temperature": 0.0, "max_new_tokens": 256, "stop": []}),
        ({"until": "\n", "max_gen_toks": 5}, {"stop": ["\n"], "max_new_tokens": 5}),
        ({"until": ["", "Q:", "\\n"]}, {"stop": ["Q:", "\\\\n"]}),
        ({"max_new_tokens": 7, "do_sample": False, "temperature": 0.7}, {"max_new_tokens": 7, "temperature": 0.0}),
        ({"max_gen_toks": 8, "max_new_tokens": 7}, {"max_new_tokens": 8}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"do_sample": True, "temperature": 0.3, "top_k": 4}, {"temperature": 0.3, "top_k": 4, "top_p": None}),
        ({"temperature": 0.6, "top_k": 0}, {"temperature": 0.6, "top_k": None}),
    ],
)  # fmt: skip
def test_what_a_task_asks_for(asked, expected):
    cfg = sampling_of(asked)
    assert {name: getattr(cfg, name) for name in expected} == expected and cfg.num_samples == 1


@pytest.mark.parametrize(
    ("asked", "said"), [({"num_beams": 4, "until": []}, "num_beams"), ({"max_gen_toks": 0}, "at least 1")]
)
def test_what_cannot_be_done_is_an_error_of_the_task(asked, said):
    with pytest.raises(DataError, match=said):
        sampling_of(asked)


def test_stop_texts_are_taken_as_they_are():
    for text in ("\n", "\\n", "a\\\\b", "\t\\t"):
        assert unescaped(escaped(text)) == text


@pytest.mark.parametrize(("new", "left"), [(1, 15), (4, 12), (8, 8), (12, 8), (16, 8), (500, 8)])
def test_a_long_context_leaves_room_for_the_text(new, left):
    assert list(kept(range(40), new, 16)) == list(range(40 - left, 40))
    assert list(kept([1, 2], new, 16)) == [1, 2]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_texts_are_what_greedy_decoding_gives(batch):
    model = writing.make(vocab=256)
    draw = random.Random(3)
    contexts = [ids(n, draw) for n in (1, 5, 8, 16, 30)]
    tokenizer = ByteTokenizer()
    cfg = sampling_of({"max_gen_toks": 8})
    expected = [writing.uncached(model, context[-8:], cfg)[0] for context in contexts]
    written: list[str] = []
    for first in range(0, len(contexts), batch):
        written += texts(model, tokenizer, contexts[first : first + batch], cfg, 0, How())
    assert written == [tokenizer.decode(tokens) for tokens in expected]
    stop = written[1][2:4]
    (cut,) = texts(model, tokenizer, contexts[1:2], sampling_of({"max_gen_toks": 8, "until": [stop]}), 0, How())
    assert cut == written[1][: written[1].index(stop)]


# The command ---------------------------------------------------------------------------------------------------


def test_without_the_harness_one_message_says_what_to_install(own_folder, capsys, monkeypatch):
    small.write_text()
    small.trainer(small.config(train__steps=1, checkpoint__every=1), "runs/first").fit()
    capsys.readouterr()
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "lm_eval" else real(name, *a))
    assert small.gptforge("eval", "tasks=[x.yaml]") == 2
    said = capsys.readouterr()
    assert said.out == "" and "pip install 'gptforge[eval]'" in said.err and len(said.err.splitlines()) <= 3
    with pytest.raises(UserError, match="not installed"):
        harness.require()


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"limit": 3}, "limit is used only with tasks"),
        ({"num_fewshot": 0}, "num_fewshot is used only with tasks"),
        ({"tasks": ["a"], "stride": 4}, "stride is used only without tasks"),
        ({"tasks": ["a"], "data": {"source": "shakespeare"}}, "data is used only without tasks"),
        ({"tasks": ["a"], "baselines": False}, "baselines is used only without tasks"),
        ({"tasks": [""]}, "an empty name"),
        ({"tasks": 5}, "a list is needed"),
        ({"tasks": ["a"], "limit": 0}, "at least 1"),
    ],
)
def test_keys_that_do_not_go_together(tree, said):
    with pytest.raises(ConfigError, match=said):
        build(EvalTextConfig, tree)
