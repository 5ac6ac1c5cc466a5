"""Text from a model, token by token: prefill, decode with a cache, stop. Knows no files and no terminal."""

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gptforge.config import SamplingConfig
from gptforge.model import Transformer
from gptforge.sampling.samplers import next_tokens
from gptforge.tokenizers import StreamDecoder, Tokenizer


@torch.inference_mode()
def generate(
    model: Transformer, prompt: Sequence[int], cfg: SamplingConfig, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yields cfg.max_new_tokens times the next token of each of cfg.num_samples texts, (num_samples,) ids on the CPU.

    All texts continue the same prompt (at least one token). Keys and values of earlier tokens are
    cached. When the context is full, its last half is kept and computed anew, so texts may grow
    beyond block_size; a prompt longer than block_size keeps its tail.
    """
    block_size = model.cfg.block_size
    device = model.tok_emb.weight.device
    tokens = torch.tensor([list(prompt)]).repeat(cfg.num_samples, 1)
    seen = torch.zeros(cfg.num_samples, model.vocab_size, dtype=torch.bool)
    seen.scatter_(1, tokens, True)
    cache = model.new_cache(cfg.num_samples)
    start = max(0, tokens.size(1) - block_size)  # where the context begins
    fresh = tokens[:, start:]
    for n in range(cfg.max_new_tokens):
        # forward(), not the call: a compiled model would be compiled anew for each length of the cache
        logits = model.forward(fresh.to(device), cache=cache, last_only=True)[:, -1]
        chosen = next_tokens(logits.cpu(), seen, cfg, generator)  # on the CPU draws are the same for every device
        yield chosen
        if n + 1 == cfg.max_new_tokens:
            return
        seen.scatter_(1, chosen[:, None], True)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        fresh = tokens[:, -1:]
        if tokens.size(1) - start > block_size:
            start = tokens.size(1) - max(1, block_size // 2)
            cache.reset()
            fresh = tokens[:, start:]


def generate_text(
    model: Transformer, tokenizer: Tokenizer, prompt: str, cfg: SamplingConfig, seed: int
) -> Iterator[list[str]]:
    """Yields what each text has grown by, as it is written; ends early once every text has met a stop text.

    Same seed, same text. Dropout is off while it runs. Raises DataError for a prompt that the
    tokenizer cannot encode.
    """
    was_training = model.training
    generator = torch.Generator().manual_seed(seed)
    writers = [TextWriter(tokenizer, cfg.stop) for _ in range(cfg.num_samples)]
    model.eval()
    try:
        for ids in generate(model, start_ids(tokenizer, prompt), cfg, generator):
            yield [writer.add(int(token)) for writer, token in zip(writers, ids, strict=True)]
            if all(writer.done for writer in writers):
                return
        yield [writer.finish() for writer in writers]
    finally:
        model.train(was_training)


def unescaped(text: str) -> str:
    """A text as typed in a shell, where \\n and \\t stand for a line break and a tab, and \\\\ for a backslash."""
    return re.sub(r"\\([nt\\])", lambda m: {"n": "\n", "t": "\t", "\\": "\\"}[m[1]], text)


def start_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt's tokens; for an empty one, what begins a text: bos, a line break, or the first token."""
    ids = [int(i) for i in tokenizer.encode(prompt)]
    if ids:
        return ids
    if tokenizer.bos is not None:
        return [tokenizer.bos]
    return [int(i) for i in tokenizer.encode("\n")] if not tokenizer.missing("\n") else [0]


class TextWriter:
    """Turns one text's tokens into characters and ends it at the first stop text, which is not shown.

    What might be the beginning of a stop text is held back until it is clear.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.decoder = StreamDecoder(tokenizer)
        self.stop = [unescaped(s) for s in stop]
        self.held = ""
        self.done = False

    def add(self, token: int) -> str:
        """What the token adds to the text that can be shown."""
        return "" if self.done else self._release(self.decoder.feed([token]))

    def finish(self) -> str:
        """What was held back, at the end."""
        if self.done:
            return ""
        shown = self._release(self.decoder.flush())
        return shown if self.done else shown + self.held

    def _release(self, text: str) -> str:
        self.held += text
        ends = [(at + len(s), at) for s in self.stop if (at := self.held.find(s)) >= 0]
        if ends:  # the one that was complete first, however the text came in pieces
            self.done = True
            shown, self.held = self.held[: min(ends)[1]], ""
            return shown
        hold = max((_overlap(self.held, s) for s in self.stop), default=0)
        split = len(self.held) - hold
        shown, self.held = self.held[:split], self.held[split:]
        return shown


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
