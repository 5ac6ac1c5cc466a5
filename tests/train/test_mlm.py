"""A run that learns hidden tokens: it learns, its figures say what they are, and it goes on bit for bit."""

import json
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import small
from abreast import DDP, train_all
from gptforge import launch
from gptforge.checkpoint import load_model
from gptforge.config import TrainConfig
from gptforge.config.schema import build
from gptforge.data.batch import IGNORE
from gptforge.data.loader import eval_batches
from gptforge.data.masking import masked, masking_of
from gptforge.data.prepare import prepare
from gptforge.errors import ConfigError
from gptforge.tokenizers.mask import mask_of, without_mask
from gptforge.train import trainer as trainer_module
from gptforge.train.parts import build_parts

MLM = {
    "objective__kind": "mlm", "model__attention__causal": False, "optimizer__lr": 1e-2, "runtime__dtype": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A run of a few steps, in a folder with its text."""
    path = tmp_path_factory.mktemp("hidden")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        Path("text.txt").write_text((string.ascii_lowercase + "\n") * 300)  # those on both sides say all
        keys = MLM | {"train__steps": 60, "eval__every": 20, "model__dropout": 0.0, "train__grad_accum": 1}
        small.trainer(small.config(**keys), "run").fit()
    return path


@pytest.fixture
def here(ground, monkeypatch):
    monkeypatch.chdir(ground)


@pytest.mark.usefixtures("here")
def test_it_learns_and_says_what_its_figures_are_of():
    found, records = small.summary("run"), small.records("run")
    evaluations = [r for r in records if "val_loss" in r]
    assert evaluations[-1]["val_loss"] < 3.0 < math.log(28) < records[0]["train_loss"]
    assert found["val_loss"] == evaluations[-1]["val_loss"] and found["val_bpb"] is None
    assert not any({"val_bpb", "val_ppl"} & r.keys() for r in records)
    assert found["tokens"] == 60 * 8 * 32, "tokens that were read, not those that were hidden"
    assert not Path("run", "passage.json").exists() and not list(Path("run", "samples").glob("*"))
    assert "hidden tokens" in Path("run", "report.html").read_text(encoding="utf-8")
    assert "the initial loss" not in small.log("run")


@pytest.mark.usefixtures("here")
def test_val_loss_is_the_mean_over_the_hidden_tokens_of_the_whole_split():
    loaded = load_model("run")
    cfg, coder = loaded.config, loaded.tokenizer
    data = prepare(cfg.data, cfg.tokenizer, without_mask(coder), clean=cfg.clean)
    masking = masking_of(cfg.objective, coder, None)
    total, n = 0.0, 0
    for batch in masked(eval_batches(data.val, 32, 3), masking):
        with torch.no_grad():
            logits = loaded.model(batch.inputs, documents=batch.documents).double()
        for row, label in zip(logits.flatten(0, 1), batch.labels.flatten().tolist(), strict=True):
            if label != IGNORE:
                total, n = total + float(torch.logsumexp(row, 0) - row[label]), n + 1
                assert label != mask_of(coder)
    assert 0.1 < n / len(data.val) < 0.2
    assert small.summary("run")["val_loss"] == pytest.approx(total / n, rel=1e-5)


@pytest.mark.usefixtures("own_folder")
def test_stopped_and_gone_on_with_it_is_bit_for_bit_the_same():
    small.write_text()
    small.trainer(small.config(**MLM), "uninterrupted").fit()
    assert small.gptforge(*small.typed(small.config(**MLM), "run"), "train.stop_after=5") == 75
    assert small.gptforge("train", "resume=run") == 0
    assert small.course("run") == small.course("uninterrupted")
    assert "gptforge eval ckpt=run" in small.log("run") or "eval" in small.log("run")


@pytest.mark.usefixtures("own_folder")
def test_micro_batches_and_short_sequences_change_nothing():
    """Of 30 tokens the last piece of eight has six, and is filled up with two that nobody sees."""
    small.write_text()
    keys = MLM | {"model__dropout": 0.0, "model__block_size": 30, "train__context_warmup": 4}
    gradients = []
    for accum in (1, 4):
        parts, _ = build_parts(small.config(**keys, train__grad_accum=accum))
        trainer = small.trainer(small.config(**keys, train__grad_accum=accum), f"run-{accum}", parts)
        batch = parts.loader.batch(0)
        total = trainer._gradients(batch, batch.learnt)
        gradients.append([p.grad.clone() for p in parts.model.parameters() if p.grad is not None])
        alone = 0.0  # each piece by itself, without what fills it
        for first in range(0, 30, 8):
            piece, labels = parts.model(batch.inputs[:, first : first + 8]).detach(), batch.labels[:, first : first + 8]
            alone += float(F.cross_entropy(piece.mT, labels, reduction="sum", ignore_index=IGNORE))
        assert float(total) == pytest.approx(alone, rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("own_folder")
def test_with_packing_a_token_sees_its_own_document_alone():
    Path("texts").mkdir()
    for n in range(30):
        small.write_text(Path("texts", f"{n}.txt"), words=12, seed=n)
    cfg = small.config(**MLM, data__path="texts", data__pack="documents", train__steps=2, eval__every=2)
    parts, _ = build_parts(cfg)
    batch = parts.loader.batch(0)
    assert batch.documents is not None and len(batch.documents.unique()) > 8
    row = next(n for n, documents in enumerate(batch.documents) if len(documents.unique()) > 1)
    inputs, documents = batch.inputs[row : row + 1], batch.documents[row : row + 1]
    first = documents[0] == documents[0, 0]
    model = parts.model.eval()
    with torch.no_grad():
        whole, alone = model(inputs, documents=documents)[0, first], model(inputs[:, first])[0]
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    small.trainer(cfg, "run", parts).fit()


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.usefixtures("own_folder")
def test_other_tokenizers_have_a_mask_too(kind):
    small.write_text()
    cfg = small.config(**MLM, tokenizer__kind=kind, train__steps=2, eval__every=2)
    small.trainer(cfg, "run").fit()
    loaded = load_model("run")
    assert loaded.model.vocab_size == loaded.tokenizer.vocab_size == mask_of(loaded.tokenizer) + 1


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"objective": {"kind": "mlm"}}, r"of which model\.attention\.causal=true sees one"),
        ({"model": {"attention": {"causal": False}}}, r"nothing to learn of it[\s\S]*objective=mlm"),
        ({"objective": {"mask_rate": 0.3}}, r"mask_rate is used only with objective=mlm"),
        (
            {"objective": {"kind": "mlm", "random_fraction": 0.3}, "model": {"attention": {"causal": False}}},
            r"more than all[\s\S]*random_fraction=0\.2",
        ),
    ],
)
def test_what_does_not_go_together_is_a_config_error(tree, said):
    with pytest.raises(ConfigError, match=said):
        build(TrainConfig, tree)


@pytest.mark.usefixtures("own_folder")
def test_the_words_of_the_command_line(capsys):
    small.write_text()
    assert small.gptforge("train", "objective=mlm", "model=tiny", "data=text.txt", "dry_run=true", "ui=plain") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "objective 15% of the tokens, by those on both sides" in said
    assert small.gptforge("info", "model=bert_base", "objective=mlm", "vocab_size=30522", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 109_514_298
    words = ["experiment=compare_objectives", "objective=mlm", "data=text.txt", "train.steps=2"]
    assert small.gptforge("train", *words, "dry_run=true", "ui=quiet") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("own_folder")
def test_two_processes_learn_what_one_does():
    small.write_text()
    keys = MLM | {"model__dropout": 0.0, "train__grad_accum": 1, "optimizer__kind": "adamw", "train__steps": 20}
    assert launch.run(train_all, ([("two", small.config(**keys, **DDP))],), 2) == 0
    small.trainer(small.config(**keys), "one").fit()
    for one, two in zip(small.records("one"), small.records("two"), strict=True):
        assert one["tokens"] == two["tokens"]
        for name in ("train_loss", "val_loss"):
            assert one.get(name, 0) == pytest.approx(two.get(name, 0), rel=1e-4)
    assert np.isfinite(small.summary("two")["val_loss"])
