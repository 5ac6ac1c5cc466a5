"""Keys and values of the tokens seen so far, for decoding one token at a time; knows nothing of the model."""

import torch
from torch import Tensor


class KVCache:
    """Room for `max_len` tokens in every layer, allocated once; `length` of them are filled.

    Every layer of a forward pass appends its keys and values at the same place, then one
    `advance` moves on. It is written in place, so it is for use without gradients.
    """

    def __init__(
        self,
        n_layer: int,
        batch: int,
        n_kv_head: int,
        max_len: int,
        head_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (n_layer, batch, n_kv_head, max_len, head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.max_len = max_len
        self.length = 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values (B, n_kv_head, T, head_dim) of one layer.

        Returns views of all that this layer has, (B, n_kv_head, length + T, head_dim). Raises
        ValueError when the cache is too small.
        """
        end = self.length + k.size(2)
        if end > self.max_len:
            raise ValueError(f"{end} tokens do not fit into a cache of {self.max_len}")
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, n: int) -> None:
        """Count the `n` tokens that every layer has appended."""
        self.length += n

    def reset(self) -> None:
        """Forget all tokens, keep the memory."""
        self.length = 0
