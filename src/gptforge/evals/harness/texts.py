"""Texts that a model writes for tasks: greedily or drawn, up to a stop text. Knows models; not the harness."""

from collections.abc import Mapping, Sequence
from typing import Any

from gptforge.config import SamplingConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, DataError
from gptforge.model import Transformer
from gptforge.sampling import How, escaped, write
from gptforge.tokenizers import Tokenizer

# The names that the harness and the tasks that come with it give to one thing; the first one counts
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
DEFAULT_LENGTH = 256  # the harness's own


def sampling_of(asked: Mapping[str, Any]) -> SamplingConfig:
    """A task's generation_kwargs as gptforge understands them: greedy unless do_sample or a temperature says otherwise.

    Raises DataError for what gptforge cannot do.
    """
    known = {"until", "do_sample", *LENGTHS, *DRAWING}
    if unknown := sorted(asked.keys() - known):
        raise DataError(
            f"a task asks for texts with {', '.join(unknown)}, which gptforge does not know",
            where="generation_kwargs of the task",
            fix=f"a copy of the task's YAML with no more than {', '.join(sorted(known))}",
        )
    until = asked.get("until") or []
    stop = [escaped(text) for text in ([until] if isinstance(until, str) else until) if text]
    drawn = asked.get("do_sample")
    length = next((asked[name] for name in LENGTHS if asked.get(name) is not None), DEFAULT_LENGTH)
    tree = {"max_new_tokens": length, "stop": stop, "temperature": 1.0 if drawn else 0.0}
    tree |= {name: asked[name] for name in DRAWING if asked.get(name) is not None}
    if drawn is False:
        tree["temperature"] = 0.0
    if tree.get("top_k") == 0:  # how transformers says that all are drawn among
        del tree["top_k"]
    try:
        return build(SamplingConfig, tree)
    except ConfigError as e:
        raise DataError(e.what, where="generation_kwargs of a task") from None


def kept(tokens: Sequence[int], new: int, block_size: int) -> Sequence[int]:
    """The end of a context that leaves room for `new` tokens, as the harness has it, but at least half a block.

    Where the text then outgrows block_size, its context moves on as in `gptforge sample`.
    """
    return tokens[-max(block_size - new, block_size // 2, 1) :]


def texts(
    model: Transformer,
    tokenizer: Tokenizer,
    contexts: Sequence[Sequence[int]],
    cfg: SamplingConfig,
    seed: int,
    how: How,
) -> list[str]:
    """What continues each context of at least one token, without the stop text. A text depends on no other."""
    starts = [kept(context, cfg.max_new_tokens, model.cfg.block_size) for context in contexts]
    found = [""] * len(starts)
    for pieces in write(model, tokenizer, starts, cfg, seed, how):
        found = [text + piece for text, piece in zip(found, pieces, strict=True)]
    return found
