"""Several tokens in one pass: the text's own past is taken as a guess, and the model checks it.

Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding): what followed
the last few tokens when they stood there before is the guess. A guess is a certain token, so the
acceptance rule of Leviathan et al. 2023 (arXiv:2211.17192) can be had by drawing as ever and going
on for as long as what is drawn is what was guessed: the text is the one written without guessing.
"""

from array import array
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gptforge.config import SamplingConfig
from gptforge.sampling.decode import Decoder
from gptforge.sampling.rows import Row
from gptforge.sampling.samplers import next_tokens

LONGEST, SHORTEST = 12, 3  # tokens that must have stood there before


def guess(tokens: Sequence[int], most: int) -> list[int]:
    """Up to `most` tokens that followed the longest and latest earlier occurrence of the text's last tokens."""
    if most < 1:
        return []
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


def with_lookup(decoder: Decoder, row: Row, cfg: SamplingConfig, most: int, seen: Tensor | None) -> Iterator[int]:
    """cfg.max_new_tokens tokens of one text, whose context but for its last token is in the decoder."""
    left = cfg.max_new_tokens
    while left:
        room = row.block_size - len(row.context)
        guessed = guess(row.tokens, min(most, room, left - 1))
        logits = decoder.step([[row.tokens[-1], *guessed]])[0].cpu()
        for n, of_one in enumerate(logits):
            u = torch.tensor([row.draws.random()], dtype=torch.float64)
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
