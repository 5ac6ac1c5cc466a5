"""gptforge tokenizer report: figures that agree with a count by hand, and a text whose tokens can be seen."""

import io
import json
import os
import pty
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import small
from gptforge.logs.screen import Screen
from gptforge.logs.tokens import show
from gptforge.tokenizers import report
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.char import CharTokenizer
from gptforge.train import trainer as trainer_module

pytest.importorskip("tokenizers", reason="the extra bpe")

BPE = ["tokenizer=bpe", "tokenizer.vocab_size=300"]


@pytest.fixture(autouse=True)
def here(own_folder):
    small.write_text()
    return own_folder


def as_json(capsys, *words: str) -> dict:
    assert small.gptforge("tokenizer", "report", "json=true", *words) == 0
    return json.loads(capsys.readouterr().out)


def told(capsys, *words: str) -> str:
    assert small.gptforge("tokenizer", "report", *words) == 0
    said = capsys.readouterr()
    assert said.err == "" and "\x1b" not in said.out
    return said.out


# The figures ---------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    tokenizer = CharTokenizer("abcé")
    ids = {"train": tokenizer.encode("aabé"), "validation": tokenizer.encode("bb")}
    found = report.describe(tokenizer, ids, [("one", "éé"), ("two", "")], top=2)
    assert found["parts"] == [
        {"name": "train", "bytes": 5, "tokens": 4, "bytes_per_token": 1.25},
        {"name": "validation", "bytes": 2, "tokens": 2, "bytes_per_token": 1.0},
    ]
    assert [part["bytes_per_token"] for part in found["sources"]] == [2.0, 0.0]
    assert (found["unused"], found["unused_examples"]) == (1, [{"id": 2, "text": "c", "bytes": 1, "count": 0}])
    assert [token["text"] for token in found["longest"]] == ["é", "a"]
    assert [(token["text"], token["count"]) for token in found["frequent"]] == [("a", 2), ("b", 1)]


def test_counting_in_portions(monkeypatch):
    ids = np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint16)
    monkeypatch.setattr(report, "_PORTION", 7)
    expected = Counter(ids.tolist())
    assert report._counts(ids, 256).tolist() == [expected[i] for i in range(256)]
    assert report._counts(ids[:0], 3).tolist() == [0, 0, 0]


def test_parts_of_characters_are_shown_as_bytes(capsys):
    assert [token["text"] for token in report.cut(ByteTokenizer(), np.frombuffer("aé".encode(), np.uint8))] == [
        *("a", "<c3>", "<a9>")
    ]
    assert [token["text"] for token in as_json(capsys, "data=text.txt", *BPE, "text=é")["cut"]] == ["<c3>", "<a9>"]


# The command ---------------------------------------------------------------------------------------------------


def test_a_tokenizer_that_training_would_make(capsys):
    found = as_json(capsys, "data=text.txt", *BPE, "top=3", "text=to <|endoftext|>")
    assert (found["kind"], found["vocab_size"], found["text"]) == ("bpe", 300, "text.txt")
    train, val = found["parts"]
    assert train["bytes"] + val["bytes"] == Path("text.txt").stat().st_size
    assert train["bytes_per_token"] == round(train["bytes"] / train["tokens"], 4) > 1.2
    assert "".join(token["text"] for token in found["cut"]) == "to <|endoftext|>"
    assert len(found["longest"]) == len(found["frequent"]) == 3 and found["sources"] == []
    other, own = found["gpt2"]["other"], found["gpt2"]["own"]
    assert other["bytes"] == own["bytes"] == val["bytes"] and own["tokens"] == val["tokens"]
    assert other["name"] == "gpt2" and 1 < other["bytes_per_token"] < 6


def test_special_tokens_are_not_counted_as_unused(capsys):
    found = as_json(capsys, "data=text.txt", *BPE, "top=300")
    assert len(found["unused_examples"]) == found["unused"] > 100
    assert not {token["id"] for token in found["unused_examples"]} & set(found["special"].values())


def test_the_tokenizer_and_the_text_of_a_run(capsys, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.trainer(small.config(tokenizer__kind="bpe", tokenizer__vocab_size=300), "run").fit()
    ours = as_json(capsys, "run")
    assert ours["fingerprint"] == as_json(capsys, "data=text.txt", *BPE)["fingerprint"]
    small.write_text(Path("other.txt"), seed=1)
    theirs = as_json(capsys, "ckpt=run", "data=other.txt")
    assert theirs["fingerprint"] == ours["fingerprint"] and theirs["text"] == "other.txt"
    assert theirs["parts"][0]["bytes_per_token"] < ours["parts"][0]["bytes_per_token"]


def test_files_of_a_folder_are_compared(capsys):
    Path("texts").mkdir()
    for n in range(15):
        small.write_text(Path(f"texts/{n:02}.txt"), words=100, seed=0)
    Path("texts/zz.txt").write_text("QXZ " * 100)
    Path("texts/empty.txt").write_text("")
    found = as_json(capsys, "data=texts", *BPE)
    assert len(found["sources"]) == 16
    out = told(capsys, "data=texts", *BPE)
    assert "zz.txt" in out and "and 4 more" in out


def test_for_people(capsys):
    out = told(capsys, "data=text.txt", *BPE, "text=the\tend\n")
    for word in ("bpe: 300 tokens", "<|im_end|>", "train", "validation", "GPT-2", "unused", "longest", "frequent"):
        assert word in out
    assert out.splitlines()[-2].replace("│", "") == "the\\tend⏎" and out.endswith("⏎\n\n")
    assert "GPT-2" not in told(capsys, "data=text.txt", *BPE, "gpt2=false")
    assert "GPT-2" not in told(capsys, "data=text.txt", "tokenizer=gpt2", "top=0")


def test_without_network_it_says_so(capsys, own_cache, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    out = told(capsys, "data=text.txt", *BPE)
    assert "not compared: GPT-2's vocabulary could not be fetched" in out and "frequent" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["data=missing.txt"], 3, "missing.txt"),
        (["nowhere"], 4, "nowhere"),
        (["data=text.txt", "tokenizer=char", "text=漢"], 3, "U+6F22"),
        (["data=text.txt", "top=-1"], 2, "at least 0"),
        (["data=text.txt", "tokenizer=hf", "tokenizer.path=text.txt"], 3, "no JSON"),
        (["ckpt=latest", "tokenizer=bpe"], 2, "is the checkpoint's"),
    ],
)
def test_wrong_values(capsys, words, code, said):
    assert small.gptforge("tokenizer", "report", *words) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) <= 8


# Terminals -----------------------------------------------------------------------------------------------------


def found_of(*texts: str) -> dict:
    part = {"name": "train", "bytes": 10, "tokens": 5, "bytes_per_token": 2.0}
    token = {"id": 0, "text": "é\n", "bytes": 3, "count": 2}
    return {
        "kind": "bpe", "vocab_size": 300, "special": {}, "text": "text", "notes": [], "parts": [part], "sources": [],
        "gpt2": None, "unused": 1, "unused_examples": [token], "longest": [token], "frequent": [token],
        "cut": [{"id": n, "text": text} for n, text in enumerate(texts)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "expected", "quoted"),
    [("utf-8", "a│⏎\n│é\\t│\\x1b", "'é\\n'"), ("ascii", "a|\\n\n|\\xe9\\t|\\x1b", "'\\xe9\\n'")],
)
def test_tokens_are_parted_and_nothing_is_obeyed(encoding, expected, quoted):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(found_of("a", "\n", "é\t", "\x1b"), Screen(stream))
    stream.flush()
    out = stream.buffer.getvalue().decode(encoding)
    assert out.endswith(f"\n{expected}\n") and quoted in out and "\x1b" not in out


def test_on_a_terminal_tokens_have_colors():
    def shown(**env: str) -> str:
        main, other = pty.openpty()
        command = small.command("tokenizer", "report", "data=text.txt", *BPE, "gpt2=false", "text=the end of it")
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **env}
        with subprocess.Popen(command, stdout=other, stderr=other, env=environment) as process:
            os.close(other)
            out = b""
            while True:
                try:
                    read = os.read(main, 65536)
                except OSError:  # the other end is closed
                    break
                if not read:
                    break
                out += read
        os.close(main)
        assert process.returncode == 0, out
        return out.decode()

    colored = shown()
    assert "\x1b[30;48;" in colored and "│" not in colored.splitlines()[-1]
    assert "\x1b" not in (plain := shown(NO_COLOR="1")) and "│" in plain.splitlines()[-1]
