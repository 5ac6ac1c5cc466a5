"""Tasks of the lm-evaluation-harness with a small model: its figures against those found from the model's logits."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import small
import writing
from gptforge import runtime
from gptforge.checkpoint import Loaded, load_model
from gptforge.config import RuntimeConfig
from gptforge.errors import ConfigError, DataError
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.train import trainer as trainer_module

pytest.importorskip("lm_eval", reason="the lm-evaluation-harness is not installed: make test-harness")
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.api.registry import get_model

from gptforge.evals.harness import adapter, run
from gptforge.evals.harness.adapter import HarnessModel, opened

QUICK = ["runtime.threads=1"]
QUESTIONS = ["", "once more", "a b c " * 12, "who ", "x\n\n", "last of all"]
CHOICES = [[" ab", " cde", " f"], ["gh", "ijk"], ["l m", "nop", "q", "r"]] * 2
WHOLE = ["ab cd ef gh ij kl " * 7, "word", "one two\nthree"]
ASKED = {"until": ["q", "\n"], "max_gen_toks": 10}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        small.trainer(small.config(runtime__dtype="float32", optimizer__lr=1e-2), "runs/first").fit()
        write_tasks(load_model("runs/first"))
    return folder


@pytest.fixture
def folder(prepared, own_folder) -> Path:
    shutil.copytree(prepared, own_folder, dirs_exist_ok=True)
    return own_folder


@pytest.fixture(scope="module")
def loaded(prepared) -> Loaded:
    return load_model(str(prepared / "runs" / "first"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Expected, without the harness ---------------------------------------------------------------------------------


def encoded(loaded: Loaded, text: str) -> list[int]:
    return loaded.tokenizer.encode(text).tolist()


@torch.no_grad()
def likelihood(loaded: Loaded, context: str, continuation: str) -> tuple[float, bool]:
    """ln p, token by token; characters, so that tokens can be cut anywhere."""
    bare = context.rstrip()
    before = encoded(loaded, bare) or encoded(loaded, "\n")
    after = encoded(loaded, context[len(bare) :] + continuation)
    tokens, block = before + after, loaded.model.cfg.block_size
    begin = max(0, len(tokens) - 1 - block)
    total, greedy = 0.0, True
    for at in range(len(before), len(tokens)):
        p = loaded.model(torch.tensor([tokens[begin:at]]))[0, -1].double().log_softmax(0)
        total += p[tokens[at]].item()
        greedy &= int(p.argmax()) == tokens[at]
    return total, greedy


@torch.no_grad()
def whole(loaded: Loaded, text: str) -> float:
    """ln p of a text after a line break: windows of 32 that follow each other, the last one moved back."""
    tokens, block = encoded(loaded, "\n" + text), loaded.model.cfg.block_size
    total, done = 0.0, 1
    while done < len(tokens):
        end = min(done + block, len(tokens))
        begin = max(0, end - 1 - block)
        p = loaded.model(torch.tensor([tokens[begin : end - 1]]))[0].double().log_softmax(1)
        total += sum(p[at - begin - 1, tokens[at]].item() for at in range(done, end))
        done = end
    return total


def written(loaded: Loaded, context: str, new: int, stops: list[str]) -> str:
    tokens = (encoded(loaded, context) or encoded(loaded, "\n"))[-(loaded.model.cfg.block_size - new) :]
    text = loaded.tokenizer.decode(writing.uncached(loaded.model, tokens, writing.sampling(max_new_tokens=new))[0])
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


# Tasks ---------------------------------------------------------------------------------------------------------


def write_task(name: str, rows: list[dict], **keys) -> None:
    Path("tasks").mkdir(exist_ok=True)
    data = Path("tasks", f"{name}.jsonl").resolve()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    cache = str(Path("cache").resolve())
    tree = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": cache},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "metadata": {"version": 2.0},
    }
    Path("tasks", f"{name}.yaml").write_text(json.dumps(tree | keys), encoding="utf-8")  # JSON is YAML


def write_tasks(loaded: Loaded) -> None:
    """Half the answers are those that the model finds likeliest, half are not."""
    rows = []
    for n, (question, choices) in enumerate(zip(QUESTIONS, CHOICES, strict=True)):
        best = int(np.argmax([likelihood(loaded, question, " " + choice)[0] for choice in choices]))
        rows.append({"question": question, "choices": choices, "answer": (best + n % 2) % len(choices)})
    write_task("letters", rows, output_type="multiple_choice", doc_to_target="answer", doc_to_choice="choices")
    rows = [{"question": q, "answer": c[0]} for q, c in zip(QUESTIONS, CHOICES, strict=True)]
    likeliest = writing.uncached(loaded.model, encoded(loaded, "who"), writing.sampling(max_new_tokens=3))[0]
    rows.append({"question": "who", "answer": loaded.tokenizer.decode(likeliest)})
    metrics = [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}]
    metrics += [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    keys = {"output_type": "loglikelihood", "target_delimiter": "", "metric_list": metrics}
    write_task("endings", rows, doc_to_target="{{answer}}", **keys)
    rows = [{"text": text} for text in WHOLE]
    write_task("texts", rows, output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{text}}")
    rows = [{"question": q, "answer": written(loaded, q, 10, ASKED["until"])} for q in QUESTIONS]
    rows[0]["answer"] = "something else"
    write_task("writes", rows, output_type="generate_until", doc_to_target="{{answer}}", generation_kwargs=ASKED)
    group = {"group": "mine", "task": ["letters", "endings"]}
    group["aggregate_metric_list"] = [{"metric": "acc", "weight_by_size": True}]
    Path("tasks/mine.yaml").write_text(json.dumps(group), encoding="utf-8")


def evaluated(capsys, *words: str) -> dict:
    assert small.gptforge("eval", "json=true", *QUICK, *words) == 0
    return json.loads(capsys.readouterr().out)


def figures(result: dict) -> dict[str, dict[str, float]]:
    """{task: {metric: value}}"""
    return {task["name"]: {f["metric"]: f["value"] for f in task["figures"]} for task in result["tasks"]}


def answers(name: str) -> list[dict]:
    return [json.loads(line) for line in Path("tasks", f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


# Figures -------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_logits(folder, loaded, capsys):
    result = evaluated(capsys, "tasks=[tasks/]")
    got = figures(result)
    assert set(got) == {"letters", "endings", "texts", "writes"}
    right, right_by_length = [], []
    for row in answers("letters"):
        totals = [likelihood(loaded, row["question"], " " + choice)[0] for choice in row["choices"]]
        right.append(np.argmax(totals) == row["answer"])
        right_by_length.append(np.argmax(np.divide(totals, [len(c) for c in row["choices"]])) == row["answer"])
    assert got["letters"] == {"acc": np.mean(right), "acc_norm": pytest.approx(np.mean(right_by_length))}
    assert got["letters"]["acc"] == 0.5
    both = [likelihood(loaded, row["question"], row["answer"]) for row in answers("endings")]
    assert got["endings"]["perplexity"] == pytest.approx(math.exp(-np.mean([total for total, _ in both])), rel=1e-6)
    assert got["endings"]["acc"] == pytest.approx(np.mean([greedy for _, greedy in both])) and both[-1][1]
    total = sum(whole(loaded, text) for text in WHOLE)
    n_bytes, words = sum(map(len, WHOLE)), sum(len(re.split(r"\s+", text)) for text in WHOLE)
    expected = {"bits_per_byte": -total / math.log(2) / n_bytes, "byte_perplexity": math.exp(-total / n_bytes)}
    assert got["texts"] == pytest.approx(expected | {"word_perplexity": math.exp(-total / words)}, rel=1e-6)
    assert got["writes"] == {"exact_match": pytest.approx(5 / 6)}
    assert {task["name"]: (task["examples"], task["num_fewshot"], task["version"]) for task in result["tasks"]} == {
        "letters": (6, 0, 2.0), "endings": (7, 0, 2.0), "texts": (3, 0, 2.0), "writes": (6, 0, 2.0)
    }  # fmt: skip
    assert result["checkpoint"]["step"] == 12 and result["how"]["dtype"] == "float32"


def test_the_batch_size_changes_no_figure(folder, capsys):
    first, *others = [figures(evaluated(capsys, "tasks=[tasks/]", f"batch_size={n}")) for n in (1, 3, 64)]
    for other in others:
        for name, expected in first.items():
            assert other[name] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow  # the harness reads 15,000 definitions to find the tasks that a group names
def test_a_group_and_its_mean(folder, capsys):
    result = evaluated(capsys, "tasks=[tasks/mine.yaml]")
    got = figures(result)
    assert set(got) == {"letters", "endings"}
    (group,) = result["groups"]
    mean = (6 * got["letters"]["acc"] + 7 * got["endings"]["acc"]) / 13
    assert group["name"] == "mine" and [f["metric"] for f in group["figures"]] == ["acc"]
    assert group["figures"][0]["value"] == pytest.approx(mean)


def test_solved_examples_and_a_limit(folder, loaded, capsys):
    result = evaluated(capsys, "tasks=[tasks/letters.yaml]", "num_fewshot=1", "limit=2", "resamples=0")
    (task,) = result["tasks"]
    assert (task["num_fewshot"], task["examples"], task["of"]) == (1, 2, 6)
    assert all(figure["stderr"] is None for figure in task["figures"])
    fixed = json.loads(Path("tasks/letters.yaml").read_text(encoding="utf-8")) | {"task": "fixed", "num_fewshot": 0}
    Path("fixed.yaml").write_text(json.dumps(fixed), encoding="utf-8")
    assert small.gptforge("eval", *QUICK, "tasks=[./fixed.yaml]", "num_fewshot=1") == 0
    assert "num_fewshot=1 is not for fixed: 0 by definition" in " ".join(capsys.readouterr().err.split())


def test_what_is_shown_and_stored(folder, capsys):
    assert small.gptforge("eval", *QUICK, "tasks=[tasks/texts.yaml,tasks/letters.yaml]", "limit=2") == 0
    said = capsys.readouterr()
    for words in (
        "first, step 12, tasks of the lm-evaluation-harness",
        "limit=2",
        "bits_per_byte",
        "acc_norm",
        "lower",
    ):
        assert words in said.out
    assert "bootstrapping" not in said.out and "\x1b" not in said.out
    (path,) = Path("runs/first").glob("eval-*")
    assert re.fullmatch(r"eval-000012-tasks-letters-texts-limit2-\w{8}\.json", path.name)
    again = evaluated(capsys, "tasks=[tasks/texts.yaml,tasks/letters.yaml]", "limit=2", "out=mine.json")
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert figures(stored) == figures(again) == figures(json.loads(Path("mine.json").read_text(encoding="utf-8")))


# Faults --------------------------------------------------------------------------------------------------------


def refused(capsys, code: int, *words: str) -> str:
    assert small.gptforge("eval", *QUICK, *words) == code
    said = capsys.readouterr()
    assert said.out == "" and not list(Path("runs/first").glob("eval-*"))
    return " ".join(said.err.split())


def changed(name: str, **keys) -> str:
    tree = json.loads(Path("tasks/letters.yaml").read_text(encoding="utf-8"))
    Path(name).write_text(json.dumps(tree | {"task": "changed"} | keys), encoding="utf-8")
    return f"tasks=[./{name}]"


def test_faults_of_tasks_have_one_message(folder, capsys):
    Path("empty").mkdir()
    assert "there is no task" in refused(capsys, 2, "tasks=[tasks/nowhere.yaml]")
    assert "no YAML file" in refused(capsys, 2, "tasks=[empty/]")
    assert "a task cannot be used" in refused(capsys, 3, "tasks=[tasks/letters.jsonl]")
    assert "a task cannot be used" in refused(capsys, 3, changed("a.yaml", doc_to_text="{{ question | nothing }}"))
    missing = {"data_files": {"test": "nowhere.jsonl"}}
    assert "nowhere.jsonl" in refused(capsys, 3, changed("b.yaml", dataset_kwargs=missing))
    assert "tokenizer.unknown=skip" in refused(capsys, 3, changed("c.yaml", doc_to_text="Ü {{question}}"))
    beams = {"output_type": "generate_until", "doc_to_choice": None, "generation_kwargs": {"num_beams": 2}}
    assert "num_beams" in refused(capsys, 3, changed("d.yaml", **beams))
    assert "unsafe" in refused(capsys, 3, changed("e.yaml", unsafe_code=True))


def test_data_that_cannot_be_fetched(folder, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    kwargs = {"cache_dir": str(Path("cache").resolve())}
    said = refused(capsys, 3, changed("a.yaml", dataset_path="nobody/nothing", dataset_kwargs=kwargs))
    assert "needs a network" in said and "nobody/nothing" in said


def test_a_fault_of_ours_is_no_fault_of_a_task(folder, capsys, monkeypatch):
    def broken(*args):
        raise KeyError("a bug")

    monkeypatch.setattr(adapter, "loglikelihoods", broken)
    assert "internal error: KeyError" in refused(capsys, 1, "tasks=[tasks/letters.yaml]")


def test_names_are_looked_up_and_the_nearest_is_said():
    manager = SimpleNamespace(all_tasks=["mmlu", "mmlu_law", "hellaswag"])
    assert run._matching("mmlu*", manager) == ["mmlu", "mmlu_law"]
    with pytest.raises(ConfigError) as error:
        run._matching("helaswag", manager)
    assert error.value.fixes == ["hellaswag"]


# The adapter ---------------------------------------------------------------------------------------------------


def chosen() -> runtime.Runtime:
    return runtime.choose(RuntimeConfig(device="cpu", dtype="float32", threads=1), runtime.probe())


def asked(kind: str, *args) -> Instance:
    return Instance(kind, {}, args, 0)


def test_a_continuation_longer_than_the_context_is_scored(loaded):
    model = HarnessModel(loaded.model, loaded.tokenizer, chosen())
    long = ("ab cd ef " * 12).strip()
    ((total, greedy),) = model.loglikelihood([asked("loglikelihood", "", long)])
    assert model.loglikelihood_rolling([asked("loglikelihood_rolling", long)]) == [total] and not greedy
    assert total == pytest.approx(whole(loaded, long), rel=1e-6)


def test_what_stands_before_a_text(loaded):
    model = HarnessModel(loaded.model, loaded.tokenizer, chosen())
    assert [model.prefix_token_id] == encoded(loaded, "\n") and model.eot_token_id is None
    assert model.max_length == 32 and model.tok_encode("ab") == encoded(loaded, "ab")
    ((blank, _), (empty, _), (none, likeliest)) = model.loglikelihood(
        [asked("loglikelihood", " \n", "ab"), asked("loglikelihood", "", " \nab"), asked("loglikelihood", "ab", "")]
    )
    assert blank == empty == pytest.approx(likelihood(loaded, "", " \nab")[0], rel=1e-6)
    assert (none, likeliest) == (0.0, True)
    without = HarnessModel(loaded.model, SimpleNamespace(bos=None, eos=None, missing=lambda text: text), chosen())
    assert without.prefix_token_id == 0
    ended = HarnessModel(loaded.model, SimpleNamespace(bos=None, eos=7), chosen())
    assert ended.prefix_token_id == ended.eot_token_id == 7


def test_a_continuation_within_a_token_is_an_error(loaded):
    class Pairs(ByteTokenizer):
        def encode(self, text: str) -> np.ndarray:
            return np.array([len(text[n : n + 2]) for n in range(0, len(text), 2)])

    model = HarnessModel(loaded.model, Pairs(), chosen())
    with pytest.raises(DataError, match="no token of its own"):
        model.loglikelihood([asked("loglikelihood", "abc", "d")])


def test_answers_are_cached(loaded, tmp_path, monkeypatch):
    requests = {
        "loglikelihood": [asked("loglikelihood", "ab", " cd"), asked("loglikelihood", "", "x")],
        "loglikelihood_rolling": [asked("loglikelihood_rolling", "ab cd")],
        "generate_until": [asked("generate_until", "ab", ASKED)],
    }
    model = HarnessModel(loaded.model, loaded.tokenizer, chosen())
    cached = CachingLM(model, str(tmp_path / "answers.db"))
    first = {kind: getattr(model, kind)(found) for kind, found in requests.items()}  # past the cache, so by the hook
    monkeypatch.setattr(adapter, "loglikelihoods", None)
    monkeypatch.setattr(adapter, "texts", None)
    again = {kind: getattr(cached, kind)(found) for kind, found in requests.items()}
    cached.dbdict.close()
    assert again == first


def test_a_request_that_comes_again_is_drawn_anew(loaded):
    drawn = ASKED | {"do_sample": True, "until": []}
    requests = [asked("generate_until", "ab", drawn)] * 4 + [asked("generate_until", "cd", drawn)]
    found = [HarnessModel(loaded.model, loaded.tokenizer, chosen(), n).generate_until(requests) for n in (1, 3, 8)]
    assert found[0] == found[1] == found[2] and len(set(found[0][:4])) == 4
    other = HarnessModel(loaded.model, loaded.tokenizer, chosen(), seed=5).generate_until(requests)
    assert other != found[0]
    twice = [asked("generate_until", "ab", ASKED)] * 2
    greedy = HarnessModel(loaded.model, loaded.tokenizer, chosen()).generate_until(twice)
    assert greedy[0] == greedy[1] == written(loaded, "ab", 10, ASKED["until"])


def test_as_the_harness_opens_it(folder):
    """By its registry, with the words that its command would give."""
    device = "cpu" if torch.cuda.is_available() else "cuda:0"  # what its command says unless told otherwise
    given = {"batch_size": "auto", "device": device}
    found = get_model("gptforge").create_from_arg_string("ckpt=runs/first,unknown=skip", given)
    assert isinstance(found, HarnessModel) and found.tok_encode("aÜb") == found.tok_encode("ab")
    assert found._batch_size is None and opened("runs/first", batch_size="8", max_batch_size=4)._batch_size == 4
    for words, said in (({"pretrained": "gpt2"}, "pretrained"), ({"dtype": "float16"}, "float32, bfloat16")):
        with pytest.raises(ConfigError, match=said):
            opened("runs/first", **words)


@pytest.mark.slow  # the harness's command reads its 15,000 definitions
def test_its_own_command_with_our_model(folder, capsys):
    words = ["--model", "gptforge", "--model_args", "ckpt=runs/first", "--tasks", "texts,writes"]
    command = [sys.executable, "-m", "gptforge.evals.harness", "run", *words]
    command += ["--include_path", "tasks", "--output_path", "out/result.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = Path("out").rglob("*.json")
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    got = figures(evaluated(capsys, "tasks=[tasks/texts.yaml,tasks/writes.yaml]"))
    assert results["texts"]["bits_per_byte,none"] == pytest.approx(got["texts"]["bits_per_byte"], rel=1e-6)
    assert results["writes"]["exact_match,none"] == pytest.approx(got["writes"]["exact_match"])
