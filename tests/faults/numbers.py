"""N: numbers that are none, or much too large, in the middle of a run."""

import math
import random
from typing import Any

import torch

from faults.suite import Fault
from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.data.batch import Batch
from gptforge.model import Transformer

MARGIN = 0.3  # nats


def initial_loss(draw: random.Random, ground: Any) -> None:
    """A new model of any shape knows nothing yet: its loss is that of equally likely tokens."""
    shape = {
        "n_layer": draw.randint(1, 6),
        "n_head": draw.choice([1, 2, 4]),
        "n_embd": draw.choice([32, 64, 128]),
        "block_size": 32,
        "position": draw.choice(["rope", "learned", "none"]),
        "bias": draw.random() < 0.5,
        "tie_embeddings": draw.random() < 0.5,
        "init_residual": draw.choice(["scaled", "full", "zero"]),
        "norm": {"kind": draw.choice(["layernorm", "rmsnorm"])},
        "mlp": {"kind": draw.choice(["gelu", "relu2", "swiglu"])},
    }
    vocab = draw.choice([65, 256, 2_000, 50_257])
    model = Transformer(build(ModelConfig, shape), vocab)
    model.init_weights(torch.Generator().manual_seed(draw.randrange(2**31)))
    ids = torch.tensor([[draw.randrange(vocab) for _ in range(33)] for _ in range(8)])
    batch = Batch(ids[:, :-1], ids[:, 1:])
    loss = float(model(batch.inputs, targets=batch.labels)) / batch.learnt
    assert abs(loss - math.log(vocab)) < MARGIN, f"{loss:.3f} nats, ln {vocab} is {math.log(vocab):.3f}: {shape}"


FAULTS = [Fault("N3", "a new model's loss is ln(vocabulary)", initial_loss, quick=30, full=30)]
