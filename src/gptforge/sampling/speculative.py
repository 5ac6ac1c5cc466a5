"""Several tokens in one pass: they are guessed, and the model checks them.

A guess comes from the text's own past, or from a smaller model. Either way it is a certain token, so the acceptance
rule of Leviathan et al. 2023 (arXiv:2211.17192) can be had by drawing as ever and going on for as long as what is
drawn is what was guessed: the text is the one written without guessing.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from gptforge.config import SamplingConfig
from gptforge.model import Transformer
from gptforge.sampling.decode import Decoder
from gptforge.sampling.rows import Row
from gptforge.sampling.samplers import next_tokens

LONGEST, SHORTEST = 12, 3  # tokens that must have stood there before


class Draws:
    """The random numbers of a text's next tokens, which can be looked at before they are used."""

    def __init__(self, row: Row) -> None:
        self._row, self._ahead = row, deque[float]()

    def ahead(self, n: int) -> list[float]:
        """The next n numbers; they stay to be taken."""
        while len(self._ahead) < n:
            self._ahead.append(self._row.draws.random())
        return list(islice(self._ahead, n))

    def take(self) -> float:
        self.ahead(1)
        return self._ahead.popleft()


Guesser = Callable[[Sequence[int], int, Draws], Sequence[int]]  # of a text's tokens, at most so many, and its draws


def lookup(tokens: Sequence[int], most: int, draws: Draws) -> list[int]:
    """Up to `most` tokens that followed the longest and latest earlier occurrence of the text's last tokens.

    Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding).
    """
    text = array("i", tokens)
    content, size = text.tobytes(), text.itemsize
    for length in range(min(LONGEST, len(tokens) - 1), SHORTEST - 1, -1):
        pattern, end = content[-length * size :], len(content) - size
        while (at := content.rfind(pattern, 0, end)) >= 0:
            if at % size == 0:
                first = at // size + length
                return list(tokens[first : first + most])
            end = at + len(pattern) - 1
    return []


class Draft:
    """A smaller model of the same tokens that writes a few of them ahead (Leviathan et al. 2023).

    It draws each by the number that the large model will draw by. What both find likely is then mostly drawn by both,
    so that texts with a temperature are guessed almost as well as greedy ones.
    """

    def __init__(self, model: Transformer, decoder: Decoder, cfg: SamplingConfig) -> None:
        """`decoder` is of that model, for one text."""
        self._decoder, self._cfg = decoder, cfg
        self._block_size, self._vocab_size = model.cfg.block_size, model.vocab_size
        self._start = 0  # of the context that it sees
        self._held: list[int] = []  # what of it is in the decoder

    def __call__(self, tokens: Sequence[int], most: int, draws: Draws) -> list[int]:
        most = min(most, self._block_size // 2)
        new = self._taken_up(tokens, most)
        seen = None
        if self._cfg.repetition_penalty != 1.0:
            seen = torch.zeros(1, self._vocab_size, dtype=torch.bool)
            seen[0, list(tokens)] = True
        guessed: list[int] = []
        for u in draws.ahead(most):
            logits = self._decoder.step([new])[:, -1].cpu()
            self._held += new
            new = [int(next_tokens(logits, seen, self._cfg, torch.tensor([u], dtype=torch.float64)))]
            if seen is not None:
                seen[0, new] = True
            guessed += new
        return guessed

    def _taken_up(self, tokens: Sequence[int], most: int) -> list[int]:
        """Makes the decoder hold a beginning of the text's context; returns the rest, at least one token."""
        if not self._held or len(tokens) + most - self._start > self._block_size:
            room = self._block_size - most
            self._start = len(tokens) - min(len(tokens), max(1, room // 2 if self._held else room))
            self._held = list(tokens[self._start : -1])
            self._decoder.prefill({0: self._held})
        context = list(tokens[self._start :])
        agreed = min(len(self._held), len(context) - 1)
        while self._held[:agreed] != context[:agreed]:  # what was guessed wrong stands at the end
            agreed -= 1
        self._decoder.forget(len(self._held) - agreed)
        self._held = self._held[:agreed]
        return context[agreed:]


def ahead(
    decoder: Decoder, row: Row, cfg: SamplingConfig, guesser: Guesser, most: int, seen: Tensor | None
) -> Iterator[int]:
    """cfg.max_new_tokens tokens of one text, whose context but for its last token is in the decoder."""
    left, draws = cfg.max_new_tokens, Draws(row)
    while left:
        room = min(most, row.block_size - len(row.context), left - 1)
        guessed = guesser(row.tokens, room, draws) if room > 0 else ()
        logits = decoder.step([[row.tokens[-1], *guessed]])[0].cpu()
        for n, of_one in enumerate(logits):
            u = torch.tensor([draws.take()], dtype=torch.float64)
            token = int(next_tokens(of_one[None], seen, cfg, u))
            yield token
            left -= 1
            if seen is not None:
                seen[0, token] = True
            if row.grow(token):
                decoder.prefill({0: row.context[:-1]})
                break
            if n < len(guessed) and token != guessed[n]:
                decoder.forget(len(guessed) - n)
                break
