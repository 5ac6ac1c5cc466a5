"""gptforge show: one run, whole, in whatever state it is."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from gptforge import history
from gptforge.config.saved import as_saved
from gptforge.errors import CheckpointError
from gptforge.logs.screen import Screen
from gptforge.option_files import conf_dir
from gptforge.report.run_account import account, warnings
from gptforge.report.run_text import show
from gptforge.runs import Call, Run
from gptforge.train import trainer as trainer_module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs/one in it: a real run."""
    path = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        run = Run.create(
            as_saved(small.config(), {"model": "tiny", "data": "files"}),
            "test",
            Call(["model=tiny", "data=text.txt", "api_key=abc"], directory=Path("runs/one")),
        )
        trainer_module.Trainer(small.config(), run).fit()
    return path


@pytest.fixture
def one(trained, tmp_path, monkeypatch):
    """A copy of it, to be spoilt."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Run(Path("runs/one"))


def said(capsys, *words: str) -> str:
    assert small.gptforge("show", *words) == 0
    return capsys.readouterr().out


def text_of(run: Run) -> str:
    shown = io.StringIO()
    show(account(run), Screen(shown))
    return shown.getvalue()


def told(capsys, *words: str) -> dict:
    return json.loads(said(capsys, "json=true", *words), parse_constant=lambda name: pytest.fail(name))


def test_a_run_says_what_it_is_and_how_it_went(one, capsys):
    text, summary = said(capsys), small.summary("runs/one")  # the latest
    assert text.startswith("one: done\n")
    for expected in (
        "tiny, ",
        f"{summary['best_val_loss']:.4f} at step {summary['best_step']}",
        summary["weights_sha256"],
        " tokens of 29 (char)",
        "train.steps=12 ",
        "(default null)",
        "model=tiny data=text.txt api_key=<redacted>",
        "step 12",
        "best",
        "gptforge sample ckpt=one",
        "torch ",
        "warmup_steps",
    ):
        assert expected in text, expected
    assert "missing" not in text and "warnings" not in text


def test_json_has_it_all(one, capsys):
    found, summary = told(capsys, "one"), small.summary("runs/one")
    assert found["status"] == "done" and found["results"]["val_bpb"] == summary["val_bpb"]
    assert found["changed"]["model.n_layer"] == {"value": 1, "default": 2}  # of the option tiny, not of the schema
    assert "model.n_head" not in found["changed"]  # 2, as tiny has it
    assert [step for step, _ in found["curves"]["val_loss"]] == [4, 8, 12]
    assert found["checkpoints"][-1]["latest"] and sum(c["best"] for c in found["checkpoints"]) == 1
    step = found["checkpoints"][-1]
    assert step["bytes"] == sum(p.stat().st_size for p in one.checkpoint(step["step"]).iterdir())
    assert found["data_facts"]["splits"]["val"]["tokens"] > 0 and found["missing"] == []


@pytest.mark.parametrize(
    "file", ["config.json", "summary.json", "decisions.json", "env.json", "data.json", "metrics.jsonl", "overrides.txt"]
)
@pytest.mark.parametrize("content", [None, "", "[1]", '{"a"', "\x00\xff"])
def test_a_missing_or_damaged_part_is_said(one, file, content):
    if content is None:
        (one.path / file).unlink()
    else:
        (one.path / file).write_text(content + "\n", encoding="latin-1")
    text = text_of(one)
    if (file, content) != ("metrics.jsonl", "") and file != "overrides.txt":
        assert file in text.partition("missing\n")[2]


def test_a_run_is_not_to_be_removed_while_a_checkpoint_is_left(one, capsys):
    one.summary.write_text("")
    told = said(capsys, "one")
    assert "gptforge train resume=one" in told and "runs rm" not in told
    one.config.unlink()
    told = said(capsys, "one")
    assert "sample ckpt=runs/one/checkpoints/step-" in told and "resume=" not in told and "runs rm" not in told


def test_half_deleted_runs_are_shown(one, capsys):
    shutil.rmtree(one.checkpoints)
    assert "gptforge train config=runs/one/config.json" in said(capsys, "one")
    one.config.unlink()
    assert said(capsys, "one").startswith("one: broken")
    (one.path / "metrics.jsonl").rename("m")
    for path in one.path.iterdir():
        path.unlink() if path.name not in ("samples", "summary.json") else None
    assert "gptforge runs rm one" in said(capsys, "runs/one/")


def test_a_torn_line_is_no_damage(one, capsys):
    with one.metrics.open("a") as file:
        file.write('{"step": 13, "train_l')
    assert "missing" not in said(capsys, "one")


def test_dead_and_running(one, capsys):
    summary = {k: None if "loss" in k else v for k, v in small.summary("runs/one").items()}
    one.summary.write_text(json.dumps(summary | {"status": "running", "steps": 0}))
    text = said(capsys, "one")
    assert text.startswith("one: dead") and "gptforge train resume=one" in text and "12 of 12" in text
    results = account(one)["results"]  # of the metrics, for the summary does not know them yet
    assert results["steps"] == 12 and results["best_val_loss"] < 9
    one.metrics.write_text('{"step": 1, "val_loss": NaN, "val_ppl": 1e999, "lr": 0.1}\n')
    assert not {"val_loss", "val_ppl"} & account(one)["results"].keys() and account(one)["results"]["lr"] == 0.1
    holding = "from gptforge.runs import Run; from pathlib import Path; import sys\n"
    holding += "with Run(Path('runs/one')).locked():\n    print('here', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline()
        text = said(capsys, "one")
        process.stdin.close()
    assert text.startswith("one: running, its last record ") and "gptforge show one" in text


def test_what_is_no_run_is_told(one, capsys):
    Path("runs/sweep_1").mkdir()
    Path("runs/sweep_1/sweep.json").write_text("{}")
    shutil.copytree(one.path, "runs/sweep_1/0")
    assert small.gptforge("show", "sweep_1") == 4 and "try:   sweep_1/0" in capsys.readouterr().err
    assert said(capsys, "sweep_1/0").startswith("sweep_1/0: done")
    for word in ("nowhere", "runs", "", "a\0b", "x" * 5000):
        assert small.gptforge("show", f"run={word}") == 4, word
        assert len(capsys.readouterr().err.splitlines()) <= 8
    assert small.gptforge("show", "one", "two") == 2


VAL = [{"step": n, "val_loss": loss} for n, loss in ((1, 3.0), (2, 2.0), (3, 2.5))]


@pytest.mark.parametrize(("train", "warned"), [((3, 2, 1), True), ((3, 2, 2.5), False)])
def test_overfitting_is_val_up_while_train_goes_down(train, warned):
    records = [record | {"train_eval_loss": loss} for record, loss in zip(VAL, train, strict=True)]
    found = list(warnings(records, {"spikes": 0}))
    assert bool(found) == warned and (not warned or "since step 2 val_loss rose from 2.0000 to 2.5000" in found[0])
    within = [*records[:2], {"step": 3, "val_loss": 2.03, "train_eval_loss": 1}]
    assert not list(warnings(within, {}))


def test_what_the_watch_counted_is_warned_of(one):
    one.summary.write_text(json.dumps(small.summary("runs/one") | {"spikes": 2, "rollbacks": 1, "nonfinite": 3}))
    assert [text.split()[0] for text in account(one)["warnings"]] == ["2", "3", "1"]


def test_an_option_is_looked_for_in_conf_alone(one, tmp_path):
    (tmp_path / "mine.yaml").write_text("n_layer: 77\n")
    saved = json.loads(one.config.read_text())
    for option in (str(tmp_path / "mine"), os.path.relpath(tmp_path / "mine", conf_dir() / "model"), "no-such", "", 7):
        one.config.write_text(json.dumps(saved | {"choices": {"model": option, "nothing": "x", "seed": "y"}}))
        assert account(one)["changed"]["model.n_layer"] == {"value": 1, "default": 4}  # of the schema


def test_no_control_code_reaches_the_terminal(one, capsys):
    (one.path / "overrides.txt").write_text("prompt=\x1b[31mred\n")
    config = json.loads(one.config.read_text())
    config["config"]["prompt"] = "\x1b]0;x\x07"
    one.config.write_text(json.dumps(config))
    assert "\x1b" not in said(capsys, "one")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FILES = ["config.json", "summary.json", "decisions.json", "env.json", "data.json", "metrics.jsonl"]
PLACES = [
    "config",
    "choices",
    "model",
    "status",
    "seconds",
    "steps",
    "best_step",
    "val_loss",
    "step",
    "splits",
    "train",
]
PLACES += ["parameters", "dtype", "value", "weights_sha256", "tokens", "cores", "commit", "spikes", "error", "data"]


def planted(value, place, junk):
    """A value with junk wherever a key of this name is."""
    if isinstance(value, dict):
        return {k: junk if k == place else planted(v, place, junk) for k, v in value.items()}
    return value


@given(file=st.sampled_from(FILES), place=st.sampled_from([*PLACES, ""]), junk=JUNK)
def test_junk_from_anyone_breaks_nothing(trained, tmp_path_factory, file, place, junk):
    folder = tmp_path_factory.getbasetemp() / "junk"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained / "runs/one", folder, ignore=shutil.ignore_patterns("checkpoints", "samples"))
    lines = (folder / file).read_text().splitlines() if file == "metrics.jsonl" else [(folder / file).read_text()]
    made = [planted(json.loads(line), place, junk) if place else junk for line in lines]
    (folder / file).write_text("".join(json.dumps(one) + "\n" for one in made))
    found = account(Run(folder))
    json.dumps(found, allow_nan=False)
    show(found, Screen(io.StringIO()))


def test_find_takes_no_sweep_and_no_other_folder(one):
    Path("plain").mkdir()
    with pytest.raises(CheckpointError):
        history.find("plain")
    assert history.find("latest").path == one.path
