"""The decoder: its parts, its key/value cache and what it costs; knows nothing of data, tokenizers or training."""

from gptforge.model.cache import KVCache
from gptforge.model.transformer import Transformer, param_roles, row_splits

__all__ = ["KVCache", "Transformer", "param_roles", "row_splits"]
