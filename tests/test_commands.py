"""gptforge sample and gptforge info, from the words typed to what is on stdout."""

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import small
from gptforge.notices import slow_work
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module

SHORT = ["max_new_tokens=40", "runtime.threads=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs/ in it, as training leaves it: one run, its best checkpoint before its newest."""
    path = tmp_path_factory.mktemp("sampled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        trainer = small.trainer(small.config(train__steps=12, optimizer__lr=1e-2), "runs/first")
        losses = trainer.evaluator.losses
        worse = iter([0.0, 0.0, 5.0])

        def judged():
            val, train = losses()
            return type(val)(val.loss + next(worse), val.tokens, val.bytes), train

        patch.setattr(trainer.evaluator, "losses", judged)
        trainer.fit()
    return path


@pytest.fixture(autouse=True)
def folder(trained, own_folder):
    shutil.copytree(trained / "runs", own_folder / "runs")
    shutil.copy(trained / "text.txt", own_folder)
    return own_folder


def sampled(capsys, *words: str) -> str:
    assert small.gptforge("sample", *SHORT, *words) == 0
    return capsys.readouterr().out


def as_json(capsys, *words: str) -> list[dict]:
    return [json.loads(line) for line in sampled(capsys, "json=true", *words).splitlines()]


# Which model -------------------------------------------------------------------------------------------------


def test_the_newest_of_the_latest_run_by_default(capsys):
    (found,) = as_json(capsys, "prompt=the")
    assert found["step"] == 12
    assert Path(found["checkpoint"]).parts[-3:] == ("first", "checkpoints", "step-000012")
    assert as_json(capsys, "ckpt=latest", "prompt=the") == [found]


@pytest.mark.parametrize(
    ("ckpt", "step"),
    [
        ("best", 8),
        ("first", 12),
        ("runs/first", 12),
        ("first/best", 8),
        ("first/latest", 12),
        ("runs/first/checkpoints/step-000008", 8),
    ],
)
def test_other_ways_to_name_one(capsys, ckpt, step):
    assert Run(Path("runs/first")).pointer("best") == 8
    (found,) = as_json(capsys, f"ckpt={ckpt}", "prompt=the")
    assert found["step"] == step
    assert found["text"].startswith("the") and len(found["text"]) == 3 + 40


def test_a_run_that_is_not_there(capsys):
    assert small.gptforge("sample", "ckpt=nowhere", "prompt=x") == 4
    said = capsys.readouterr()
    assert "nowhere" in said.err and "first" in said.err and said.out == ""
    shutil.rmtree("runs")
    assert small.gptforge("sample", "prompt=x") == 4
    assert "there is no run yet" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_only_the_checkpoint_is_needed(capsys):
    before = sampled(capsys, "prompt=the")
    for path in Path("runs/first").iterdir():
        if path.is_file() and path.name != "config.json":
            path.unlink()
    Path("text.txt").unlink()
    assert sampled(capsys, "ckpt=first", "prompt=the") == before


# Texts -------------------------------------------------------------------------------------------------------


def test_the_text_is_the_prompt_and_what_follows(capsys):
    text = sampled(capsys, "prompt=the")
    assert text.startswith("the") and text.endswith("\n") and len(text) == 3 + 40 + 1
    assert sampled(capsys, "prompt=the") == text
    assert sampled(capsys, "prompt=the", "seed=2") != text
    assert sampled(capsys, "prompt=the", "sample.stream=false") == text


def test_without_a_prompt_it_begins_with_a_line_break(capsys):
    assert sampled(capsys).startswith("\n")


def test_several_samples_are_parted(capsys):
    texts = sampled(capsys, "prompt=the", "num_samples=3").split("\n---\n")
    assert len(texts) == 3 and all(text.startswith("the") for text in texts)
    found = as_json(capsys, "prompt=the", "num_samples=3")
    assert [entry["sample"] for entry in found] == [0, 1, 2]
    assert [entry["text"] for entry in found] == [*texts[:2], texts[2].removesuffix("\n")]
    assert set(found[0]) == {"prompt", "text", "sample", "seed", "step", "checkpoint"}


def test_escapes_in_a_prompt(capsys):
    (found,) = as_json(capsys, r"prompt=a\nb")
    assert found["prompt"] == "a\nb"


def test_stop(capsys):
    whole = sampled(capsys, "prompt=the").removesuffix("\n")
    cut = sampled(capsys, "prompt=the", r"stop=['\n']").removesuffix("\n")
    assert cut == "the" + whole[3:].split("\n")[0]


def test_temperature_zero_needs_no_seed(capsys):
    texts = {sampled(capsys, "prompt=the", "temperature=0", f"seed={seed}") for seed in range(3)}
    assert len(texts) == 1


def test_texts_longer_than_the_context(capsys):
    assert small.gptforge("sample", "prompt=the", "max_new_tokens=200", "runtime.threads=1") == 0
    assert len(capsys.readouterr().out) == 3 + 200 + 1


def test_a_prompt_longer_than_the_context_says_so(capsys):
    assert small.gptforge("sample", *SHORT, "prompt=" + "abc " * 20) == 0
    said = capsys.readouterr()
    assert "longer than the context: the model sees its last 32 tokens" in " ".join(said.err.split())
    assert said.out.startswith("abc " * 20)


# Prompts from elsewhere --------------------------------------------------------------------------------------


def test_a_file_of_prompts(capsys, folder):
    Path("prompts.txt").write_bytes("\ufeffone\r\ntwo\nthree".encode())
    found = as_json(capsys, "prompt_file=prompts.txt")
    assert [entry["prompt"] for entry in found] == ["one", "two", "three"]
    (alone,) = as_json(capsys, "prompt=two")
    assert found[1]["text"] == alone["text"]  # whatever came before


def test_prompts_of_one_batch_give_the_texts_that_they_give_alone(capsys):
    Path("prompts.txt").write_text("a\nthe one\n" + "abc " * 20, encoding="utf-8")
    found = as_json(capsys, "prompt_file=prompts.txt", "num_samples=2")
    assert [entry["sample"] for entry in found] == [0, 1] * 3
    for n, prompt in enumerate(("a", "the one", "abc " * 20)):
        alone = as_json(capsys, f"prompt={prompt}", "num_samples=2")
        assert [entry["text"] for entry in alone] == [entry["text"] for entry in found[2 * n : 2 * n + 2]]
    assert len({entry["text"] for entry in found}) == 6
    plain = sampled(capsys, "prompt_file=prompts.txt")
    assert plain == "".join(entry["text"] + "\n" for entry in found[::2])
    assert sampled(capsys, "prompt_file=prompts.txt", "stream=true") == plain


def test_ways_to_be_faster(capsys):
    plain = sampled(capsys, "prompt=the", "temperature=0")
    assert sampled(capsys, "prompt=the", "temperature=0", "lookup=4") == plain
    rounded = sampled(capsys, "prompt=the", "temperature=0", "weights=int8")
    assert len(rounded) == len(plain)
    assert small.gptforge("sample", *SHORT, "prompt=the", "lookup=4", "num_samples=2") == 2
    assert small.gptforge("sample", *SHORT, "prompt=the", "weights=int3") == 2


def test_a_draft_guesses_for_the_same_text(capsys):
    words = ("prompt=the", "ckpt=latest")
    plain = sampled(capsys, *words)
    assert sampled(capsys, *words, "draft=latest") == plain
    assert sampled(capsys, *words, "draft=first/best", "draft_tokens=2", "weights=int8") == sampled(
        capsys, *words, "weights=int8"
    )
    assert small.gptforge("sample", *words, "draft=latest", "lookup=4") == 2
    assert small.gptforge("sample", *words, "draft=latest", "num_samples=2") == 2
    assert small.gptforge("sample", *words, "draft=nowhere") == 4
    Path("other.txt").write_text("0123456789\n" * 400)
    small.trainer(small.config(train__steps=1, eval__every=1, data__path="other.txt"), "runs/other").fit()
    capsys.readouterr()
    assert small.gptforge("sample", "prompt=the", "ckpt=first", "draft=other") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "its tokenizer (char, 11 tokens) is not that of the other model (char, " in said


def test_without_a_compiler_the_text_is_written_and_the_reason_said(capsys, monkeypatch):
    plain = sampled(capsys, "prompt=the")
    monkeypatch.setattr("gptforge.sampling.fused.obstacle", lambda weight: "there is no compiler")
    assert small.gptforge("sample", *SHORT, "prompt=the", "runtime.compile=true") == 0
    said = capsys.readouterr()
    assert said.out == plain
    assert "not compiled: there is no compiler" in " ".join(said.err.split())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xfa"])
def test_a_file_that_holds_no_prompts(capsys, content):
    Path("prompts.txt").write_bytes(content)
    assert small.gptforge("sample", "prompt_file=prompts.txt") == 3
    assert "prompts.txt" in capsys.readouterr().err
    assert small.gptforge("sample", "prompt_file=missing.txt") == 3


def test_stdin(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines")))
    (found,) = as_json(capsys, "prompt_file=-")
    assert found["prompt"] == "two\nlines"


def test_a_character_outside_the_vocabulary(capsys):
    assert small.gptforge("sample", *SHORT, "prompt=Über") == 3
    said = capsys.readouterr()
    assert "'Ü'" in said.err and "U+00DC" in said.err and "tokenizer.unknown=skip" in said.err
    assert said.out == ""
    (skipped,) = as_json(capsys, "prompt=Über", "tokenizer.unknown=skip")
    (without,) = as_json(capsys, "prompt=ber")
    assert skipped["text"].removeprefix("Über") == without["text"].removeprefix("ber")
    (replaced,) = as_json(capsys, "prompt=Über", "tokenizer.unknown=replace")
    assert len(replaced["text"]) == 4 + 40


# In a process of its own -------------------------------------------------------------------------------------


def test_stdout_has_the_text_and_nothing_else(folder):
    long = "abc " * 20
    process = small.start("sample", *SHORT, f"prompt={long}", stdout=small.subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith(long) and len(out) == len(long) + 41
    assert "longer than the context" in err
    assert "\x1b" not in out + err


# info --------------------------------------------------------------------------------------------------------


def info(capsys, *words: str) -> dict:
    assert small.gptforge("info", "json=true", *words) == 0
    return json.loads(capsys.readouterr().out)


def test_info_counts_gpt2(capsys):
    found = info(capsys, "model=gpt2", "vocab_size=50257")
    assert found["parameters"] == 124_439_808 == sum(found["parameters_by_part"].values())
    assert found["data"] is None
    assert {
        "vocab_size", "parameters", "parameters_by_part", "flops_per_token", "dtype", "micro_batch_size",
        "training_memory_bytes", "cache_bytes_per_text", "length",
    } <= set(found)  # fmt: skip


def test_info_tells_what_a_token_passes_through(capsys):
    found = info(capsys, "model=mixtral-8x7b", "vocab_size=32000")
    assert (found["parameters"], found["active_parameters"]) == (46_702_792_704, 12_879_925_248)
    assert small.gptforge("info", "model=moe_small", "vocab_size=64") == 0
    assert "active in a token 873,856 42.6%" in " ".join(capsys.readouterr().out.split())
    assert small.gptforge("info", "model=tiny", "vocab_size=64") == 0
    assert "active" not in capsys.readouterr().out


def test_info_agrees_with_the_run(capsys):
    small.gptforge("train", "model=tiny", "data=text.txt", "train.steps=2", "ui=quiet", "hydra.run.dir=run")
    found = info(capsys, "model=tiny", "data=text.txt", "train.steps=2")
    summary = small.summary("run")
    assert found["parameters"] == summary["parameters"]
    assert found["length"]["steps"] == summary["steps"] and found["length"]["tokens"] == summary["tokens"]
    assert found["data"]["train_tokens"] > found["data"]["val_tokens"] > 0


@pytest.mark.parametrize("words", [["model=tiny", "data=text.txt"], ["model=gpt2", "vocab_size=50257"]])
def test_info_for_people(capsys, words):
    before = sorted(Path().rglob("*"))
    assert small.gptforge("info", *words) == 0
    said = capsys.readouterr()
    for word in ("parameters", "token embedding", "attention", "mlp", "FLOPs", "memory", "cache"):
        assert word in said.out
    assert said.err == ""
    assert sorted(Path().rglob("*")) == before


def test_slow_work_says_how_far_it_is_and_what_is_left(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 2.5, 3.0, 9.0, 12.0])
    monkeypatch.setattr("gptforge.notices.time", SimpleNamespace(monotonic=lambda: next(clock)))
    tell = slow_work("plain")
    for doing, share in (("reading", 0.1), ("reading", 0.5), ("reading", 0.6), ("encoding", 0.0), ("encoding", 0.25)):
        tell(doing, share)
    assert capsys.readouterr().err.splitlines() == [
        "reading the text: 50%, 2.5s left",
        "encoding the text: 0%",
        "encoding the text: 25%, 9.0s left",
    ]
    assert slow_work("quiet") is None
