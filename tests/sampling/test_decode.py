"""The fast step computes what the model computes, for every option, in every form of product and any batch."""

import ctypes
import dataclasses
import random

import pytest
import torch
from torch import nn

from gptforge import compiling, native
from gptforge.model import Transformer
from gptforge.runtime import Choice
from gptforge.sampling import How, choose_step, engine, fused, generate, products
from gptforge.sampling.decode import FastDecoder, PlainDecoder, obstacle
from gptforge.sampling.products import INT8_ROWS, MKL_BYTES, PACK_BYTES, Machine, choose_form
from gptforge.sampling.quantize import quantize
from gptforge.sampling.rows import Row
from gptforge.sampling.speculative import Draws, lookup
from writing import BLOCK, KINDS, VOCAB, cached, make, prompts, sampling, uncached

UNKNOWN = (
    ({"mlp": {"kind": "gelu_erf"}}, "no gelu_erf"),
    ({"attention": {"qk_norm": True, "qk_gain": True}}, "no gains of queries and keys"),
    ({"attention": {"window": 5, "dense_every": 2}}, "one window for all layers"),
    ({"parallel_residual": True, "norm": {"shared": False}}, "one norm for parallel branches"),
    ({"moe": {"n_expert": 2}}, "no experts"),
)
EXPERTS = {
    "moe": {"n_expert": 5, "width": 24, "n_shared": 1, "first_dense": 1}, "mlp": {"kind": "swiglu"}, "bias": False,
}  # fmt: skip
OPTIONS = KINDS | {
    "window, grouped": {"attention": {"window": 3, "n_kv_head": 1}, "rope": {"fraction": 0.25}},
    "wide heads": {"attention": {"head_dim": 6}, "bias": True, "mlp": {"kind": "swiglu"}},
    "parallel, biases": {"parallel_residual": True, "bias": True, "position": "learned"},
    "experts": EXPERTS,
    "experts alone": {"moe": {"n_expert": 4, "top_k": 3, "score": "softmax", "bias": False}, "bias": False},
    "post, rms": {"norm": {"place": "post", "kind": "rmsnorm"}, "mlp": {"kind": "relu2"}},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokens(n: int, seed: int = 0) -> list[int]:
    draws = random.Random(seed)
    return [draws.randrange(VOCAB) for _ in range(n)]


@torch.no_grad()
def whole(model: Transformer, text: list[int]) -> torch.Tensor:
    """The logits after each token of a text, (T, V), by one forward pass without a cache."""
    return model(torch.tensor([text]))[0]


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["plain", "packed", "fused"])
def step(request, monkeypatch):
    """The step by torch, with every weight in one form whatever its size, and that of C code."""
    if request.param == "packed" and not products.can_pack():
        pytest.skip("this torch has no oneDNN")
    if request.param == "fused" and (why := fused.obstacle(torch.empty(1))):
        pytest.skip(why)
    monkeypatch.setattr(products, "PACK_BYTES", 0 if request.param == "packed" else 2**60)
    return "fused" if request.param == "fused" else "plain"


@pytest.mark.parametrize("kind", OPTIONS)
@torch.inference_mode()
def test_a_step_gives_the_logits_of_a_whole_pass(kind, step):
    """Rows of five lengths in one batch, after prompts of none to several tokens, with one and two new tokens."""
    model = make(**{"bias": True} | OPTIONS[kind])
    block = model.cfg.block_size
    texts = [tokens(block, seed) for seed in range(5)]
    for decoder in (FastDecoder(model, 5, block, step=step), PlainDecoder(model, 5, block)):
        logits_of_whole_passes(decoder, model, texts)


def logits_of_whole_passes(decoder, model, texts) -> None:
    block, lengths = model.cfg.block_size, [0, 2, 3, 1, 2]
    decoder.prefill({row: texts[row][:n] for row, n in enumerate(lengths)})
    for T in (1, 1, 2, 1):
        if max(lengths) + T > block:
            break
        logits = decoder.step([texts[row][n : n + T] for row, n in enumerate(lengths)])
        for row, n in enumerate(lengths):
            close(logits[row], whole(model, texts[row])[n : n + T])
        lengths = [n + T for n in lengths]


@pytest.mark.parametrize("kind", OPTIONS)
@torch.inference_mode()
def test_a_step_in_bfloat16_is_near_the_whole_pass(kind, step):
    model = make(**OPTIONS[kind]).bfloat16()
    text = tokens(6)
    decoder = FastDecoder(model, 2, model.cfg.block_size, step=step)
    decoder.prefill({0: text[:-1], 1: text[:-1]})
    found, wanted = decoder.step([text[-1:]] * 2), whole(model, text)[-1]
    assert torch.equal(found[0], found[1])
    assert (found[0, 0] - wanted).std() < 0.05 * wanted.std()


@torch.inference_mode()
def test_rows_are_begun_anew_taken_back_and_left_out(step):
    model = make()
    for decoder in (FastDecoder(model, 3, BLOCK, step=step), PlainDecoder(model, 3, BLOCK)):
        begun_taken_back_and_left_out(decoder, model)


def begun_taken_back_and_left_out(decoder, model) -> None:
    texts = [tokens(BLOCK, seed) for seed in range(4)]
    decoder.prefill({0: texts[0][:3], 1: texts[1][:3], 2: texts[2][:3]})
    decoder.step([texts[0][3:5], texts[1][3:5], texts[2][3:5]])
    decoder.forget(1)
    decoder.prefill({1: texts[3][:7]})
    decoder.keep([1, 2])
    logits = decoder.step([texts[3][7:8], texts[2][4:5]])
    close(logits[0, 0], whole(model, texts[3])[7])
    close(logits[1, 0], whole(model, texts[2])[4])
    close(decoder.step([texts[3][8:9], texts[2][5:6]])[1, 0], whole(model, texts[2])[5])


@torch.inference_mode()
def test_what_lies_behind_a_row_in_the_cache_changes_nothing(step):
    model = make()
    texts = [tokens(9, 1), tokens(4, 2)]
    logits = []
    for rubbish in (0.0, 1e4):
        decoder = FastDecoder(model, 2, BLOCK, step=step)
        for kv in decoder._kv:
            kv.fill_(rubbish)
        decoder.prefill({0: texts[0][:-1], 1: texts[1][:-1]})
        logits.append(decoder.step([texts[0][-1:], texts[1][-1:]]))
    assert torch.equal(*logits)


@torch.inference_mode()
def test_a_full_cache_is_said():
    decoder = FastDecoder(make(), 1, 4)
    decoder.prefill({0: [1, 2, 3, 4]})
    with pytest.raises(ValueError, match="do not fit into a cache of 4"):
        decoder.step([[1]])


# Which decoder, which form -----------------------------------------------------------------------------------


class Other(nn.Linear):
    """A layer that someone has put in."""

    def forward(self, input):
        return super().forward(input) + 1


def test_what_the_fast_step_does_not_know_is_left_to_the_model():
    assert obstacle(make()) is None
    hooked, changed = make(), make()
    hooked.blocks[0].mlp.fc.register_forward_hook(lambda module, args, output: -output)
    fc = changed.blocks[1].mlp.fc
    changed.blocks[1].mlp.fc = Other(fc.in_features, fc.out_features)
    mine = type("Mine", (Transformer,), {})(make().cfg, VOCAB)
    mine.load_state_dict(make().state_dict())
    assert obstacle(hooked) == "blocks.0.mlp.fc has a hook"
    assert obstacle(changed) == "blocks.1.mlp.fc is a Other"
    assert obstacle(mine) == "Mine is not the built-in decoder"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert obstacle(make()) == "autocast is on"
    for model in (hooked, changed, mine.eval()):
        assert cached(model, [1, 2, 3], sampling())[0] == uncached(model, [1, 2, 3], sampling())[0]
    assert cached(hooked, [1, 2, 3], sampling()) != cached(make(), [1, 2, 3], sampling())


AMD, INTEL = Machine("AuthenticAMD", 10**9), Machine("GenuineIntel", 10**9)
LARGE, SMALL = torch.empty(PACK_BYTES // 4 // 64, 64), torch.empty(8, 8)


@pytest.mark.parametrize(
    ("weight", "total", "machine", "rows", "form"),
    [
        (LARGE, 10**6, AMD, 1, "packed"),
        (SMALL, 10**6, AMD, 1, "plain"),
        (LARGE, 10**9, AMD, 1, "plain"),  # no room for copies
        (LARGE.half(), 10**6, AMD, 1, "plain"),
        (LARGE.to("meta"), 10**6, AMD, 1, "plain"),
        (LARGE, 10**6, Machine("", 10**9), 1, "packed"),
        (LARGE, 10**6, INTEL, 1, "plain"),
        (LARGE, 10**6, INTEL, 16, "transposed"),
        (SMALL, 10**6, INTEL, 16, "transposed"),
        (torch.empty(MKL_BYTES // 4 // 64, 64), 10**8, INTEL, 16, "packed"),
        (LARGE, 10**9, INTEL, 16, "plain"),
        (LARGE.bfloat16().repeat(2, 1), 10**6, INTEL, 1, "packed"),
        (LARGE.to("meta"), 10**6, INTEL, 16, "plain"),
    ],
)
def test_the_form_follows_from_shapes_and_the_machine_alone(monkeypatch, weight, total, machine, rows, form):
    monkeypatch.setattr(products, "can_pack", lambda: True)
    assert choose_form(weight, total, machine, rows).name == form
    monkeypatch.setattr(products, "can_pack", lambda: False)
    assert choose_form(weight, total, machine, rows).name == ("plain" if form == "packed" else form)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["", "gelu", "relu2", "silu"])
@pytest.mark.parametrize("name", ["packed", "transposed", "plain"])
@torch.inference_mode()
def test_every_form_is_the_same_product(name, activation, dtype):
    if name == "packed" and not products.can_pack():
        pytest.skip("this torch has no oneDNN")
    torch.manual_seed(0)
    weight, bias, x = torch.randn(24, 40), torch.randn(24), torch.randn(3, 40)
    weight, bias, x = (t.to(dtype) for t in (weight, bias, x))
    add = None if activation else torch.randn(3, 24).to(dtype)
    for b in (bias, None):
        wanted = products.plain(weight.float(), None if b is None else b.float(), 3)(
            x.float(), activation, None if add is None else add.float()
        )
        found = products.FORMS[name](weight, b, 3)(x, activation, add)
        assert found.dtype == dtype
        tolerance = 1e-5 if dtype == torch.float32 else 0.03
        torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=10 * tolerance)


# Batches of different prompts --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"temperature": 1.0, "repetition_penalty": 1.3, "num_samples": 2}])
def test_a_text_is_the_same_in_any_batch(kind, changes):
    """Prompts of one token up to twice the context, and texts that grow past it at different times."""
    model, cfg = make(**KINDS[kind]), sampling(max_new_tokens=2 * BLOCK + 5, **changes)
    several = prompts(5, seed=11)
    together = [list(text) for text in zip(*generate(model, several, cfg, 3), strict=True)]
    alone = [text for prompt in several for text in cached(model, prompt, cfg, 3)]
    assert together == alone
    for n, prompt in enumerate(several):
        for sample in range(cfg.num_samples):
            wanted = uncached(model, prompt, cfg, 3, sample)[0]
            assert together[n * cfg.num_samples + sample] == wanted


def test_texts_that_have_ended_leave_the_batch_and_the_others_stay_as_they_are(monkeypatch):
    model, cfg = make(), sampling(max_new_tokens=3 * BLOCK, temperature=1.0, repetition_penalty=1.2)
    several = prompts(4, seed=7)
    whole_texts = [cached(model, prompt, cfg, 3)[0] for prompt in several]
    sizes, ended, grown = [], set(), [[] for _ in several]
    step = FastDecoder.step
    monkeypatch.setattr(FastDecoder, "step", lambda self, new: sizes.append(len(new)) or step(self, new))
    for n, ids in enumerate(generate(model, several, cfg, 3, ended)):
        for row, token in enumerate(ids):
            assert (token is None) == (row in ended)
            if token is not None:
                grown[row].append(token)
        ended |= {5: {1}, 9: {0, 2}}.get(n, set())
    assert grown[3] == whole_texts[3]
    assert grown[1] == whole_texts[1][:6] and grown[0] == whole_texts[0][:10] and grown[2] == whole_texts[2][:10]
    assert sizes[0] == 4 and sizes[-1] == 1


# Guessing ahead ----------------------------------------------------------------------------------------------


def test_the_guess_is_what_followed_the_longest_latest_occurrence():
    draws = Draws(Row([0], 0, 0, BLOCK))
    for tokens, most, guessed in (
        ([1, 2, 3, 4, 5, 1, 2, 3], 2, [4, 5]),
        ([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1, [8]),
        ([9, 1, 2, 3, 7, 1, 2, 3, 8, 9, 1, 2, 3], 1, [7]),  # four tokens agree there
        ([1, 2, 3, 4, 1, 2], 5, []),
        ([5, 5, 5, 5, 5], 3, [5]),
        ([256, 1, 1, 0, 256, 1, 1], 3, [0, 256, 1]),
    ):
        assert lookup(tokens, most, draws) == guessed


def test_draws_that_were_looked_at_are_taken_in_their_order():
    plain, draws = Row([0], 3, 1, BLOCK), Draws(Row([0], 3, 1, BLOCK))
    expected = [plain.draws.random() for _ in range(6)]
    assert draws.ahead(3) == expected[:3]
    assert [draws.take(), draws.take()] == expected[:2]
    assert draws.ahead(3) == expected[2:5]
    assert [draws.take() for _ in range(4)] == expected[2:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"temperature": 0.5, "repetition_penalty": 1.1}])
def test_guessing_ahead_changes_no_text(kind, changes, monkeypatch):
    model, cfg = make(**KINDS[kind]), sampling(max_new_tokens=3 * BLOCK, **changes)
    steps = []
    step = FastDecoder.step
    monkeypatch.setattr(FastDecoder, "step", lambda self, new: steps.append(len(new[0])) or step(self, new))
    for seed, prompt in enumerate([[1, 2, 3, 4] * 3, *prompts(3, seed=2)]):
        plain = cached(model, prompt, cfg, seed)
        assert cached(model, prompt, dataclasses.replace(cfg, lookup=4), seed) == plain
    if not changes and kind == "rope":  # greedy texts of a random model go round in circles
        assert max(steps) > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"temperature": 0.9}, {"temperature": 0.5, "repetition_penalty": 1.1}])
def test_a_draft_changes_no_text(kind, changes):
    model, cfg = make(**KINDS[kind]), sampling(max_new_tokens=3 * BLOCK, **changes)
    other = make(n_layer=1, block_size=BLOCK // 2)
    for seed, prompt in enumerate([[1], *prompts(3, seed=2)]):
        (plain,) = cached(model, prompt, cfg, seed)
        for draft, of_draft in ((other, How()), (other, How(step="fused")), (model, How())):
            how = How(draft=(draft, of_draft), ahead=3)
            assert [token for (token,) in generate(model, [prompt], cfg, seed, how=how)] == plain


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_draft_that_knows_is_believed(temperature, monkeypatch):
    model, cfg = make(), sampling(max_new_tokens=BLOCK - 4, temperature=temperature)
    steps = []
    step = FastDecoder.step
    monkeypatch.setattr(FastDecoder, "step", lambda self, new: steps.append(len(new[0])) or step(self, new))
    list(generate(model, [[1, 2]], cfg, 0, how=How(draft=(make(), How()), ahead=3)))
    checked = [n for n in steps if n == 4]
    assert len(checked) >= (BLOCK - 4) // 4 - 1  # each with all four tokens right, or there would be more and fewer
    assert sum(checked) >= BLOCK - 4 - 4


# Eight bits --------------------------------------------------------------------------------------------------


def test_eight_bits_round_each_row_to_its_own_steps():
    model, before = make(bias=True, position="learned"), make(bias=True, position="learned")
    rounded = quantize(model)
    old, new = dict(before.named_parameters()), dict(model.named_parameters())
    assert set(rounded) == {name for name in old if name.endswith(("qkv.weight", "proj.weight", "fc.weight"))} | {
        "tok_emb.weight"
    }
    for name in old:
        if name in rounded:
            step = old[name].detach().abs().amax(1, keepdim=True) / 127
            assert ((old[name] - new[name]).abs() <= step / 2 * 1.001).all()
            assert rounded[name].values.abs().amax() == 127
        else:
            assert torch.equal(old[name], new[name])


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_step_of_eight_bits_is_near_the_model_of_rounded_weights(kind):
    """Its activations are rounded to bfloat16, as the kernel wants them, so it is near and not equal."""
    model = make(**KINDS[kind], n_embd=64)
    rounded = quantize(model)
    decoder = FastDecoder(model, 1, model.cfg.block_size, rounded)
    text = tokens(5)
    decoder.prefill({0: text[:-1]})
    found, wanted = decoder.step([text[-1:]])[0, 0], whole(model, text)[-1]
    assert 0 < (found - wanted).std() < 0.05 * wanted.std()
    many = FastDecoder(model, INT8_ROWS + 1, model.cfg.block_size, rounded)  # multiplies the rounded weights instead
    many.prefill(dict.fromkeys(range(INT8_ROWS + 1), text[:-1]))
    close(many.step([text[-1:]] * (INT8_ROWS + 1))[0, 0], wanted)


@pytest.mark.parametrize("width", [24, 100])
@torch.inference_mode()
def test_eight_bits_of_widths_that_torchs_product_cannot_read(width):
    """It would read beyond the weight's end, and is left out: what is computed is the model of rounded weights."""
    model = make(mlp={"width": width}, n_embd=40)
    decoder = FastDecoder(model, 1, model.cfg.block_size, quantize(model))
    for text in (tokens(5, seed) for seed in range(4)):
        decoder.prefill({0: text[:-1]})
        close(decoder.step([text[-1:]])[0, 0], whole(model, text)[-1])


@torch.inference_mode()
def test_eight_bits_of_experts_are_read_one_expert_at_a_time():
    model = make(**EXPERTS | {"moe": EXPERTS["moe"] | {"width": 32}}, n_embd=64)
    moe = model.blocks[1].mlp
    rounded = quantize(model)
    assert {"blocks.1.mlp.fc.weight", "blocks.1.mlp.shared.fc.weight"} <= set(rounded)
    assert "blocks.1.mlp.router.weight" not in rounded
    text = tokens(5)
    wanted = whole(model, text)[-1]
    decoder = FastDecoder(model, 1, model.cfg.block_size, rounded)
    for part in ("gate", "fc", "proj"):
        moe.get_parameter(f"{part}.weight").zero_()  # the model's own are not read
    found = [decoder.step([[token]])[0, 0] for token in text][-1]
    assert 0 < (found - wanted).std() < 0.1 * wanted.std()


@pytest.mark.parametrize("changes", [{}, {"temperature": 1.0, "num_samples": 2}])
def test_texts_of_experts_are_those_of_the_whole_model(changes):
    """Alone, in a batch and guessed ahead."""
    model, cfg = make(**EXPERTS), sampling(max_new_tokens=BLOCK + 5, **changes)
    several = prompts(3, seed=11)
    together = [list(text) for text in zip(*generate(model, several, cfg, 3), strict=True)]
    for n, prompt in enumerate(several):
        for sample in range(cfg.num_samples):
            assert together[n * cfg.num_samples + sample] == uncached(model, prompt, cfg, 3, sample)[0]
    if cfg.num_samples == 1:
        ahead = dataclasses.replace(cfg, lookup=4)
        assert [cached(model, prompt, ahead, 3)[0] for prompt in several] == together


# C code -------------------------------------------------------------------------------------------------------

needs_c = pytest.mark.skipif(fused.obstacle(torch.empty(1)) is not None, reason="no C compiler here")


@needs_c
def test_the_c_code_and_its_caller_have_the_same_structs():
    sizes = (ctypes.c_int64 * len(fused.STRUCTS)).in_dll(native.library(fused.SOURCE), "gptforge_sizes")
    assert list(sizes) == [ctypes.sizeof(struct) for struct in fused.STRUCTS]


@needs_c
@pytest.mark.parametrize("kind", KINDS)
def test_the_c_code_writes_the_same_texts(kind):
    """Several at once, past the end of the context, greedy and drawn."""
    model = make(**KINDS[kind])
    for cfg in (sampling(max_new_tokens=2 * BLOCK), sampling(temperature=1.0, num_samples=2)):
        written = zip(*generate(model, prompts(3, seed=5), cfg, 1, how=How(step="fused")), strict=True)
        assert list(map(list, written)) == [
            text for prompt in prompts(3, seed=5) for text in cached(model, prompt, cfg, 1)
        ]


@needs_c
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_c_code_reads_eight_bits(kind):
    """Its activations are not rounded: it computes what the model of rounded weights does."""
    model = make(**KINDS[kind], n_embd=36 if kind == "learned" else 32)
    if why := fused.unknown(model.cfg):
        pytest.skip(why)
    rounded = quantize(model)
    decoder = FastDecoder(model, 2, model.cfg.block_size, rounded, step="fused")
    for parameter in model.blocks.parameters():
        if parameter.ndim == 2:
            parameter.zero_()  # the model's own are not read
    text = tokens(5)
    found = [decoder.step([[token], [token]])[0, 0] for token in text][-1]
    for name, parameter in model.named_parameters():
        if name in rounded:
            parameter.copy_(rounded[name].dequantized())
    close(found, whole(model, text)[-1])


@needs_c
@torch.inference_mode()
def test_threads_and_other_texts_change_no_bit_of_the_c_codes_logits():
    model = make(n_embd=100, attention={"qk_norm": True})
    text, logits = tokens(6), []
    for threads, rows in ((1, 1), (2, 1), (3, 5), (1, 8)):
        torch.set_num_threads(threads)
        decoder = FastDecoder(model, rows, BLOCK, step="fused")
        steps = [decoder.step([[token]] + [[3]] * (rows - 1))[0, 0] for token in text]
        logits.append(torch.stack(steps))
    torch.set_num_threads(1)
    assert all(torch.equal(logits[0], other) for other in logits)


@needs_c
def test_the_c_code_refuses_a_token_that_is_not_there():
    decoder = FastDecoder(make(), 2, BLOCK, step="fused")
    for token in (VOCAB, -1):
        with pytest.raises(IndexError, match=f"{token}.*the model has {VOCAB}"):
            decoder.step([[1], [token]])


@torch.inference_mode()
def test_many_texts_are_left_to_torch(monkeypatch):
    monkeypatch.setattr("gptforge.sampling.decode.FusedStep", None)  # must not be called
    model = make()
    decoder = FastDecoder(model, 17, BLOCK, step="fused")
    close(decoder.step([[1]] * 17)[16, 0], whole(model, [1])[0])


def test_what_the_c_code_has_no_types_for_is_said():
    assert fused.obstacle(torch.empty(1, device="meta")) == "the C code is for a CPU, not for meta"
    assert fused.obstacle(torch.empty(1, dtype=torch.float16)) == "the C code has no float16"


# Compiled ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(compiling.obstacle("cpu", None) is not None, reason="no compiler here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler has them about torch itself
def test_a_compiled_step_writes_the_same_texts():
    """Of two models with the same shapes, for one compilation; past the end of the context."""
    warnings: list[str] = []
    how = How(step="compiled", warn=warnings.append)
    cfg = sampling(max_new_tokens=2 * BLOCK)
    first, second = make(n_layer=1), make(n_layer=1)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
    torch._dynamo.utils.counters.clear()
    for model in (first, second):
        for prompt in ([1], [1, 2, 3]):
            compiled = [ids[0] for ids in generate(model, [prompt], cfg, 0, how=how)]
            assert [compiled] == cached(model, prompt, cfg)
    assert warnings == []
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_when_compiling_fails_the_text_is_written_all_the_same(monkeypatch):
    from torch._inductor.exc import InvalidCxxCompiler

    def compile_fails(function, **options):
        def call(*args):
            raise InvalidCxxCompiler

        return call

    monkeypatch.setattr(torch, "compile", compile_fails)
    warnings: list[str] = []
    model, cfg = make(), sampling()
    texts = [ids[0] for ids in generate(model, [[1, 2]], cfg, 0, how=How(step="compiled", warn=warnings.append))]
    assert [texts] == cached(model, [1, 2], cfg)
    assert len(warnings) == 1 and "torch.compile failed" in warnings[0]


def test_which_step_is_taken(monkeypatch):
    cpu, gpu = make(), make().to("meta")  # which stands for any device that is not a CPU
    monkeypatch.setattr(fused, "obstacle", lambda weight: None)
    assert [choose_step(asked, cpu, None).value for asked in (None, True, False)] == ["fused", "fused", "plain"]
    monkeypatch.setattr(fused, "obstacle", lambda weight: "no C compiler")
    assert choose_step(None, cpu, None) == Choice("plain", "no C compiler")
    monkeypatch.setattr(compiling, "obstacle", lambda device, capability: None)
    assert [choose_step(asked, gpu, (8, 0)).value for asked in (None, True, False)] == ["plain", "compiled", "plain"]
    monkeypatch.setattr(compiling, "obstacle", lambda device, capability: "no triton")
    assert choose_step(True, gpu, (8, 0)) == Choice("plain", "no triton")
    monkeypatch.setattr(fused, "obstacle", lambda weight: None)
    for options, what in UNKNOWN:
        assert choose_step(None, make(**options), None) == Choice("plain", f"the C code has {what}")


def test_a_batch_is_no_larger_than_memory_allows():
    from gptforge.sampling import rows_at_once

    cfg = make().cfg
    row = 2 * 2 * 4 * 8 * BLOCK * 4
    assert rows_at_once(cfg, 4, 10**12) == 64
    assert rows_at_once(cfg, 4, 40 * row) == 10
    assert rows_at_once(cfg, 4, row) == 1
    assert engine.new_decoder(make(), [3], sampling(max_new_tokens=2), How())._kv[0].shape == (2, 1, 4, 5, 8)
