"""How one tensor of ours is made of others, and they of it again. Knows shapes, not which model they belong to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptforge.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Same:
    """One of ours is one of theirs; with `turned` theirs has inputs in rows and outputs in columns."""

    ours: str
    theirs: str
    turned: bool = False

    @property
    def names(self) -> list[str]:
        return [self.theirs]

    def joined(self, found: Sequence[Tensor]) -> Tensor:
        return found[0].t().contiguous() if self.turned else found[0]

    def parted(self, own: Tensor) -> list[Tensor]:
        return [own.t().contiguous() if self.turned else own]


@dataclass(frozen=True, slots=True)
class Stacked:
    """One of ours has several of theirs on top of each other, with so many rows each.

    `turned_heads`, if there are any, are how many heads each has whose rotated pairs of rows stand beside each other in
    theirs (as llama.cpp has Llama's) and one in each half of the head in ours; 0 for none.
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...]
    turned_heads: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.theirs)

    def joined(self, found: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._swapped(part, n, -1, 2) for n, part in enumerate(found)])

    def parted(self, own: Tensor) -> list[Tensor]:
        return [self._swapped(part, n, 2, -1).contiguous() for n, part in enumerate(own.split(self.rows))]

    def _swapped(self, x: Tensor, part: int, outer: int, inner: int) -> Tensor:
        heads = self.turned_heads[part] if self.turned_heads else 0
        return x.view(heads, outer, inner, *x.shape[1:]).transpose(1, 2).reshape(x.shape) if heads else x


@dataclass(frozen=True, slots=True)
class Piled:
    """One of ours has several of theirs along a first dimension of its own: a matrix of each expert."""

    ours: str
    theirs: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return list(self.theirs)

    def joined(self, found: Sequence[Tensor]) -> Tensor:
        if len({tensor.shape for tensor in found}) > 1:  # of none that the model has
            return found[0].new_empty(0)
        return torch.stack(list(found))

    def parted(self, own: Tensor) -> list[Tensor]:
        return [part.contiguous() for part in own]


@dataclass(frozen=True, slots=True)
class ByHead:
    """Queries, keys and values: ours are all queries, all keys, all values; theirs those three of each head in turn."""

    ours: str
    theirs: str
    n_head: int

    @property
    def names(self) -> list[str]:
        return [self.theirs]

    def joined(self, found: Sequence[Tensor]) -> Tensor:
        return self._swapped(found[0], self.n_head, 3)

    def parted(self, own: Tensor) -> list[Tensor]:
        return [self._swapped(own, 3, self.n_head)]

    def _swapped(self, x: Tensor, outer: int, inner: int) -> Tensor:
        return x.view(outer, inner, -1, *x.shape[1:]).transpose(0, 1).reshape(x.shape).contiguous()


Link = Same | Stacked | Piled | ByHead
Links = Callable[[ModelConfig], Iterator[Link]]
