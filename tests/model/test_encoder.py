"""A bidirectional encoder: who sees whom, what it cannot do, and its loss over the few tokens that it learns."""

import pytest
import torch
import torch.nn.functional as F

from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError
from gptforge.model import Transformer
from gptforge.sampling.decode import obstacle

V, T = 17, 12
ENCODER = {
    "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": T, "position": "learned", "bias": True, "segments": 2,
    "head_transform": True, "head_bias": True, "attention": {"causal": False},
    "mlp": {"kind": "gelu_erf"}, "norm": {"place": "post", "embeddings": True},
}  # fmt: skip


def made(**changes: object) -> Transformer:
    model = Transformer(build(ModelConfig, ENCODER | changes), V)
    model.init_weights(torch.Generator().manual_seed(0))
    return model.eval()


def drawn(seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (2, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("position", ["learned", "rope"])
@torch.no_grad()
def test_each_token_sees_those_before_and_after_it(position):
    model, tokens = made(position=position), drawn()
    before = model(tokens)
    for changed in (0, T // 2, T - 1):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % V
        assert (model(other) != before).any(-1).all(), "every logit depends on every token"


@torch.no_grad()
def test_documents_see_themselves_alone():
    model, tokens = made(), drawn()
    documents = torch.tensor([[0] * 5 + [1] * 7] * 2)
    found = model(tokens, documents=documents)
    torch.testing.assert_close(found[:, :5], model(tokens[:, :5]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[:, 5:], model(tokens[:, 5:]), rtol=1e-5, atol=1e-6)


def test_the_loss_is_that_of_the_learnt_tokens():
    model, tokens = made(), drawn()
    targets = torch.full_like(tokens, -100)
    targets[0, 3], targets[1, 0], targets[1, 11] = 4, 9, 2
    wanted = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), reduction="sum")
    found = model(tokens, targets=targets)
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert all(p.grad is not None for p in model.parameters())
    nothing = model(tokens, targets=torch.full_like(tokens, -100))
    nothing.backward()  # a micro-batch may have nothing to learn
    assert nothing == 0


def test_what_has_no_meaning_is_refused():
    model = made()
    with pytest.raises(ValueError, match="nothing to keep in a cache"):
        model(drawn(), cache=model.new_cache(2))
    with pytest.raises(ConfigError, match=r"window counts the tokens before[\s\S]*window=null"):
        build(ModelConfig, ENCODER | {"attention": {"causal": False, "window": 4}})


@pytest.mark.parametrize("part", [{"segments": 2}, {"head_transform": True}, {"head_bias": True}])
def test_parts_that_the_fast_decoder_does_not_know_are_an_obstacle(part):
    model = Transformer(build(ModelConfig, {"n_layer": 1, **part}), V)
    assert obstacle(model)
    model = Transformer(build(ModelConfig, {"n_layer": 1, "norm": {"embeddings": True}}), V)
    assert obstacle(model)
