"""A tokenizer with a mask: the ids of every text stay what they are, and the mask is no text."""

import json

import numpy as np
import pytest

from gptforge.errors import CheckpointError
from gptforge.tokenizers import load_tokenizer
from gptforge.tokenizers.bpe import BPETokenizer
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer
from gptforge.tokenizers.mask import MASK, MaskedTokenizer, mask_of, with_mask, without_mask
from gptforge.tokenizers.vocabulary import CHAT_MARKERS, END_OF_TEXT, Vocabulary

TEXT = "to be or not to be"
BPE = BPETokenizer("bpe", Vocabulary.of(["t o", "b e"], [END_OF_TEXT, *CHAT_MARKERS]), "error", [])


@pytest.mark.parametrize("of", [CharTokenizer(TEXT), ByteTokenizer(), BPE], ids=["char", "byte", "bpe"])
def test_only_the_mask_is_new(of, tmp_path):
    coder = with_mask(of)
    assert coder.vocab_size == of.vocab_size + 1 and mask_of(coder) == of.vocab_size
    assert np.array_equal(coder.encode(TEXT), of.encode(TEXT))
    assert np.array_equal(coder.encode_many([TEXT])[0], of.encode(TEXT))
    ids = [mask_of(coder), *of.encode(TEXT), mask_of(coder)]
    assert coder.decode(ids) == TEXT
    assert coder.token_bytes().tolist() == [*of.token_bytes(), 0]
    assert (coder.eos, coder.bos, coder.special) == (of.eos, of.bos, {**of.special, MASK: of.vocab_size})
    assert without_mask(coder) is of and without_mask(of) is of and coder.missing("☃") == of.missing("☃")
    (tmp_path / "tokenizer.json").write_text(json.dumps(coder.stored()))
    again = load_tokenizer(tmp_path)
    assert isinstance(again, MaskedTokenizer) and again.fingerprint == coder.fingerprint != of.fingerprint
    assert np.array_equal(again.encode(TEXT), of.encode(TEXT))


@pytest.mark.parametrize("name", ["[MASK]", "<mask>"])
def test_a_mask_that_is_there_is_taken(name):
    of = BPETokenizer("hf", Vocabulary.of([], [END_OF_TEXT, name]), "error", [])
    assert with_mask(of) is of and mask_of(of) == 257
    with pytest.raises(ValueError, match="no mask"):
        mask_of(BPE)


@pytest.mark.parametrize("of", [None, 5, {"kind": "masked", "of": {}}, {"kind": "char", "characters": 3}])
def test_what_it_is_of_is_checked(of, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"schema_version": 1, "kind": "masked", "of": of}))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json (holds|is damaged)"):
        load_tokenizer(tmp_path)
