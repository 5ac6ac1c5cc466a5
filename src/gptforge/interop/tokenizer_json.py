"""A tokenizer of ours as the tokenizer.json of the package `tokenizers`, to the same ids. Knows its format alone."""

from typing import Any

from gptforge.tokenizers import Tokenizer
from gptforge.tokenizers.bpe import BPETokenizer
from gptforge.tokenizers.byte_level import BYTES
from gptforge.tokenizers.char import CharTokenizer
from gptforge.tokenizers.mask import MASK, MaskedTokenizer

_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of the file. Bytes are a byte-level BPE without merges, characters a BPE without any of bytes."""
    if isinstance(tokenizer, MaskedTokenizer):
        made = of(tokenizer.of)
        made["added_tokens"].append({"id": tokenizer.mask, "content": MASK, **_PLAIN, "special": True})
        return made
    if isinstance(tokenizer, BPETokenizer):
        return _bpe(tokenizer)
    if isinstance(tokenizer, CharTokenizer):
        vocab = {character: i for i, character in enumerate(tokenizer.characters)}
        return _file(vocab, [], None, {"type": "Fuse"}, [])
    words = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return _file(dict(BYTES), [], words, _DECODER, [])


def _bpe(tokenizer: BPETokenizer) -> dict[str, Any]:
    vocabulary = tokenizer.vocabulary
    named = [(content, i, True) for content, i in vocabulary.special.items()]
    named += [(content, i, False) for content, i in vocabulary.added.items()]
    vocab = {token: i for i, token in enumerate(vocabulary.tokens) if token is not None}
    merges = [merge.split(" ") for merge in vocabulary.merges]
    added = [
        {"id": i, "content": content, **_PLAIN, "special": special}
        for content, i, special in sorted(named, key=lambda one: one[1])
    ]
    made = _file(vocab, merges, vocabulary.words, _DECODER, added)
    made["model"]["ignore_merges"] = vocabulary.ignore_merges
    return made


def _file(vocab: dict[str, int], merges: list[list[str]], words: Any, decoder: Any, added: list[Any]) -> dict[str, Any]:
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": vocab, "merges": merges,
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": words, "post_processor": None, "decoder": decoder, "model": model,
    }  # fmt: skip
