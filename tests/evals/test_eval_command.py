"""gptforge eval, from the words typed to what is on stdout and in the run."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import small
from gptforge.checkpoint import commit, load_model
from gptforge.errors import MAX_LINES
from gptforge.evals.figures import figures
from gptforge.runs import Run
from gptforge.tensors import tensor_bytes
from gptforge.train import trainer as trainer_module

QUICK = ["runtime.threads=1"]
FIGURES = set(figures(np.ones(6)))


def trained(folder: Path, name: str = "runs/first", **changes) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        small.trainer(small.config(runtime__dtype="float32", optimizer__lr=1e-2, **changes), name).fit()
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def folder(prepared, own_folder) -> Path:
    shutil.copytree(prepared / "runs", own_folder / "runs")
    shutil.copy(prepared / "text.txt", own_folder)
    return own_folder


def evaluated(capsys, *words: str) -> dict:
    assert small.gptforge("eval", "json=true", *QUICK, *words) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, code: int, *words: str) -> str:
    before = sorted(Path().rglob("*"))
    assert small.gptforge("eval", *QUICK, *words) == code
    said = capsys.readouterr()
    assert said.out == "" and "internal error" not in said.err
    assert len(said.err.rstrip().splitlines()) <= MAX_LINES * 2 and sorted(Path().rglob("*")) == before
    return " ".join(said.err.split())


# Numbers -----------------------------------------------------------------------------------------------------


def test_what_eight_bits_cost(folder, capsys):
    plain, rounded = evaluated(capsys), evaluated(capsys, "weights=int8")
    assert plain["how"]["weights"] is None and plain["how"]["loss_of_float_weights"] is None
    assert rounded["how"]["weights"] == "int8"
    assert rounded["how"]["loss_of_float_weights"] == pytest.approx(plain["loss"], rel=1e-12)
    assert 0 < abs(rounded["loss"] - plain["loss"]) < 0.02
    assert small.gptforge("eval", "weights=int8", "runtime.threads=1") == 0
    more = rounded["loss"] - plain["loss"]
    assert f"weights of eight bits: {more:+.4f} beside the loss of float weights" in capsys.readouterr().out


def test_it_finds_what_the_run_found(folder, capsys):
    found, summary = evaluated(capsys), small.summary("runs/first")
    assert found["loss"] == pytest.approx(summary["val_loss"], rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(summary["val_bpb"], rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["checkpoint"]["step"] == summary["steps"] == 12
    assert {"dtype": "float32", "block_size": 32, "stride": 32}.items() <= found["how"].items()
    assert found["text"]["split"] == "val" and found["text"]["scored_tokens"] == found["text"]["tokens"] - 1
    assert found["text"]["scored_tokens"] == sum(group["tokens"] for group in found["by_context"])
    for name in FIGURES:
        low, high = found["intervals"][name]
        assert low < found[name] < high
    assert {b["name"] for b in found["baselines"]} == {"uniform", "unigram", "5-gram", "gzip", "xz", "xz, trained"}


def test_the_weights_are_those_that_are_averaged(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(trained(tmp_path, optimizer__ema_decay=0.9))
    assert evaluated(capsys)["loss"] == pytest.approx(small.summary("runs/first")["val_loss"], rel=1e-6)


def test_the_batch_size_changes_no_number(folder, capsys):
    def numbers(batch_size: int, *words: str) -> dict:
        found = evaluated(capsys, f"batch_size={batch_size}", "baselines=false", *words)
        assert found["how"].pop("batch_size") == batch_size
        return {k: v for k, v in found.items() if k not in ("seconds", "tokens_per_second")}

    for words in ([], ["stride=7"]):
        first, *others = [numbers(n, *words) for n in (1, 3, 8, 64)]
        for other in others:
            assert {k: other[k] for k in FIGURES} == pytest.approx({k: first[k] for k in FIGURES}, abs=1e-7)
            assert other["accuracy_top1"] == first["accuracy_top1"]
            assert [p["token"] for p in other["passages"]["worst"]] == [p["token"] for p in first["passages"]["worst"]]
            assert other["text"] == first["text"] and other["bootstrap"] == first["bootstrap"]


def test_more_context_costs_more_and_is_said(folder, capsys):
    found = evaluated(capsys, "stride=4", "baselines=false")
    assert found["how"]["least_context"] == 28 and found["how"]["times_read"] == pytest.approx(8, rel=0.05)
    assert {group["to"]: group["tokens"] for group in found["by_context"]}[16] == 8  # in the first window alone
    assert small.gptforge("eval", *QUICK, "stride=4", "baselines=false") == 0
    said = capsys.readouterr()
    assert "after the first window every token has at least 28 before it; each is read 7.7 times" in said.out
    assert "stride=4: each token is read 8 times, which takes so many times as long" in " ".join(said.err.split())
    assert small.gptforge("eval", *QUICK, "stride=16", "baselines=false") == 0
    assert "takes so many times" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("known", ["uniform", "unigram"])
def test_models_of_known_probabilities(tmp_path, capsys, monkeypatch, kind, known):
    """A head that reads a constant gives every token a probability that is known: bits per byte by hand."""
    monkeypatch.chdir(trained(tmp_path, model__bias=True, model__tie_embeddings=False, tokenizer__kind=kind))
    loaded = load_model("runs/first")
    model, vocab_size = loaded.model, loaded.tokenizer.vocab_size
    p = np.full(vocab_size, 1 / vocab_size) if known == "uniform" else np.arange(1, vocab_size + 1, dtype=float)
    p /= p.sum()
    with torch.no_grad():
        model.final_norm.weight.zero_()
        model.final_norm.bias.zero_()
        model.final_norm.bias[0] = 1.0
        model.head.weight.zero_()
        model.head.weight[:, 0] = torch.from_numpy(np.log(p))
    files = {path.name: path.read_bytes() for path in loaded.path.iterdir() if path.name != "MANIFEST.json"}
    commit(Run(Path("runs/first")), 13, files | {"model.safetensors": tensor_bytes(model.state_dict())})
    Path("new.txt").write_text("some text that is new\n" * 9, encoding="utf-8")
    found = evaluated(capsys, "data=new.txt", "tokenizer.unknown=skip", "resamples=0")
    ids = loaded.tokenizer.encode("some text that is new\n" * 9)[1:]
    assert found["checkpoint"]["step"] == 13
    assert found["bits_per_byte"] == pytest.approx(-np.log2(p)[ids].sum() / len(ids), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(found["bits_per_byte"])
    likeliest = [0] if known == "uniform" else [vocab_size - 1]
    assert found["accuracy_top1"] == np.isin(ids, likeliest).mean()
    top = range(5) if known == "uniform" else range(vocab_size - 5, vocab_size)
    assert found["accuracy_top5"] == np.isin(ids, list(top)).mean()
    assert found["intervals"] == {} and found["bootstrap"]["resamples"] == 0


# Which model, which text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ckpt", ["latest", "first", "runs/first", "first/latest", "runs/first/checkpoints/step-000012"]
)
def test_ways_to_name_a_model(folder, capsys, ckpt):
    shutil.rmtree("runs/latest", ignore_errors=True)
    Path("runs/latest").write_text("first\n", encoding="utf-8")
    assert evaluated(capsys, ckpt, "baselines=false")["checkpoint"]["step"] == 12


def test_the_best_one(folder, capsys):
    best = Run(Path("runs/first")).pointer("best")
    assert evaluated(capsys, "ckpt=first/best", "baselines=false")["checkpoint"]["step"] == best


def test_a_folder_of_texts(folder, capsys):
    for n in range(25):
        path = Path("texts", f"{n % 3}", f"{n}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        small.write_text(path, words=40, seed=n if n < 20 else 0)
    found = evaluated(capsys, "data=texts")
    assert found["bootstrap"]["units"] == "25 documents" and found["text"]["documents"] == 25
    assert len(found["by_source"]) == 25
    assert sum(f["tokens"] for f in found["by_source"]) == found["text"]["scored_tokens"]
    assert found["by_source"][0]["source"].count("/") == 1
    assert small.gptforge("eval", *QUICK, "data=texts") == 0
    said = capsys.readouterr().out
    assert "by file, the worst 10 of 25" in said and "25 documents; windows of 32" in said


def test_text_that_is_partly_known_is_said_to_be(folder, capsys):
    Path("new.txt").write_text(Path("text.txt").read_text(encoding="utf-8")[:3000] + "abc " * 100, encoding="utf-8")
    assert small.gptforge("eval", *QUICK, "data=new.txt") == 0
    assert "of the passages of 64 tokens are in the training text too" in " ".join(capsys.readouterr().err.split())


def test_without_the_training_text_it_says_what_is_missing(folder, capsys):
    Path("text.txt").unlink()
    small.write_text(Path("new.txt"), seed=5)
    found = evaluated(capsys, "data=new.txt")
    assert {b["name"] for b in found["baselines"]} == {"uniform", "gzip", "xz"}
    assert found["text"]["seen_share"] is None and "there is no file" in found["text"]["training_text"]
    assert small.gptforge("eval", *QUICK, "data=new.txt") == 0
    assert "no unigram and n-gram: the model's own text cannot be read" in capsys.readouterr().out


def test_characters_that_are_left_out_are_counted(folder, capsys):
    Path("new.txt").write_text("Über die Äpfel\n" * 30, encoding="utf-8")
    assert "tokenizer.unknown=skip" in refused(capsys, 3, "data=new.txt")
    assert small.gptforge("eval", *QUICK, "data=new.txt", "unknown=skip") == 0
    assert "60 characters that the vocabulary lacks are left out" in " ".join(capsys.readouterr().err.split())
    found = evaluated(capsys, "data=new.txt", "unknown=replace")
    assert found["text"]["left_out"] == 60 and found["text"]["tokens"] == 450


# What is written ---------------------------------------------------------------------------------------------


def test_the_result_is_in_the_run(folder, capsys):
    found = evaluated(capsys)
    name = f"eval-000012-text.txt-val-{found['text']['sha256'][:8]}.json"
    assert json.loads(Path("runs/first", name).read_text(encoding="utf-8")) == found
    evaluated(capsys, "stride=16", "baselines=false")
    assert {p.name for p in Path("runs/first").glob("eval-*")} == {name, name.replace("-val-", "-val-stride16-")}
    assert not list(Path("runs/first").glob(".tmp*"))


def test_or_elsewhere(folder, capsys):
    found = evaluated(capsys, "out=mine.json", "baselines=false")
    assert json.loads(Path("mine.json").read_text(encoding="utf-8")) == found
    Path("results").mkdir()
    evaluated(capsys, "out=results", "baselines=false")
    assert len(list(Path("results").iterdir())) == 1 and not list(Path("runs/first").glob("eval-*"))


def test_a_result_that_cannot_be_stored_is_shown_all_the_same(folder, capsys, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("gptforge.evals.show.write_json", full)
    assert small.gptforge("eval", *QUICK, "baselines=false") == 5
    said = capsys.readouterr()
    assert "bits per byte" in said.out and "No space left on device" in said.err and "out=PATH" in said.err


def test_plain_text_in_a_pipe(folder):
    process = small.start("eval", *QUICK, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "\x1b" not in out + err and "stored in" in err
    for words in ("first, step 12, on the validation part of text.txt", "bits per byte", "95% interval", "5-gram"):
        assert words in out
    for words in ("loss by context", "worst passages", "best passages", ">>>", "tokens in"):
        assert words in out
    assert max(map(len, out.splitlines()[:25])) <= 120


def test_nothing_of_a_text_reaches_the_terminal_as_a_command(folder, capsys):
    Path("new.txt").write_text("a\x1b[31mred\x07\n" * 40 + "plain text " * 30, encoding="utf-8")
    assert small.gptforge("eval", *QUICK, "data=new.txt", "unknown=replace") == 0
    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)


def test_drawn_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr("gptforge.logs.screen.Screen.can_draw", lambda self: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert small.gptforge("eval", *QUICK) == 0
    out = capsys.readouterr().out
    assert "\x1b[1" in out and "the model" in out and "─" in out


# What cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ["stride=33"], "stride=32 or less"),
        (2, ["stride=0"], "at least 1"),
        (2, ["batch_size=0"], "at least 1"),
        (2, ["split=test"], "not one of val, train, all"),
        (2, ["confidence=1"], "less than 1"),
        (2, ["data.val_fraction=0.2"], "used only with data="),
        (2, ["data.path=text.txt"], "used only with data="),
        (2, ["out=nowhere/x.json"], "there is no folder"),
        (2, ["-m", "stride=1,2"], "eval has no -m"),
        (3, ["data=text.txt"], "is the text that the model learnt from"),
        (3, ["data=empty"], "has no files"),
        (3, ["data=nothing.txt"], "is empty"),
        (3, ["data=one.txt"], "has 1 token, at least 2 are needed"),
        (3, ["data=missing.txt"], "there is no file or folder"),
        (3, ["data=binary.bin"], "NUL"),
        (4, ["ckpt=nowhere"], "there is no run or checkpoint 'nowhere'"),
    ],
)
def test_wrong_words_have_one_message_and_leave_nothing(folder, capsys, code, words, said):
    Path("empty").mkdir()
    Path("nothing.txt").touch()
    Path("one.txt").write_text("a", encoding="utf-8")
    Path("binary.bin").write_bytes(bytes(range(256)))
    assert said in refused(capsys, code, *words)


def test_a_place_that_is_no_file(folder, capsys):
    import os

    os.mkfifo("pipe")
    assert "neither a file nor a folder" in refused(capsys, 2, "out=pipe")


def test_no_run_at_all(own_folder, capsys):
    assert "there is no run yet" in refused(capsys, 4)


def test_a_damaged_checkpoint(folder, capsys):
    for path in Path("runs/first/checkpoints").glob("step-*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "no checkpoint is sound" in refused(capsys, 4)


def test_weights_that_give_no_number(folder, capsys):
    loaded = load_model("runs/first")
    with torch.no_grad():
        loaded.model.tok_emb.weight[3] = math.nan
    files = {path.name: path.read_bytes() for path in loaded.path.iterdir() if path.name != "MANIFEST.json"}
    commit(Run(Path("runs/first")), 13, files | {"model.safetensors": tensor_bytes(loaded.model.state_dict())})
    assert "not finite" in refused(capsys, 6)
