"""gptforge eval of a model that learnt hidden tokens: the loss of its training, a cloze test, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import small
from gptforge.checkpoint import load_model
from gptforge.data.batch import IGNORE
from gptforge.data.loader import eval_batches
from gptforge.data.masking import masked, masking_of
from gptforge.data.prepare import prepare
from gptforge.errors import ConfigError
from gptforge.sampling import generate
from gptforge.tokenizers.mask import mask_of, without_mask
from gptforge.train import trainer as trainer_module
from writing import sampling

MLM = {
    "objective__kind": "mlm", "model__attention__causal": False, "runtime__dtype": "float32", "train__steps": 20,
    "eval__every": 20, "optimizer__lr": 1e-2,
}  # fmt: skip


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    path = tmp_path_factory.mktemp("cloze")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        small.trainer(small.config(**MLM), "runs/one").fit()
    return path


@pytest.fixture(autouse=True)
def here(ground, monkeypatch):
    monkeypatch.chdir(ground)


def evaluated(capsys, *words: str) -> dict:
    assert small.gptforge("eval", "runs/one", "json=true", "runtime.threads=1", *words) == 0
    return json.loads(capsys.readouterr().out)


def test_its_loss_is_that_of_the_run(capsys):
    found = evaluated(capsys)
    assert found["loss"] == pytest.approx(small.summary("runs/one")["val_loss"], rel=1e-5)
    assert not any("bits" in key or "perplexity" in key for key in found)
    low, high = found["intervals"]["loss"]
    assert low < found["loss"] < high and found["bootstrap"]["resamples"] == 1000
    again = evaluated(capsys, "batch_size=1")
    for key in ("loss", "cloze_loss"):
        assert again[key] == pytest.approx(found[key], rel=1e-6)
    assert (again["cloze_top1"], again["cloze_top5"]) == (found["cloze_top1"], found["cloze_top5"])


@torch.no_grad()
def test_a_cloze_test_is_of_what_the_mask_hides(capsys):
    found = evaluated(capsys, "resamples=0")
    loaded = load_model("runs/one")
    cfg, coder = loaded.config, loaded.tokenizer
    data = prepare(cfg.data, cfg.tokenizer, without_mask(coder), clean=cfg.clean)
    right, among, nats = [], [], []
    for batch in masked(eval_batches(data.val, 32, 1), masking_of(cfg.objective, coder, None)):
        log_p = loaded.model(batch.inputs, documents=batch.documents).log_softmax(-1)
        for n in torch.nonzero((batch.labels != IGNORE) & (batch.inputs == mask_of(coder)))[:, 1].tolist():
            label, row = int(batch.labels[0, n]), log_p[0, n]
            better = int((row > row[label]).sum())
            right, among, nats = [*right, better < 1], [*among, better < 5], [*nats, -float(row[label])]
    assert found["hidden_tokens"] == len(right) > 50
    assert found["cloze_loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert (found["cloze_top1"], found["cloze_top5"]) == pytest.approx((np.mean(right), np.mean(among)))
    assert 0 < found["cloze_top1"] < found["cloze_top5"] < 1


def test_it_is_shown_and_drawn(capsys):
    assert small.gptforge("eval", "runs/one", "runtime.threads=1", "data=text.txt", "split=train") == 0
    said = capsys.readouterr().out
    assert "hidden token right" in said and "to be found of" in said and "bits per byte" not in said
    assert small.gptforge("report", "runs/one") == 0
    page = Path("runs/one/report.html").read_text(encoding="utf-8")
    assert "loss of those the mask hid" in page and "bits per byte" not in page
    capsys.readouterr()
    assert small.gptforge("show", "runs/one") == 0
    said = capsys.readouterr().out
    assert "hidden tokens, 15% of all" in said and "gptforge eval ckpt=" in said and "gptforge sample" not in said
    assert small.gptforge("runs") == 0
    assert "mlm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "runs/one", "stride=8"], "stride is of models that predict next tokens"),
        (["sample", "ckpt=runs/one"], "it predicts no next token"),
        (["export", "ckpt=runs/one", "format=gguf"], "no GGUF of an encoder"),
        (["export", "ckpt=runs/one"], "the nearest, bert, lacks"),
    ],
)
def test_what_it_cannot_do_is_refused(words, said, capsys):
    if "format=gguf" in words:
        pytest.importorskip("gguf")
    assert small.gptforge(*words) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.out == "" and "gptforge" in shown.err


def test_it_writes_nothing_from_python_either():
    with pytest.raises(ConfigError, match="it predicts no next token"):
        next(generate(load_model("runs/one").model, [[1]], sampling(), 0))
