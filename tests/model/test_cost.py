"""The formulas of model/cost.py against the model itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from gptforge.config import ModelConfig
from gptforge.config.model import AttentionConfig, MLPConfig, MoEConfig, NormConfig
from gptforge.config.schema import build
from gptforge.model import Transformer
from gptforge.model.cost import (
    LOGITS_AT_ONCE,
    active_parameters,
    cache_bytes,
    count_parameters,
    flops_per_token,
    training_memory,
)
from gptforge.model.moe import MoE, Router

VOCAB = 65
PARTS = {
    "token_embedding": ("tok_emb",),
    "positions": ("pos_emb",),
    "attention": (".attn.",),
    "mlp": (".mlp.",),
    "norms": ("norm",),
    "head": ("head",),
}


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    n_kv_head = draw(st.integers(1, 3))
    n_head = n_kv_head * draw(st.integers(1, 3))
    post = draw(st.booleans())
    n_layer, n_expert = draw(st.integers(1, 3)), draw(st.none() | st.integers(2, 5))
    return ModelConfig(
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_head * 2 * draw(st.integers(1, 6)),
        block_size=draw(st.integers(2, 40)),
        bias=n_expert is None and draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        position=draw(st.sampled_from(["learned", "rope", "none"])),
        parallel_residual=not post and draw(st.booleans()),
        attention=AttentionConfig(
            n_kv_head=n_kv_head, head_dim=draw(st.none() | st.integers(2, 9)), qk_norm=draw(st.booleans())
        ),
        mlp=MLPConfig(
            kind=draw(st.sampled_from(["gelu", "swiglu", "relu2"])), width=draw(st.none() | st.integers(1, 50))
        ),
        moe=MoEConfig(
            n_expert=n_expert, top_k=draw(st.integers(1, n_expert or 1)), width=draw(st.none() | st.integers(1, 50)),
            n_shared=draw(st.integers(0, 2)), first_dense=draw(st.integers(0, n_layer - 1)),
        ),
        norm=NormConfig(
            kind=draw(st.sampled_from(["layernorm", "rmsnorm"])), place="post" if post else "pre"
        ),
    )  # fmt: skip


@given(configs(), st.integers(1, 100))
@settings(deadline=None, max_examples=60)
def test_parameters_per_part_agree_with_the_model(cfg: ModelConfig, vocab_size: int):
    assert list(cfg.problems()) == []
    with torch.device("meta"):
        model = Transformer(cfg, vocab_size)
    built = dict.fromkeys(PARTS, 0)
    for name, p in model.named_parameters():
        (part,) = [part for part, marks in PARTS.items() if any(mark in name for mark in marks)]
        built[part] += p.numel()
    assert count_parameters(cfg, vocab_size) == built


@given(configs(), st.integers(1, 100))
@settings(max_examples=20)
def test_a_token_passes_through_all_but_the_experts_that_are_not_chosen(cfg: ModelConfig, vocab_size: int):
    with torch.device("meta"):
        model = Transformer(cfg, vocab_size)
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    experts = [part.weight for layer in layers for part in (layer.gate, layer.fc, layer.proj) if part is not None]
    unused = sum((len(weight) - cfg.moe.top_k) * weight[0].numel() for weight in experts)
    assert active_parameters(cfg, vocab_size) == sum(p.numel() for p in model.parameters()) - unused
    products = [0, *(cfg.moe.top_k * weight[0].numel() for weight in experts)]
    products += [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear | Router)]
    products += [vocab_size * cfg.n_embd] if cfg.tie_embeddings else []
    attention = 12 * cfg.n_layer * cfg.n_head * cfg.head_dim * cfg.block_size
    assert flops_per_token(cfg, vocab_size) == 6 * sum(products) + attention


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
def test_flops_agree_with_torchs_counter(tie: bool, kind: str):
    cfg = build(
        ModelConfig,
        {"n_layer": 2, "n_embd": 64, "block_size": 32, "tie_embeddings": tie, "mlp": {"kind": kind},
         "attention": {"n_kv_head": 2, "head_dim": 24}},
    )  # fmt: skip
    model = Transformer(cfg, VOCAB)
    model.init_weights(torch.Generator().manual_seed(0))
    x = torch.zeros(2, 32, dtype=torch.int64)
    # The math kernel, in operations that the counter knows; its backward pass recomputes nothing.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x, targets=x).backward()
    assert counter.get_total_flops() / x.numel() == pytest.approx(flops_per_token(cfg, VOCAB), rel=1e-6)


def test_flops_count_the_context_up_to_the_window():
    cfg = ModelConfig(block_size=64)
    assert flops_per_token(cfg, VOCAB) - flops_per_token(cfg, VOCAB, context=16) == 12 * 4 * 128 * (64 - 16)
    narrow = ModelConfig(block_size=64, attention=AttentionConfig(window=16))
    assert flops_per_token(narrow, VOCAB) == flops_per_token(cfg, VOCAB, context=16)


def kept_for_backward(cfg: ModelConfig, batch: int, dtype: torch.dtype) -> int:
    """Bytes of all tensors that autograd keeps, parameters apart."""
    model = Transformer(cfg, VOCAB)
    model.init_weights(torch.Generator().manual_seed(0))
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (storage := tensor.untyped_storage()).data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address is used twice
        return tensor

    x = torch.zeros(batch, cfg.block_size, dtype=torch.int64)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
    ):
        total = model(x, targets=x)
    del total
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [
        {"position": "learned", "dropout": 0.1, "bias": True},
        {"mlp": {"kind": "relu2"}, "norm": {"kind": "rmsnorm"}, "attention": {"qk_norm": True}},
        {"mlp": {"kind": "swiglu"}, "norm": {"kind": "rmsnorm"}, "attention": {"n_kv_head": 2}},
        {"position": "none", "attention": {"dropout": 0.1}},
        {"parallel_residual": True},
        {"mlp": {"kind": "swiglu"}, "moe": {"n_expert": 8, "width": 100, "n_shared": 1}},
        {"moe": {"n_expert": 4, "top_k": 3, "score": "softmax", "first_dense": 1, "bias": False}},
    ],
    ids=str,
)
def test_activation_estimate_is_what_autograd_keeps(options: dict, dtype: str):
    cfg = build(ModelConfig, {"n_layer": 3, "block_size": 128, "n_embd": 128} | options)
    memory, batch = training_memory(cfg, VOCAB, 2, dtype), 2
    copies = memory["weights"] - memory["gradients"]
    log_probabilities = batch * cfg.block_size * VOCAB * 4
    kept = kept_for_backward(cfg, batch, getattr(torch, dtype))
    assert memory["activations"] + copies + log_probabilities == pytest.approx(kept, rel=0.1)


def test_memory_of_weights_gradients_moments_and_logits():
    cfg = ModelConfig()
    n = sum(count_parameters(cfg, VOCAB).values())
    memory = training_memory(cfg, VOCAB, 1, "float32")
    assert (memory["weights"], memory["gradients"], memory["adam_moments"]) == (4 * n, 4 * n, 8 * n)
    assert memory["logits"] == 12 * 256 * VOCAB
    assert training_memory(cfg, 50_257, 1000, "float32")["logits"] == 12 * LOGITS_AT_ONCE


def test_cache_bytes_are_the_caches():
    cfg = build(ModelConfig, {"attention": {"n_kv_head": 2}})
    cache = Transformer(cfg, VOCAB).new_cache(3, max_len=50, dtype=torch.bfloat16)
    assert cache_bytes(cfg, 3, "bfloat16", 50) == cache.keys.nbytes + cache.values.nbytes
    assert cache_bytes(cfg, 3, "float32") == 2 * 4 * 3 * 2 * 256 * 32 * 4
