"""The baseline: a GPT and its loops as one writes them by hand, with nothing tuned.

The shape and the habits are nanoGPT's (Karpathy 2022, MIT): float32, eager, learned positions, LayerNorm, GELU,
dropout on embeddings, attention weights and residuals, AdamW and clipping, a window drawn at random for each row,
and sampling that computes the whole context for each token. The allocator is the system's. Written for this
benchmark; no gptforge in here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers import Subject


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the model is."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    dropout: float = 0.0


class SelfAttention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_head, self.rate = shape.n_head, shape.dropout
        self.to_qkv = nn.Linear(shape.n_embd, 3 * shape.n_embd, bias=False)
        self.out = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.to_qkv(x).chunk(3, dim=-1))
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
        return self.drop(self.out(y.transpose(1, 2).reshape(B, T, C)))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(shape.n_embd, bias=False) for _ in range(2))
        self.attention = SelfAttention(shape)
        self.feed_forward = nn.Sequential(
            nn.Linear(shape.n_embd, 4 * shape.n_embd, bias=False),
            nn.GELU(),
            nn.Linear(4 * shape.n_embd, shape.n_embd, bias=False),
            nn.Dropout(shape.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class PlainGPT(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.positions = nn.Embedding(shape.block_size, shape.n_embd)
        self.drop = nn.Dropout(shape.dropout)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layer))
        self.norm = nn.LayerNorm(shape.n_embd, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def hidden(self, ids: Tensor) -> Tensor:
        x = self.drop(self.tokens(ids) + self.positions(torch.arange(ids.size(1))))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(self.hidden(ids), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), labels.reshape(-1))

    @torch.no_grad()
    def write(self, ids: Tensor, n: int, temperature: float) -> Tensor:
        """ids (B, T) and n more, each from the whole context anew; 0 is greedy."""
        for _ in range(n):
            x = self.hidden(ids[:, -self.shape.block_size :])[:, -1]
            logits = F.linear(x, self.tokens.weight)
            if temperature:
                chosen = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)
            else:
                chosen = logits.argmax(-1, keepdim=True)
            ids = torch.cat([ids, chosen], dim=1)
        return ids


class RandomWindows:
    """Batches from a made-up text of a million tokens: inputs and labels (B, T), drawn with replacement."""

    def __init__(self, vocab_size: int, block_size: int, batch_size: int) -> None:
        self.text = np.random.default_rng(0).integers(0, vocab_size, 1_000_000, dtype=np.uint16)
        self.block_size, self.batch_size = block_size, batch_size

    def batch(self) -> tuple[Tensor, Tensor]:
        T = self.block_size
        starts = torch.randint(len(self.text) - T - 1, (self.batch_size,)).tolist()
        rows = [torch.from_numpy(self.text[i : i + T + 1].astype(np.int64)) for i in starts]
        whole = torch.stack(rows)
        return whole[:, :-1], whole[:, 1:]


def adamw(model: PlainGPT) -> torch.optim.AdamW:
    """nanoGPT's optimizer: weight decay for matrices only."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))


def training(batch_size: int, **shape: float) -> Subject:
    """A unit is one step of the plain loop."""
    s = Shape(**shape)  # type: ignore[arg-type] - JSON's numbers are those that were written
    model = PlainGPT(s).train()
    optimizer = adamw(model)
    windows = RandomWindows(s.vocab_size, s.block_size, batch_size)

    def steps(n: int) -> None:
        for _ in range(n):
            loss = model.loss(*windows.batch())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not math.isfinite(loss.item()):
                raise FloatingPointError("the plain loop's loss is not finite")

    facts = {"tokens": batch_size * s.block_size, "parameters": sum(p.numel() for p in model.parameters())}
    return Subject(steps, facts)


def sampling(temperature: float, **shape: float) -> Subject:
    """A unit is one token of one text that begins with one token."""
    model = PlainGPT(Shape(**shape)).eval()  # type: ignore[arg-type] - as above
    return Subject(lambda n: model.write(torch.zeros(1, 1, dtype=torch.long), n, temperature), {})
