"""What comes with a model: its tokenizer, and what is said where they do not go together."""

from pathlib import Path

import pytest
import torch

import small
from directories import published
from gptforge.checkpoint import load_model
from gptforge.tensors import read_tensors

pytest.importorskip("tokenizers")


@pytest.fixture(autouse=True)
def folder(own_folder) -> Path:
    return own_folder


def test_a_model_may_have_more_rows_than_its_tokenizer_tokens(capsys):
    path = published(320)
    assert small.gptforge("import", "published") == 0
    assert "note: 64 ids of the model stand for no token" in capsys.readouterr().out
    loaded = load_model("latest")
    assert loaded.tokenizer.vocab_size == loaded.model.vocab_size == 320
    assert loaded.tokenizer.decode(torch.tensor([104, 300, 105]).numpy()) == loaded.tokenizer.decode([104, 105])
    assert small.gptforge("sample", "prompt=ab", "max_new_tokens=20", "temperature=9") == 0
    assert small.gptforge("export", "out=again") == 0
    again, before = (read_tensors(folder / "model.safetensors") for folder in (Path("again"), path))
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items()) and len(again) == len(before)


@pytest.mark.parametrize("vocab_size", [200, 3000])
def test_a_tokenizer_that_cannot_be_the_models(vocab_size, capsys):
    published(vocab_size)
    assert small.gptforge("import", "published") == 3
    assert f"the tokenizer has 256 tokens, the model {vocab_size:,}" in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()
