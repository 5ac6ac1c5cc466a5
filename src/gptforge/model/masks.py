"""Which token sees which, and what position it has; knows indices only, not the model."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_positions(length: int, start: int, documents: Tensor | None, device: torch.device) -> Tensor:
    """Positions of `length` tokens that follow `start` earlier ones: (T,).

    With `documents` (B, T), the number of the document that each token belongs to, counting
    begins anew wherever that number changes: (B, T).
    """
    index = torch.arange(start, start + length, device=device)
    if documents is None:
        return index
    begins = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return index - torch.where(begins, index, 0).cummax(dim=1).values


def both_sides(documents: Tensor | None) -> Tensor | None:
    """The mask of tokens that see those before and after them: None for all, (B, 1, T, T) within `documents` (B, T)."""
    return None if documents is None else documents[:, None, :, None] == documents[:, None, None, :]


def causal_mask(
    queries: int, keys: int, window: int | None, documents: Tensor | None, device: torch.device
) -> Tensor | None:
    """True where a query may see a key: (T, S), or (B, 1, T, S) with `documents` (B, T).

    The queries are the last of the keys. A `window` counts the token itself, as in Mistral
    (Jiang et al. 2023). None stands for the cases in which fused kernels need no mask: all keys
    up to the query itself with as many queries as keys, and a single query that sees everything.
    """
    # What writes the model down for other programs has one way for all lengths: none may be asked for
    if not torch.compiler.is_exporting():
        limited = window is not None and window < keys
        if documents is None and not limited and queries in (1, keys):
            return None
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)
    mask = key <= query
    if window is not None:
        mask = mask & (key > query - window)
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    return mask
