"""gptforge compare: what differs between runs, and whether that is more than another seed makes."""

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

import small
from gptforge.config.saved import as_saved
from gptforge.history import find
from gptforge.jsonfile import read_json, write_json
from gptforge.report.comparison import BITS, LARGER, LOSS, UNKNOWN, WITHIN, compared, judge_by
from gptforge.report.overlay import COLOURS, Line, draw_runs
from gptforge.runs import Call, Run
from gptforge.train import trainer as trainer_module
from gptforge.train.parts import build_parts
from gptforge.train.plan import data_facts

SAME = {"train__early_stop_patience": 1000}  # another configuration by its keys that makes no difference
RUNS = {
    **{f"a{seed}": {"seed": seed} for seed in (1, 2, 3)},
    **{f"slow{seed}": {"seed": seed, "optimizer__lr": 3e-4, "optimizer__muon_lr": 1.5e-3} for seed in (1, 2)},
    **{f"same{seed}": {"seed": seed, **SAME} for seed in (4, 5)},
    "bytes": {"tokenizer__kind": "byte"},
    "other": {"data__path": "other.txt"},
    "large": {"train__batch_size": 16},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs/ in it: real ones, of a few steps."""
    path = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        Path("other.txt").write_text(Path("text.txt").read_text()[::-1])  # as long, and of the same characters
        for name, changes in RUNS.items():
            cfg = small.config(**{"train__steps": 16, "checkpoint__every": 16, "seed": 1} | changes)
            parts, dist = build_parts(cfg)
            run = Run.create(as_saved(cfg, {"model": "tiny"}), "test", Call(directory=Path("runs", name)))
            trainer_module.Trainer(cfg, run, dist, parts).fit()
    return path


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of it, to be changed."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)


def beside(*names: str) -> dict:
    return compared([find(name) for name in names])


def changed(name: str, file: str, **values) -> None:
    path = Path("runs", name, file)
    write_json(path, read_json(path, file) | values)


@pytest.mark.usefixtures("here")
class TestVerdicts:
    def test_a_planted_difference_is_larger_than_seed_noise(self):
        found = beside("a1", "a2", "slow1", "slow2")
        (verdict,) = found["verdicts"]
        assert verdict["verdict"] == LARGER and verdict["difference"] > 0.1 and verdict["low"] > 0
        assert [group["letters"] for group in found["groups"]] == [["A", "B"], ["C", "D"]]
        assert found["groups"][0]["values"] == [small.summary(f"runs/{n}")["best_val_loss"] for n in ("a1", "a2")]

    def test_seeds_of_one_configuration_are_repeats_of_it(self):
        found = beside("a1", "a2", "a3")
        assert found["verdicts"] == [] and len(found["groups"]) == 1 and found["groups"][0]["sd"] > 0
        assert found["notes"] == ["one configuration with several seeds: what differs is seed noise"]

    def test_other_seeds_alone_are_within_noise(self):
        found = beside("a1", "a2", "a3", "same4", "same5")
        assert [v["verdict"] for v in found["verdicts"]] == [WITHIN]

    def test_one_run_beside_repeats(self):
        (verdict,) = beside("a1", "a2", "a3", "slow1")["verdicts"]
        assert verdict["verdict"] == LARGER and verdict["method"].endswith("pooled standard deviation")

    def test_one_run_each_tells_nothing(self):
        found = beside("a1", "slow1")
        assert [v["verdict"] for v in found["verdicts"]] == [UNKNOWN]
        assert "gptforge train config=runs/a1/config.json seed=2" in found["notes"][0]

    def test_several_are_judged_at_once(self):
        found = beside("a1", "a2", "slow1", "slow2", "same4", "same5")
        assert [v["confidence"] for v in found["verdicts"]] == [0.975, 0.975]

    def test_the_same_seed_twice_is_no_repeat(self):
        shutil.copytree("runs/a1", "runs/again")
        found = beside("a1", "again", "slow1")
        assert [v["verdict"] for v in found["verdicts"]] == [UNKNOWN]
        assert "A, B have the same seed, and the same weights: they count as one" in found["notes"]
        assert len(found["groups"][0]["values"]) == 1
        changed("again", "summary.json", weights_sha256="0")
        assert any("other weights" in note for note in beside("a1", "again")["notes"])

    def test_what_has_no_influence_makes_no_other_configuration(self):
        saved = read_json(Path("runs/a2/config.json"), "it")["config"]
        saved["log"]["every"], saved["runtime"]["threads"], saved["data"]["path"] = 7, 2, "moved.txt"
        changed("a2", "config.json", config=saved)
        found = beside("a1", "a2", "slow1", "slow2")
        assert found["groups"][0]["letters"] == ["A", "B"]
        assert {"log.every", "runtime.threads", "data.path", "seed", "optimizer.lr"} <= found["differ"].keys()

    def test_what_was_decided_otherwise_makes_another_configuration(self):
        held = read_json(Path("runs/a2/decisions.json"), "it")
        changed("a2", "decisions.json", dropout={"value": 0.3, "reason": "?"}, device={"value": "tpu", "reason": "?"})
        found = beside("a1", "a2")
        assert len(found["groups"]) == 2 and found["decided"]["dropout"] == [held["dropout"]["value"], 0.3]

    def test_unfinished_runs_are_left_out(self):
        changed("slow2", "summary.json", status="stopped")
        found = beside("a1", "a2", "slow1", "slow2")
        assert found["notes"] == ["D is stopped: it is left out of the verdict"]
        assert len(found["groups"][1]["values"]) == 1 and found["verdicts"][0]["verdict"] == LARGER


@pytest.mark.usefixtures("here")
class TestTexts:
    def test_other_tokens_of_the_same_text_are_compared_by_bits_per_byte(self):
        found = beside("a1", "bytes")
        assert found["metric"] == BITS and "bits per byte can" in found["why"]
        val = [json.loads(line).get("val_bpb") for line in Path("runs/a1/metrics.jsonl").read_text().splitlines()]
        assert found["groups"][0]["values"] == [min(v for v in val if v is not None)]
        with Path("runs/a1/metrics.jsonl").open("a") as file:
            file.write('{"step": 17, "val_loss": 9, "val_bpb": 0.5}\n')
        assert beside("a1", "bytes")["groups"][0]["values"] == [0.5]
        assert found["runs"][0]["curve"][-1][1] == small.summary("runs/a1")["val_bpb"]

    def test_other_texts_are_not_compared(self):
        found = beside("a1", "other")
        assert found["metric"] is None and found["verdicts"] == [] and "different texts" in found["why"]
        assert len(found["groups"]) == 2

    def test_a_run_without_data_json_is_known_by_its_checkpoint(self):
        for name in ("a1", "a2"):
            Path("runs", name, "data.json").unlink()
        assert beside("a1", "a2")["metric"] == LOSS and beside("a1", "a2")["why"] == ""
        assert beside("a1", "bytes")["metric"] is None
        shutil.rmtree("runs/a1/checkpoints")
        assert beside("a1", "a2")["why"].startswith("of some runs it is not known")

    def test_other_batches_are_drawn_over_tokens(self):
        found = beside("a1", "large")
        assert found["over"] == "tokens" and found["runs"][1]["curve"][-1][0] == 16 * 16 * 32


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("content_sha256", "other", False), ("val_documents_sha256", "other", False), ("val_fraction", 0.2, False),
        ("unknown", "skip", False), ("tokenizer", "other", True), ("key", "other", True),
    ],
)  # fmt: skip
def test_the_validation_text_is_known_by_its_content_and_split(key, value, same):
    counted = {"tokens": 9, "documents": 1, "characters": 20, "bytes": 20, "sha256": "of the ids"}
    held = {"content_sha256": "a", "val_fraction": 0.1, "unknown": "none", "splits": {"train": counted, "val": counted}}
    tokenizer = SimpleNamespace(fingerprint="t", kind="char", vocab_size=3)

    def validation(manifest):
        dataset = SimpleNamespace(manifest=manifest, fingerprint="f")
        return data_facts(SimpleNamespace(dataset=dataset, tokenizer=tokenizer))["validation"]

    assert (validation(held) == validation(held | {key: value})) is same and validation({}) is None


@pytest.mark.parametrize("junk", [None, 3, [], {}])
def test_strange_facts_are_unknown_ones(junk):
    assert judge_by([{"data": junk, "validation": junk}, {"data": "a"}])[0] == LOSS


def test_losses_of_hidden_tokens_stand_beside_their_like_alone():
    hidden = {"kind": "mlm", "mask_rate": 0.15}
    same, other = [{"data": "a", "validation": "v"}] * 2, [{"data": d, "validation": "v"} for d in "ab"]
    assert judge_by(same, [hidden, hidden])[0] == LOSS and judge_by(same, [None, None])[0] == LOSS
    assert judge_by(other, [None, {"kind": "next_token"}])[0] == BITS
    for objectives in ([hidden, None], [hidden, {"kind": "next_token"}], [hidden, {**hidden, "mask_rate": 0.3}]):
        metric, why = judge_by(same, objectives)
        assert metric is None and "they learn other things" in why
    metric, why = judge_by(other, [hidden, hidden])
    assert metric is None and "bits per byte there are none" in why


@pytest.mark.usefixtures("here")
def test_broken_runs_can_stand_beside_others(capsys):
    Path("runs/a2/config.json").write_text("{")
    Path("runs/a3/metrics.jsonl").unlink()
    Path("runs/a3/summary.json").unlink()
    found = beside("a1", "a2", "a3")
    assert list(found["differ"]) == ["seed"] and found["differ"]["seed"] == [1, None, 3]
    assert small.gptforge("compare", "a1", "a2", "a3") == 0
    assert "B is broken" in capsys.readouterr().out


# The command ----------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_text(capsys):
    assert small.gptforge("compare", "a1", "a2", "slow1", "runs/slow2") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[:4] == ["A  a1, done", "B  a2, done", "C  slow1, done", "D  slow2, done"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["optimizer.lr"] == ["0.003", "0.003", "0.0003", "0.0003"] and rows["seed"] == ["1", "2", "1", "2"]
    assert "model.n_layer" not in out and "larger than seed noise" in lines[-1] and "95 % interval" in lines[-1]
    assert max(map(len, lines[:-1])) <= 100


@pytest.mark.usefixtures("here")
def test_json_and_the_words_as_a_list(capsys):
    assert small.gptforge("compare", "runs=[a1,runs/slow1]", "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [run["name"] for run in found["runs"]] == ["a1", "slow1"]
    assert set(found["differ"]) == {"optimizer.lr", "optimizer.muon_lr"}


@pytest.mark.usefixtures("here")
def test_the_picture(capsys):
    assert small.gptforge("compare", "a1", "slow1", "svg=new/curves.svg") == 0
    root = ET.parse("new/curves.svg").getroot()
    texts = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"A", "B", "step"} <= set(texts) and any(t.startswith("B  slow1") and "lr=0.0003" in t for t in texts)
    assert "new/curves.svg" in capsys.readouterr().err
    assert small.gptforge("compare", "a1", "slow1", "png=new/curves.png") == 0
    assert Path("new/curves.png").read_bytes().startswith(b"\x89PNG")
    assert small.gptforge("compare", "a1", "slow1", "svg=new") == 5


def test_a_picture_of_many_runs_with_any_names():
    points = [(1.0, 3.0), (2.0, 2.0)]
    lines = [Line("A", "<b>&\x1b[31m" + "x" * 500, n, points) for n in range(3 * len(COLOURS))]
    drawn = draw_runs([*lines, Line("Z", "no points", 99, [])], "<title>", "step", "loss")
    ET.fromstring(drawn)
    assert "\x1b" not in drawn and "prefers-color-scheme: dark" in drawn and "stroke-dasharray" in drawn
    ET.fromstring(draw_runs([Line("A", "a", 0, [])], "none", "step", "loss"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "here are 0"),
        (["a1"], 2, "gptforge compare RUN RUN"),
        (["a1", "runs/a1", "latest"], 2, "here are 1"),
        (["a1", "nowhere"], 4, "there is no run or checkpoint 'nowhere'"),
        (["a1", "a2", "lr=3"], 2, "there is no key 'lr'"),
        (["a1", "runs=[a2]"], 2, "runs is given twice"),
    ],
)
def test_what_cannot_be_is_told(capsys, words, code, says):
    Path("runs/latest").write_text("a1\n")
    assert small.gptforge("compare", *words) == code
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) <= 8
