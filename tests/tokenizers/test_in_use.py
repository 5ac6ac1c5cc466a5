"""BPE in a run: learnt from the training part alone, stored with the checkpoint, streamed, gone on with bit for bit."""

import json
import shutil
from pathlib import Path

import pytest

import small
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.data.prepare import prepare
from gptforge.errors import Stopped
from gptforge.tokenizers import load_tokenizer
from gptforge.tokenizers.train_bpe import train
from gptforge.train import trainer as trainer_module

pytest.importorskip("tokenizers", reason="the extra bpe")

BPE = {"tokenizer__kind": "bpe", "tokenizer__vocab_size": 300, "model__block_size": 16}
SHORT = ["max_new_tokens=30", "runtime.threads=1"]


@pytest.fixture(autouse=True)
def here(own_folder, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.write_text()
    return own_folder


def text_file(text: str) -> DataConfig:
    Path("own.txt").write_bytes(text.encode())
    return DataConfig(source="files", path="own.txt")


def test_only_the_training_part_is_learnt_from(own_cache):
    cfg = text_file("the cat sat\n" * 90 + "zebra quagga\n" * 10)
    told: list[tuple[str, float]] = []
    data = prepare(
        cfg, TokenizerConfig(kind="bpe", vocab_size=400), on_progress=lambda *progress: told.append(progress)
    )
    assert ("learning tokens from", 1.0) in told
    learnt = [token for token in data.tokenizer.to_dict()["tokens"] if token]
    assert "Ġcat" in learnt and not any("ze" in token or "qu" in token for token in learnt)
    whole = data.tokenizer.decode(data.train) + data.tokenizer.decode(data.val)
    assert whole == Path("own.txt").read_bytes().decode()
    boundary = data.tokenizer.decode(data.train)
    by_hand = train(lambda: iter([boundary]), len(boundary), 400)
    assert by_hand.fingerprint == data.tokenizer.fingerprint
    assert data.manifest["vocab_size"] == data.tokenizer.vocab_size < 400
    assert any("instead of 400" in note for note in data.notes)


def test_tokens_do_not_depend_on_how_the_text_is_read():
    """Each line ends a word here, and a piece is at least a line."""
    cfg = text_file("the cat sat on the mat\nand so did the dog\n" * 50)
    tokenizer = TokenizerConfig(kind="bpe", vocab_size=300)
    whole = prepare(cfg, tokenizer)
    parted = prepare(cfg, tokenizer, chunk_bytes=100)
    assert parted.fingerprint == whole.fingerprint
    shutil.rmtree(Path(small.os.environ["GPTFORGE_CACHE"], "tokens", whole.fingerprint))
    assert prepare(cfg, tokenizer, chunk_bytes=100).train.tolist() == whole.train.tolist()


def test_a_run_that_goes_on_is_the_same_bit_for_bit(capsys):
    small.trainer(small.config(**BPE), "whole").fit()
    with pytest.raises(Stopped):
        small.trainer(small.config(**BPE, train__stop_after="5"), "parted").fit()
    assert small.gptforge("train", "resume=parted", "ui=quiet") == 0
    assert small.course("parted") == small.course("whole")
    newest = small.Run(Path("whole")).newest_first()[0]
    tokenizer = load_tokenizer(newest)
    assert (tokenizer.kind, tokenizer.vocab_size) == ("bpe", 300)
    assert 0 < small.summary("whole")["val_bpb"] < 8
    assert list(Path("whole/samples").iterdir())


def test_writing_with_it(capsys):
    small.trainer(small.config(**BPE), "run").fit()
    Path("text.txt").unlink()
    assert small.gptforge("sample", "run", "prompt=漢 é", *SHORT) == 0  # signs that it has not learnt
    text = capsys.readouterr().out
    assert text.startswith("漢 é") and len(text) > 4
    assert small.gptforge("sample", "run", "prompt=漢 é", "sample.stream=false", *SHORT) == 0
    assert capsys.readouterr().out == text
    assert small.gptforge("sample", "run", *SHORT, "json=true") == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "\n"


def test_a_text_of_the_users_that_names_the_special_token():
    Path("text.txt").write_text("a <|endoftext|> b\n" * 300)
    data = prepare(DataConfig(source="files", path="text.txt"), TokenizerConfig(kind="bpe", vocab_size=300))
    assert data.tokenizer.eos not in data.train and "<|endoftext|>" in data.tokenizer.decode(data.train[:50])


def test_gpt2s_vocabulary_in_a_run(capsys):
    """50,257 tokens in two bytes each."""
    cfg = small.config(tokenizer__kind="gpt2", train__steps=1, model__block_size=16, model__n_embd=16, eval__every=1)
    run = small.trainer(cfg, "run")
    assert run.parts.dataset.train.dtype == "uint16" and run.parts.tokenizer.vocab_size == 50_257
    run.fit()
    assert small.gptforge("sample", "run", "prompt=The", "max_new_tokens=5", "runtime.threads=1") == 0
    assert capsys.readouterr().out.startswith("The")


def test_info_counts_with_it(capsys):
    words = ["info", "model=tiny", "data=text.txt", "tokenizer=bpe", "tokenizer.vocab_size=300", "json=true"]
    assert small.gptforge(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["vocab_size"] == 300 and found["data"]["train_tokens"] > 1000
