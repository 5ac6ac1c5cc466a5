"""Small models, prompts and their texts: as the engine writes them, and by a loop that knows no cache."""

import random

import torch

from gptforge.config import ModelConfig, SamplingConfig
from gptforge.config.schema import build
from gptforge.model import Transformer
from gptforge.sampling import generate
from gptforge.sampling.samplers import next_tokens

VOCAB = 31
BLOCK = 16
KINDS = {
    "rope": {},
    "learned": {"position": "learned", "bias": True},
    "no positions": {"position": "none"},
    "grouped queries": {"attention": {"n_kv_head": 2, "qk_norm": True}, "rope": {"fraction": 0.5}},
    "window": {"attention": {"window": 5}},
    "post-norm": {"position": "learned", "norm": {"place": "post"}, "bias": True},
    "parallel, rms": {"parallel_residual": True, "norm": {"kind": "rmsnorm"}, "mlp": {"kind": "relu2"}},
    "gated, untied, capped": {"mlp": {"kind": "swiglu"}, "tie_embeddings": False, "logit_softcap": 5.0},
    "odd context": {"block_size": 7},
    "NeoX": {"parallel_residual": True, "norm": {"shared": False}, "bias": True, "mlp": {"kind": "gelu_erf"}},
    "gains": {"attention": {"n_kv_head": 2, "qk_norm": True, "qk_gain": True, "qkv_bias": True}},
    "dense and banded": {"attention": {"window": 5, "dense_every": 2}, "rope": {"scaling": "linear", "factor": 4.0}},
}


def make(vocab: int = VOCAB, **options) -> Transformer:
    tree = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": BLOCK, "init_std": 0.25} | options
    model = Transformer(build(ModelConfig, tree), vocab)
    model.init_weights(torch.Generator().manual_seed(0))
    return model.eval()


def sampling(**changes) -> SamplingConfig:
    return build(SamplingConfig, {"max_new_tokens": 30, "temperature": 0.0} | changes)


def cached(model, prompt, cfg, seed=0) -> list[list[int]]:
    return [list(text) for text in zip(*generate(model, [prompt], cfg, seed), strict=True)]


@torch.no_grad()
def uncached(model, prompt, cfg, seed=0, sample=0) -> tuple[list[int], list[float]]:
    """The whole context anew for each token; also how far the best logit lies above the second."""
    draws = random.Random(f"{seed}/{sample}")
    tokens, gaps = list(prompt), []
    block = model.cfg.block_size
    start = max(0, len(tokens) - block)
    for _ in range(cfg.max_new_tokens):
        logits = model(torch.tensor([tokens[start:]]))[:, -1]
        best = logits[0].topk(2).values
        gaps.append((best[0] - best[1]).item())
        seen = torch.zeros(1, model.vocab_size, dtype=torch.bool)
        seen[0, tokens] = True
        tokens.append(int(next_tokens(logits, seen, cfg, torch.tensor([draws.random()], dtype=torch.float64))))
        if len(tokens) - start > block:
            start = len(tokens) - max(1, block // 2)
    return tokens[len(prompt) :], gaps


def prompts(n: int, seed: int) -> list[list[int]]:
    """Of one token up to twice the context."""
    draws = random.Random(seed)
    return [[draws.randrange(VOCAB) for _ in range(draws.randint(1, 2 * BLOCK))] for _ in range(n)]
