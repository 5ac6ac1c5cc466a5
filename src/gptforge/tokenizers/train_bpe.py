"""A BPE vocabulary for a text: how large, and which merges. The same text gives the same ones on any number of cores.

Knows texts as strings that can be read again; not where they come from.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator

from gptforge.config.units import shown_bytes
from gptforge.tokenizers.bpe import SPECIAL_TOKENS, BPETokenizer, library_tokenizers
from gptforge.tokenizers.byte_level import ALPHABET, pieces
from gptforge.tokenizers.vocabulary import Vocabulary

Texts = Callable[[], Iterator[str]]  # the texts from the first to the last, at each call anew

PIECE = 1 << 16  # characters whose words are counted at once
MIN_COUNT = 2  # a pair that stands once in the text is worth no token
AUTO_LEAST, AUTO_MOST = 512, 32_768
BUDGET = 64_000_000  # characters of English that are learnt from; more of them would change few merges
BEYOND_ASCII = 14  # what a further byte of a character costs of the budget


def auto_vocab_size(n_bytes: int) -> int:
    """The power of two nearest to the square root of the text's bytes, within bounds.

    Twice the text has fewer than twice the words worth a token (Heaps' law, about the square root), and the best
    vocabulary grows so with the text that a model of the best size learns (Tao et al. 2024, arXiv:2407.13623): its
    parameters as compute^0.42, width and length of the text as compute^0.21 and ^0.5. On the 1.1 MB of Shakespeare
    512 to 2,048 tokens are within 0.02 bits per byte of each other, 4,096 are 0.07 worse (model=small, 1.5 epochs).
    """
    nearest = 2 ** round(math.log2(math.sqrt(max(1, n_bytes))))
    return min(max(nearest, AUTO_LEAST), AUTO_MOST)


def train(texts: Texts, n_bytes: int, vocab_size: int | None = None, unknown: str = "error") -> BPETokenizer:
    """A BPE of at most `vocab_size` tokens, the 256 bytes and the special ones among them; None: chosen by `n_bytes`.

    A small text gives fewer: merges end where no pair occurs twice. Of a large text a part is learnt from.
    """
    library = library_tokenizers()
    wanted = vocab_size or auto_vocab_size(n_bytes)
    share = _share(texts, n_bytes)
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=wanted - len(SPECIAL_TOKENS),
        min_frequency=MIN_COUNT,
        initial_alphabet=list(ALPHABET),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_spread(texts(), share), trainer)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    vocabulary = Vocabulary.of(merges, SPECIAL_TOKENS)
    return BPETokenizer("bpe", vocabulary, unknown, list(_notes(vocabulary, vocab_size, wanted, n_bytes, share)))


def _notes(vocabulary: Vocabulary, asked: int | None, wanted: int, n_bytes: int, share: float) -> Iterator[str]:
    reached = len(vocabulary.tokens)
    if asked is None:
        yield f"tokenizer.vocab_size={wanted}, chosen for {shown_bytes(n_bytes)} of text to learn"
    if reached < wanted:
        yield f"the tokenizer has {reached} tokens instead of {wanted}: no other pair occurs twice in the text"
    if share < 1:
        yield f"the tokenizer is trained on {share:.0%} of the text, spread evenly over it"


def _share(texts: Texts, n_bytes: int) -> float:
    """Which share of the texts is learnt from."""
    if n_bytes * BEYOND_ASCII <= BUDGET:  # whatever its characters are
        return 1.0
    return min(1.0, BUDGET / max(1, sum(map(_cost, texts()))))


def _cost(text: str) -> int:
    """What a text costs of the budget.

    Words are kept with their counts, at 32 bytes of memory and more for each byte of a word that is new. Scripts that
    put no blanks between words, whose characters have three bytes, give new ones all the time.
    """
    return len(text) + BEYOND_ASCII * (len(text.encode()) - len(text))


def _spread(texts: Iterable[str], share: float) -> Iterator[str]:
    """Pieces of the texts that make up this share of their cost, evenly from the first to the last."""
    due = taken = 0.0
    for text in texts:
        for piece in pieces(text, PIECE):
            cost = _cost(piece)
            due += share * cost
            if taken < due:
                taken += cost
                yield piece
