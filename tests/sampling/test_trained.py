"""A model that has learned a real text: greedy texts of all forms are the same, and eight bits cost next to nothing."""

from pathlib import Path

import pytest
import torch

from gptforge.sampling import How, generate, products, quantize
from gptforge.tokenizers.byte import ByteTokenizer
from writing import cached, make, sampling, uncached

TEXT = (Path(__file__).parents[2] / "docs" / "walk.md").read_text(encoding="utf-8")
BYTES_LOST = 0.002  # nats a byte that eight bits may cost
SHAPE = {"n_layer": 2, "n_embd": 64, "block_size": 64, "init_std": 0.02, "attention": {"qk_norm": True}}


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.tensor([int(i) for i in ByteTokenizer().encode(TEXT)])


@pytest.fixture(scope="module")
def state(tokens) -> dict[str, torch.Tensor]:
    """The weights after 250 steps on all but the last tenth of the text."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make(256, **SHAPE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for _ in range(250):
        starts = torch.randint(0, len(tokens) * 9 // 10 - 65, (16,))
        windows = tokens[starts[:, None] + torch.arange(65)]
        loss = model(windows[:, :-1], targets=windows[:, 1:]) / (16 * 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(before)
    return model.state_dict()


def trained(state):
    model = make(256, **SHAPE)
    model.load_state_dict(state)
    return model


@torch.no_grad()
def loss(model, tokens) -> float:
    held_out = tokens[len(tokens) * 9 // 10 :]
    windows = held_out[: len(held_out) // 65 * 65].view(-1, 65)
    return float(model(windows[:, :-1], targets=windows[:, 1:])) / windows[:, 1:].numel()


def test_eight_bits_cost_next_to_nothing(state, tokens):
    model, rounded = trained(state), trained(state)
    quantize(rounded)
    learned = loss(model, tokens)
    assert learned < 2.6  # nats a byte; it began at 5.5
    difference = loss(rounded, tokens) - learned
    assert difference != 0 and abs(difference) < BYTES_LOST


@pytest.mark.parametrize("packed", [False, True])
def test_greedy_texts_are_those_of_the_model_itself(state, tokens, packed, monkeypatch):
    """Also past the end of the context. Where the two differ, the two likeliest tokens are within 1e-5."""
    if packed and not products.can_pack():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "PACK_BYTES", 0 if packed else 2**60)
    model, cfg = trained(state), sampling(max_new_tokens=100)
    for start in (0, 1000, 5000):
        prompt = tokens[start : start + 30].tolist()
        (mine,), (theirs, gaps) = cached(model, prompt, cfg), uncached(model, prompt, cfg)
        if mine != theirs:
            first = next(n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
            assert gaps[first] < 1e-5


def test_eight_bits_write_nearly_the_text_of_the_rounded_model(state, tokens):
    """The step rounds activations too; of its first tokens most are the likeliest of the rounded model's."""
    model = trained(state)
    rounded, cfg = quantize(model), sampling(max_new_tokens=1)
    same = 0
    for start in range(0, 4000, 200):
        prompt = tokens[start : start + 40].tolist()
        ((token,),) = generate(model, [prompt], cfg, 0, how=How(rounded))
        same += [token] == uncached(model, prompt, cfg)[0]
    assert same >= 18
