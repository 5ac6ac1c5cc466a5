"""A run that begins with the weights of another one: which they are, what goes with them, and that nothing is lost."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import small
from directories import published
from gptforge.checkpoint import load_model
from gptforge.jsonfile import read_json
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module

BASE = {"model__position": "learned", "model__bias": True, "model__dropout": 0.0}
WORDS = [
    "data=text.txt", "clean=none", "train.steps=6", "train.batch_size=8", "eval.every=3", "checkpoint.every=2",
    "log.every=1", "sample.max_new_tokens=8", "runtime.threads=1", "ui=quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a text and two runs, of which one has learnt positions."""
    path = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        Path("runs").mkdir()
        assert small.gptforge(*small.typed(small.config(**BASE), "runs/base")) == 0
    return path


@pytest.fixture(autouse=True)
def here(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")


def train(*words: str) -> int:
    return small.gptforge("train", "init=base", *WORDS, *words)


def newest() -> Run:
    return Run.find("latest")


def said(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_it_begins_with_those_weights(capsys):
    small.write_text(seed=0)
    assert train("hydra.run.dir=runs/on", "optimizer.lr=1e-9", "optimizer.muon_lr=1e-9") == 0
    begun, base = load_model("on"), load_model("base")
    for name, tensor in begun.model.state_dict().items():
        torch.testing.assert_close(tensor, base.model.state_dict()[name], rtol=0, atol=1e-6)
    assert begun.config.init == "runs/base/checkpoints/step-000012"
    assert begun.config.model.position == "learned" and begun.tokenizer.fingerprint == base.tokenizer.fingerprint
    assert small.records("runs/on")[0]["train_loss"] < small.records("runs/base")[0]["train_loss"] - 0.1
    decided = read_json(newest().decisions, "decisions")
    assert decided["init"]["value"] == small.sha256(Path("runs/base/checkpoints/step-000012/model.safetensors"))
    assert decided["context_warmup"]["value"] == 0
    assert "initial loss" not in said(capsys)


def test_a_run_that_goes_on_no_longer_needs_the_other():
    assert train("hydra.run.dir=runs/whole") == 0
    assert train("hydra.run.dir=runs/half", "train.stop_after=3") == 75
    shutil.move("runs/base", "moved")
    assert small.gptforge("train", "resume=half", "train.stop_after=null") == 0
    assert small.course("runs/half") == small.course("runs/whole")
    decided = [read_json(Path(f"runs/{name}/decisions.json"), "")["init"] for name in ("half", "whole")]
    assert decided[0] == decided[1]


def test_only_what_leaves_the_shapes_may_be_changed(capsys):
    for words, told in (
        (["model=tiny"], "model=tiny: init=base brings its own model"),
        (["tokenizer=byte"], "tokenizer=byte: init=base brings its own tokenizer"),
        (["tokenizer.vocab_size=300"], "tokenizer.vocab_size: init=base brings its own tokenizer"),
        (["model.n_layer=2"], "model.n_layer=2: the weights of init=base are of model.n_layer=1"),
        (["model.n_embd=16", "model.norm.kind=rmsnorm"], "2 problems"),
        (["model.block_size=64"], "model.block_size=64: init=base has learnt 32 positions"),
        (["model.foo=1"], "model.foo"),
        (["experiment=nanogpt_char_cpu"], "model=nanogpt_cpu: init=base brings its own model"),
    ):
        assert train(*words) == 2, words
        assert told in said(capsys)
    assert small.gptforge("train", "init=nowhere", *WORDS) == 4
    assert "there is no run or checkpoint 'nowhere'" in said(capsys)
    assert {path.name for path in Path("runs").iterdir()} <= {"base", "base.json", "latest"}


def test_best_and_copied_checkpoints_and_what_is_neither(capsys):
    assert train("dry_run=true", "model.block_size=16") == 0
    capsys.readouterr()
    assert small.gptforge("train", "init=best", *WORDS, "dry_run=true") == 0
    shutil.copytree("runs/base/checkpoints/step-000012", "elsewhere/step-000012")
    assert small.gptforge("train", "init=elsewhere/step-000012", *WORDS, "train.stop_after=1") == 75
    assert small.gptforge("train", "config=runs/base", "init=latest") == 2
    assert "config= brings its own model" in said(capsys)
    Path("runs/base/checkpoints/best").unlink()
    assert small.gptforge("train", "init=base/best", *WORDS) == 4
    assert "has no best checkpoint yet" in said(capsys)


def test_info_counts_with_the_tokenizer_of_the_other(capsys):
    Path("few.txt").write_text("ab\n" * 2000)
    assert small.gptforge("info", "init=base", "data=few.txt", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["vocab_size"] == load_model("base").tokenizer.vocab_size


def test_a_shorter_context_keeps_the_first_positions():
    assert train("model.block_size=16", "model.dropout=0.1", "optimizer.lr=1e-9", "optimizer.muon_lr=1e-9") == 0
    begun, base = load_model("latest").model, load_model("base").model
    assert begun.cfg.block_size == 16 and begun.cfg.dropout == 0.1
    torch.testing.assert_close(begun.pos_emb.weight, base.pos_emb.weight[:16], rtol=0, atol=1e-6)


def test_other_weights_under_the_same_name_are_noticed(capsys):
    assert train("hydra.run.dir=runs/on") == 0
    assert small.gptforge("reproduce", "on", "ui=quiet", "json=true") == 0
    assert json.loads(capsys.readouterr().out)["same"]
    shutil.rmtree("runs/base")
    assert small.gptforge(*small.typed(small.config(**BASE, seed=5), "runs/base")) == 0
    assert small.gptforge("reproduce", "on", "ui=quiet") == 4
    assert "has other weights than the run began with" in said(capsys)


def test_a_damaged_checkpoint_is_not_passed_over_in_silence(capsys):
    with open("runs/base/checkpoints/step-000012/model.safetensors", "r+b") as f:
        f.seek(-3, 2)
        f.write(b"abc")
    assert train() == 4
    assert "is damaged" in said(capsys)


def test_a_model_of_another_program_is_imported_once(capsys):
    pytest.importorskip("tokenizers")
    published(256)
    words = ["init=published", "model.block_size=16", *WORDS]
    assert small.gptforge("train", *words, "train.stepz=3") == 2
    assert not list(Path("runs").glob("*_import_*"))
    capsys.readouterr()
    assert small.gptforge("train", *words, "train.stop_after=1") == 75
    assert "imported now" in said(capsys)
    assert small.gptforge("train", *words, "dry_run=true") == 0
    assert "imported before" in said(capsys)
    (imported,) = Path("runs").glob("*_import_*")
    assert load_model("latest").config.init == f"{imported}/checkpoints/step-000000"
    (imported / "checkpoints/step-000000/model.safetensors").write_bytes(b"damaged")
    before = Path("runs/latest").read_bytes()
    assert small.gptforge("train", *words, "dry_run=true") == 0
    assert "imported now" in said(capsys) and Path("runs/latest").read_bytes() == before


@pytest.mark.slow
def test_the_points_of_a_sweep_begin_with_one_import():
    pytest.importorskip("tokenizers")
    published(256)
    words = ["init=published", "model.block_size=16", *WORDS, "optimizer.lr=1e-3,2e-3"]
    assert small.gptforge("train", "-m", *words) == 0
    (imported,) = Path("runs").glob("*_import_*")
    points = sorted(Path("runs").glob("sweep_*/[0-9]"))
    assert [load_model(str(point)).config.init for point in points] == [f"{imported}/checkpoints/step-000000"] * 2


def test_an_encoder_is_begun_as_one(capsys):
    cfg = small.config(objective__kind="mlm", model__attention__causal=False)
    assert small.gptforge(*small.typed(cfg, "runs/both")) == 0
    words = ["train", "init=both", *WORDS]
    assert small.gptforge(*words, "objective=next_token") == 2
    assert "init=both is a model of objective=mlm" in said(capsys)
    assert small.gptforge(*words, "objective.mask_rate=0.3") == 0
    assert load_model("latest").config.objective.kind == "mlm"
    assert load_model("latest").config.objective.mask_rate == 0.3
    assert small.gptforge("eval", "latest", "weights=int8") == 2
