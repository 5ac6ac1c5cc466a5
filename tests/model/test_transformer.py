"""The whole decoder: causality, cache, documents, loss, initial weights."""

import math

import pytest
import torch
import torch.nn.functional as F

from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.model import KVCache, Transformer, loss, param_roles

VOCAB = 31
KINDS = {
    "rope": {},
    "rope on part of a head": {"rope": {"fraction": 0.5}},
    "learned": {"position": "learned", "bias": True},
    "no positions": {"position": "none"},
    "grouped queries": {"attention": {"n_kv_head": 2, "qk_norm": True}},
    "window": {"attention": {"window": 3}},
    "parallel": {"parallel_residual": True, "norm": {"kind": "rmsnorm"}},
    "post-norm": {"position": "learned", "norm": {"place": "post"}, "bias": True},
    "NeoX": {"parallel_residual": True, "norm": {"shared": False}, "bias": True, "mlp": {"kind": "gelu_erf"}},
    "gains": {"attention": {"n_kv_head": 2, "qk_norm": True, "qk_gain": True, "qkv_bias": True}},
    "dense and banded": {"attention": {"window": 3, "dense_every": 2}},
    "slow turns": {"rope": {"scaling": "llama3", "factor": 8.0, "original": 64}},
    "gated, untied, capped": {"mlp": {"kind": "swiglu"}, "tie_embeddings": False, "logit_softcap": 5.0},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def make(seed: int = 0, **options) -> Transformer:
    tree = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 16, "init_std": 0.2} | options
    model = Transformer(build(ModelConfig, tree), VOCAB)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model


def tokens(batch: int = 2, length: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


# Causality ------------------------------------------------------------------------------------------------


@each_kind
@torch.no_grad()
def test_a_later_token_changes_nothing_earlier(kind: str):
    model, x = make(**KINDS[kind]).eval(), tokens()
    changed = x.clone()
    changed[:, 7] = (x[:, 7] + 1) % VOCAB
    before, after = model(x), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 7], after[:, 7], atol=1e-3)


@torch.no_grad()
def test_window_limits_what_reaches_a_token():
    model, x = make(attention={"window": 3}).eval(), tokens()
    changed = x.clone()
    changed[:, 0] = (x[:, 0] + 1) % VOCAB
    difference = (model(x) - model(changed)).abs().amax(dim=(0, 2))
    reach = 2 * (3 - 1)  # each of the two layers looks back two tokens besides its own
    assert (difference[: reach + 1] > 1e-5).all()
    assert (difference[reach + 1 :] < 1e-6).all()


@pytest.mark.parametrize("kind", ["rope", "learned", "no positions", "window", "grouped queries"])
@torch.no_grad()
def test_packed_documents_are_as_if_alone(kind: str):
    model, x = make(**KINDS[kind]).eval(), tokens(batch=1)
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3])
    alone = torch.cat([model(part) for part in x.split([5, 4, 3], dim=1)], dim=1)
    torch.testing.assert_close(model(x, documents=documents), alone, rtol=1e-4, atol=1e-5)


# Cache ----------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("pieces", [[12], [5, 4, 3], [1] * 12, [6, 1, 1, 4]], ids=str)
@torch.no_grad()
def test_cache_changes_nothing(kind: str, pieces: list[int]):
    model, x = make(**KINDS[kind]).eval(), tokens()
    cache = model.new_cache(batch=2)
    logits = torch.cat([model(part, cache=cache) for part in x.split(pieces, dim=1)], dim=1)
    assert cache.length == 12
    torch.testing.assert_close(logits, model(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_cache_can_be_used_again():
    model, x = make().eval(), tokens()
    cache = model.new_cache(batch=2)
    model(tokens(seed=1), cache=cache)
    cache.reset()
    torch.testing.assert_close(model(x, cache=cache), model(x))


def test_cache_returns_views_and_refuses_too_much():
    cache = KVCache(n_layer=2, batch=1, n_kv_head=3, max_len=4, head_dim=5)
    k, v = torch.randn(2, 1, 3, 3, 5)
    all_k, all_v = cache.append(1, k, v)
    assert torch.equal(all_k, k) and torch.equal(all_v, v)
    assert all_k.untyped_storage().data_ptr() == cache.keys.untyped_storage().data_ptr()
    cache.advance(3)
    with pytest.raises(ValueError, match="do not fit"):
        cache.append(1, k, v)


@torch.no_grad()
def test_last_only_is_the_last_of_all():
    model, x = make().eval(), tokens()
    logits = model(x, last_only=True)
    assert logits.shape == (2, 1, VOCAB)
    torch.testing.assert_close(logits, model(x)[:, -1:])


# Loss -----------------------------------------------------------------------------------------------------


def half_ignored(x: torch.Tensor) -> torch.Tensor:
    return torch.where(tokens(*x.shape, seed=3) % 2 == 0, tokens(*x.shape, seed=4), -100)


@each_kind
def test_loss_is_the_summed_cross_entropy_of_the_logits(kind: str):
    model, x = make(**KINDS[kind]).eval(), tokens()
    targets = half_ignored(x)
    expected = F.cross_entropy(model(x).flatten(0, 1), targets.flatten(), reduction="sum")
    total = model(x, targets=targets)
    assert total.shape == () and total.dtype == torch.float32
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("tie", [True, False])
def test_loss_in_chunks_has_the_same_value_and_gradients(tie: bool, monkeypatch: pytest.MonkeyPatch):
    model, x = make(tie_embeddings=tie, logit_softcap=4.0), tokens()
    targets = half_ignored(x)

    def value_and_gradients() -> tuple[torch.Tensor, list[torch.Tensor]]:
        total = model(x, targets=targets)
        return total, list(torch.autograd.grad(total, list(model.parameters())))

    whole, whole_gradients = value_and_gradients()
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", 5 * VOCAB)  # 24 rows in 5 chunks
    largest = 0
    to_logits = model.logits

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, hidden.size(0))
        return to_logits(hidden)

    monkeypatch.setattr(model, "logits", watched)
    chunked, chunked_gradients = value_and_gradients()
    assert largest == 5
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(chunked_gradients, whole_gradients)


def test_logits_and_loss_are_float32_under_autocast():
    model, x = make(), tokens()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == model(x, targets=x).dtype == torch.float32


@torch.no_grad()
def test_softcap_bounds_the_logits():
    options = {"init_std": 2.0}
    assert make(**options)(tokens()).abs().max() > 5
    assert make(logit_softcap=5.0, **options)(tokens()).abs().max() <= 5


def test_every_parameter_learns():
    for options in KINDS.values():
        model = make(**options)
        model(tokens(), targets=tokens(seed=1)).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# Misuse ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_more_tokens_than_the_block_size_are_an_error():
    model = make()
    with pytest.raises(ValueError, match="block size of 16"):
        model(tokens(length=17))
    cache = model.new_cache(batch=2, max_len=40)
    model(tokens(length=10), cache=cache)
    with pytest.raises(ValueError, match="10 \\+ 7 tokens"):
        model(tokens(length=7), cache=cache)


def test_combinations_without_meaning_are_errors():
    model, x = make(), tokens()
    with pytest.raises(ValueError, match="cache"):
        model(x, documents=torch.zeros_like(x), cache=model.new_cache(2))
    with pytest.raises(ValueError, match="last_only"):
        model(x, targets=x, last_only=True)


# Weights --------------------------------------------------------------------------------------------------


def test_same_seed_same_weights_whatever_the_global_state():
    torch.manual_seed(1)
    first = make(seed=7).state_dict()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = make(seed=7).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["tok_emb.weight"], make(seed=8).state_dict()["tok_emb.weight"])


def test_weights_can_be_filled_after_the_meta_device():
    direct = make(seed=7)
    with torch.device("meta"):
        model = Transformer(direct.cfg, VOCAB)
    assert all(p.is_meta for p in model.parameters()) and not list(model.buffers())
    model.to_empty(device="cpu").init_weights(torch.Generator().manual_seed(7))
    assert torch.equal(model.eval()(tokens()), direct.eval()(tokens()))


@pytest.mark.parametrize(("residual", "share"), [("scaled", 1 / math.sqrt(2 * 3)), ("full", 1.0), ("zero", 0.0)])
def test_initial_weights_follow_the_table(residual: str, share: float):
    model = make(n_layer=3, n_embd=64, init_std=0.05, init_residual=residual, bias=True, tie_embeddings=False)
    roles = param_roles(model)
    for name, p in model.named_parameters():
        if roles[name] == "norm":
            assert (p == 1).all()
        elif roles[name] == "bias":
            assert (p == 0).all()
        else:
            expected = 0.05 * (share if name.endswith("proj.weight") else 1.0)
            assert p.std().item() == pytest.approx(expected, rel=0.06), name


@pytest.mark.parametrize("options", [{"init_residual": "zero"}, {"init_residual": "scaled"}], ids=str)
@torch.no_grad()
def test_an_untied_model_begins_near_the_uniform_loss(options: dict):
    model = make(n_embd=64, init_std=0.02, tie_embeddings=False, **options).eval()
    x = tokens(batch=16, length=16)
    mean = model(x, targets=tokens(batch=16, length=16, seed=1)) / x.numel()
    assert mean.item() == pytest.approx(math.log(VOCAB), abs=0.1)


def test_dropout_acts_in_training_only_and_follows_the_global_state():
    model, x = make(dropout=0.3), tokens()
    torch.manual_seed(0)
    first, second = model(x), model(x)
    torch.manual_seed(0)
    assert torch.equal(first, model(x))
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("tie", [True, False])
def test_state_dict_names_each_tensor_once(tie: bool):
    state = make(tie_embeddings=tie).state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert ("head.weight" in state) == (not tie)


def test_roles():
    model = make(n_layer=1, position="learned", bias=True, tie_embeddings=False, mlp={"kind": "swiglu"})
    by_role: dict[str, set[str]] = {}
    for name, role in param_roles(model).items():
        by_role.setdefault(role, set()).add(name.removeprefix("blocks.0."))
    assert by_role["embedding"] == {"tok_emb.weight", "pos_emb.weight"}
    assert by_role["head"] == {"head.weight"}
    assert by_role["norm"] == {"attn_norm.weight", "mlp_norm.weight", "final_norm.weight"}
    assert by_role["matrix"] == {f"{n}.weight" for n in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.gate", "mlp.proj")}
    assert all(name.endswith(".bias") for name in by_role["bias"]) and len(by_role["bias"]) == 8


def test_a_parameter_without_a_role_is_an_error():
    model = make()
    model.extra = torch.nn.Conv1d(1, 1, 1, bias=False)
    with pytest.raises(TypeError, match=r"extra\.weight"):
        param_roles(model)


def test_post_norm_has_no_final_norm_and_parallel_one_norm_a_block():
    post = dict(make(norm={"place": "post"}).named_parameters())
    assert not any(name.startswith("final_norm") for name in post)
    parallel = dict(make(parallel_residual=True).named_parameters())
    assert not any("mlp_norm" in name for name in parallel)
