"""Text from a model, token by token: each text with its own context, draws and end. Knows no files, no terminal."""

import re
from collections.abc import Collection, Iterator, Sequence

import torch

from gptforge.config import SamplingConfig
from gptforge.errors import ConfigError
from gptforge.model import Transformer
from gptforge.sampling.decode import Decoder, FastDecoder, PlainDecoder, obstacle
from gptforge.sampling.how import How
from gptforge.sampling.rows import Row, mark
from gptforge.sampling.samplers import next_tokens
from gptforge.sampling.speculative import Draft, Guesser, ahead, lookup
from gptforge.tokenizers import StreamDecoder, Tokenizer


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    cfg: SamplingConfig,
    seed: int,
    ended: Collection[int] = (),
    how: How | None = None,
) -> Iterator[Sequence[int | None]]:
    """Yields cfg.max_new_tokens times the next token of each text: cfg.num_samples of each prompt in turn.

    Prompts are of any length (at least one token); a text is the same whatever stands beside it.
    Texts whose numbers the caller puts into `ended` are not continued: None in place of a token.
    With cfg.lookup or a draft model a single text is guessed ahead; texts of a batch are not.
    Keys and values of earlier tokens are cached. When a context is full, its last half is kept and
    computed anew, so texts may grow beyond block_size; a prompt longer than block_size keeps its tail.
    Raises ConfigError for a model that predicts no next token.
    """
    must_write(model)
    how = how or How()
    block_size = model.cfg.block_size
    rows = [Row(prompt, seed, n, block_size) for prompt in prompts for n in range(cfg.num_samples)]
    going = list(range(len(rows)))  # the numbers of the rows that are in the decoder
    decoder = new_decoder(model, [len(row.context) for row in rows], cfg, how)
    decoder.prefill({n: row.context[:-1] for n, row in enumerate(rows)})
    seen = None if cfg.repetition_penalty == 1.0 else mark(rows, model.vocab_size)
    if len(rows) == 1 and (most := guessed_ahead(cfg, how)):
        guesser = guesser_of(rows[0], cfg, how)
        yield from ([token] for token in ahead(decoder, rows[0], cfg, guesser, most, seen))
        return
    for step in range(1, cfg.max_new_tokens + 1):
        logits = decoder.step([rows[n].tokens[-1:] for n in going])[:, -1]
        u = torch.tensor([rows[n].draws.random() for n in going], dtype=torch.float64)
        # on the CPU, where draws are the same for every device
        chosen = next_tokens(logits.cpu(), None if seen is None else seen[going], cfg, u).tolist()
        full = {at for at, n in enumerate(going) if rows[n].grow(chosen[at])}
        new = dict(zip(going, chosen, strict=True))
        yield [None if n in ended else new.get(n) for n in range(len(rows))]
        if step == cfg.max_new_tokens or len(ended) == len(rows):
            return
        if seen is not None:
            seen[list(new), list(new.values())] = True
        left = [at for at, n in enumerate(going) if n not in ended]
        # The cache is copied for it, so not for every row that ends; what is compiled is so for a number of rows
        if 2 * len(left) <= len(going) and how.step != "compiled":
            decoder.keep(left)
            going = [going[at] for at in left]
            full = {at for at, n in enumerate(left) if n in full}
        decoder.prefill({at: rows[going[at]].context[:-1] for at in full})


def guessed_ahead(cfg: SamplingConfig, how: How) -> int:
    """How many tokens of a single text are guessed at once; 0: none."""
    return how.ahead if how.draft else cfg.lookup or 0


def guesser_of(row: Row, cfg: SamplingConfig, how: How) -> Guesser:
    """Who guesses: the draft model if there is one, else the text's own past."""
    if how.draft is None:
        return lookup
    model, of_draft = how.draft
    return Draft(model, new_decoder(model, [len(row.tokens)], cfg, of_draft), cfg)


def must_write(model: Transformer) -> None:
    """Raises ConfigError for an encoder."""
    if not model.cfg.attention.causal:
        what = (
            "this model finds hidden tokens by those on both sides of them (objective=mlm): it predicts no next token"
        )
        raise ConfigError(what, fix=["gptforge eval ckpt=… says how well it finds them", "objective=next_token writes"])


def new_decoder(model: Transformer, contexts: Sequence[int], cfg: SamplingConfig, how: How) -> Decoder:
    """The decoder for rows whose contexts have these lengths."""
    max_len = max(contexts) + cfg.max_new_tokens
    if how.step == "compiled":  # few different lengths, so that what is compiled is found again
        max_len = max(256, 2 ** (max_len - 1).bit_length())
    max_len = min(model.cfg.block_size, max_len)
    if obstacle(model):
        return PlainDecoder(model, len(contexts), max_len)
    return FastDecoder(model, len(contexts), max_len, how.int8, how.step, how.warn, 1 + guessed_ahead(cfg, how))


def generate_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    cfg: SamplingConfig,
    seed: int,
    how: How | None = None,
) -> Iterator[list[str]]:
    """Yields what each text has grown by, as it is written: cfg.num_samples texts of each prompt in turn.

    Ends early once every text has met its end: the end-of-text token or a stop text. Same seed and prompt, same text.
    Dropout is off while it runs. Raises DataError for a prompt that the tokenizer cannot encode.
    """
    prompts = [prompts] if isinstance(prompts, str) else prompts
    yield from write(model, tokenizer, [start_ids(tokenizer, prompt) for prompt in prompts], cfg, seed, how)


def write(
    model: Transformer,
    tokenizer: Tokenizer,
    starts: Sequence[Sequence[int]],
    cfg: SamplingConfig,
    seed: int,
    how: How | None = None,
) -> Iterator[list[str]]:
    """The same from tokens, at least one for each text."""
    writers = [TextWriter(tokenizer, cfg.stop) for _ in range(cfg.num_samples * len(starts))]
    ended: set[int] = set()
    was_training = model.training
    model.eval()
    try:
        for ids in generate(model, starts, cfg, seed, ended, how):
            yield ["" if token is None else writer.add(token) for writer, token in zip(writers, ids, strict=True)]
            ended.update(n for n, writer in enumerate(writers) if writer.done)
            if len(ended) == len(writers):
                return
        yield [writer.finish() for writer in writers]
    finally:
        model.train(was_training)


def unescaped(text: str) -> str:
    """A text as typed in a shell, where \\n and \\t stand for a line break and a tab, and \\\\ for a backslash."""
    return re.sub(r"\\([nt\\])", lambda m: {"n": "\n", "t": "\t", "\\": "\\"}[m[1]], text)


def escaped(text: str) -> str:
    """A text as one would type it in a shell: `unescaped` gives it back."""
    return text.replace("\\", "\\\\")


def start_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt's tokens; for an empty one, what begins a text: bos, a line break, or the first token."""
    ids = [int(i) for i in tokenizer.encode(prompt)]
    if ids:
        return ids
    if tokenizer.bos is not None:
        return [tokenizer.bos]
    return [int(i) for i in tokenizer.encode("\n")] if not tokenizer.missing("\n") else [0]


class TextWriter:
    """Turns one text's tokens into characters; ends it at the end-of-text token or the first stop text, neither shown.

    What might be the beginning of a stop text is held back until it is clear.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.decoder, self.eos = StreamDecoder(tokenizer), tokenizer.eos
        self.stop = [unescaped(s) for s in stop]
        self.held = ""
        self.done = False

    def add(self, token: int) -> str:
        """What the token adds to the text that can be shown."""
        if self.done:
            return ""
        if token == self.eos:
            shown, self.done = self.finish(), True
            return shown
        return self._release(self.decoder.feed([token]))

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
