"""The report of a run: whole for a real one, made for any other, and no text of anybody's acts in it."""

import itertools
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.logs.drawing import DARK, HEAT_DARK, HEAT_LIGHT, LIGHT, heat
from gptforge.report import run_page as page_module
from gptforge.report.html import spelled, written
from gptforge.report.run_files import read
from gptforge.report.run_page import next_commands, run_page
from gptforge.report.run_warnings import warnings
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from pages import HOSTILE, Page, checked

HEADINGS = [
    "Loss", "How it went", "What it wrote", "A passage, token by token", "Checkpoints", "Config", "What was decided",
    "Text and tokens", "Environment", "Log",
]  # fmt: skip


def page_of(run: Run) -> Page:
    return checked(run_page(read(run)))


def test_the_run_itself_has_made_one(run):
    page = checked(Path("runs/one/report.html").read_text())
    assert page.headings() == HEADINGS
    stopped = checked(Path("runs/stopped/report.html").read_text())
    assert "It was stopped after step 5 of 12, and can go on." in stopped.text()
    assert "as" in stopped.headings()[0] or stopped.headings() == [h for h in HEADINGS if h in stopped.headings()]


def test_it_says_how_the_run_went(run):
    page, summary = page_of(run), small.summary("runs/one")
    assert page.headings() == [*HEADINGS[:4], "Evaluations beside baselines", *HEADINGS[4:]]
    said = page.text()
    for words in (
        "one: report of a run", "done", "1 layer, 2 heads, width 32, context 32", "text.txt", "(char tokens)",
        f"best validation loss, step {summary['best_step']}{summary['best_val_loss']:.4f}", "steps12",
        "tokens learnt3.07k", "gptforge sample ckpt=one", "gptforge eval ckpt=one", "prompt=ab", "after step 12",
        "latest", "ab", "checkpoint.every", "It was started 2 times.", summary["weights_sha256"], "5-gram", "copa",
        "acc",
    ):  # fmt: skip
        assert words in said, words
    assert "cannot be shown" not in said and "Not all is there" not in said and "Warning" not in said
    rows = re.findall(r"<tr>.*?</tr>", run_page(read(run)))
    typed = next(row for row in rows if ">prompt<" in row and "typed" in row)
    assert "<bdi>ab</bdi>" in typed
    assert any("checkpoint.every" in row and ">3<" in row and ">null<" in row for row in rows)


def test_the_curves_are_those_of_the_metrics(run):
    told = read(run)
    metrics = [json.loads(line) for line in Path("runs/one/metrics.jsonl").read_text().splitlines()]
    assert told.series["train_loss"] == [(m["step"], m["train_loss"]) for m in metrics if "train_loss" in m]
    assert [(one["step"], one["val_loss"]) for one in told.evaluations] == [
        (m["step"], m["val_loss"]) for m in metrics if "val_loss" in m
    ]
    page = page_of(run)
    plots = [a["aria-label"] for a in page.all("svg") if a.get("class", "").startswith("plot")]
    assert len(plots) == 6 and plots[0].startswith("Loss over 12 steps: training from ")
    lines = [attrs["class"] for attrs in page.all("polyline")]
    assert lines[:6] == ["raw", "smooth", "val"] * 2
    readings = [d for where, d in page.texts if where[-2:] == ("g", "text")]
    assert f"step 8: training {metrics_of(metrics, 8)['train_loss']:.4g}" in "\n".join(readings)


def metrics_of(metrics, step):
    return next(m for m in metrics if m["step"] == step and "train_loss" in m)


def test_the_plan_is_that_of_the_last_start(run):
    told = read(run)
    names = [what for what, _, _ in told.log.plan]
    assert told.log.starts == 2 and len(names) == len(set(names)) > 10
    assert ("batch", "8 sequences, 256 tokens", "2 micro-batches") in told.log.plan
    assert [kind for _, kind, _ in told.log.told].count("start") == 2


def test_both_scales_are_there_and_chosen_without_a_script(run):
    page = page_of(run)
    choices = page.all("input")
    assert [(c["type"], c["class"], "checked" in c) for c in choices] == [
        ("radio", "of-linear", True), ("radio", "of-log", False),
    ]  # fmt: skip
    style = "".join(data for where, data in page.texts if "style" in where)
    assert ".either:has(.of-linear:checked) > .log" in style and ".at:hover" in style
    assert "no network and no script" in page.text()


def test_the_passage_is_coloured_by_its_losses(run):
    pieces = json.loads(Path("runs/one/passage.json").read_text())["pieces"]
    page = page_of(run)
    tokens = [a for a in page.all("span")]
    assert len(tokens) == len(pieces) == 33 and tokens[0]["class"] == "first-token"
    shown = [f"{piece['nats']:.2f} nats" for piece in pieces[1:]]
    assert [a["title"].partition(",")[0] for a in tokens[1:]] == shown
    passage = json.loads(json.dumps({"step": 1, "pieces": [{"text": "a", "nats": None}]}))
    for nats, cls in ((0.0, 0), (0.1, 0), (0.4, 1), (1.0, 2), (1.5, 3), (2.5, 4), (4.0, 5), (9.0, 6), (800.0, 6)):
        passage["pieces"].append({"text": "b", "nats": nats})
        small_page = checked_passage(run, passage)
        assert small_page.all("span")[-1]["class"] == f"heat-{cls}", nats


def checked_passage(run: Run, passage) -> Page:
    Path(run.path, "passage.json").write_text(json.dumps(passage))
    return page_of(run)


@pytest.mark.parametrize(("colours", "shares"), [(LIGHT, HEAT_LIGHT), (DARK, HEAT_DARK)], ids=["light", "dark"])
def test_text_can_be_read_on_every_colour_and_lightness_alone_tells_them_apart(colours, shares):
    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    back = [luminance(colour) for colour in heat(colours, shares).values()]
    ink = luminance(colours["ink"])
    for one in back:
        high, low = max(ink, one), min(ink, one)
        assert (high + 0.05) / (low + 0.05) >= 4.5
    steps = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in itertools.pairwise(back)]
    assert min(steps) >= 1.08 and back == sorted(back, reverse=colours is LIGHT)


# Runs in every state ------------------------------------------------------------------------------------------


def test_a_failed_run_says_why(own_folder, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.write_text()
    cfg = small.config(optimizer__kind="adamw", optimizer__lr=1e30, train__grad_clip=0)
    assert small.gptforge(*small.typed(cfg, "run")) == 6
    page = checked(Path("run/report.html").read_text())
    assert "It failed after step" in page.text() and "gptforge train resume=run" in page.text()
    assert not Path("run/passage.json").exists()


def test_a_dead_and_a_running_run(run, monkeypatch):
    summary = json.loads(run.summary.read_text()) | {
        "status": "running",
        "steps": 5,
        "tokens": 1280,
    }  # as at the last start
    run.summary.write_text(json.dumps(summary))
    dead = page_of(run)
    assert "it was killed after step 12." in dead.text() and "gptforge train resume=one" in dead.text()
    assert "steps12" in dead.text() and "tokens learnt3.07k" in dead.text()
    monkeypatch.setattr("gptforge.history.in_use", lambda run: True)
    going = page_of(run)
    assert "It is going on: the page shows it after step 12" in going.text() and "resume=one" not in going.text()


PARTS = ("config.json", "summary.json", "decisions.json", "env.json", "overrides.txt", "metrics.jsonl", "train.log")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_missing_is_said_and_the_rest_is_there(run, name):
    (run.path / name).unlink()
    page = page_of(run)
    assert f"{name} is missing" in page.text() and "cannot be shown" not in page.text()
    assert len(page.headings()) >= 9


def test_a_run_that_has_lost_everything(run):
    for path in run.path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    assert page.headings() == ["Loss"] and "No losses are recorded yet." in page.text()
    assert all(f"{name} is missing" in page.text() for name in PARTS) and "there is no checkpoint" in page.text()


def test_a_run_of_an_earlier_version_has_no_passage(run):
    (run.path / "passage.json").unlink()
    page = page_of(run)
    assert "A passage, token by token" not in page.headings() and "Not all is there" not in page.text()


def test_lines_of_metrics_that_are_none_are_counted(run):
    whole = run.metrics.read_bytes()
    run.metrics.write_bytes(
        whole + b'nonsense\n[1]\n{"step": "x"}\n{"train_loss": 1}\n' + b"[" * 9999 + b'\n{"step": 13, "tr'
    )
    page = page_of(run)
    assert "5 lines of metrics.jsonl cannot be read" in page.text()
    assert read(run).series["train_loss"][-1][0] == 12


def test_values_that_cannot_be_drawn_are_left_out(run):
    lines = [
        '{"step": 1, "train_loss": NaN, "lr": "much", "grad_norm": true, "data_wait": 1e300}',
        '{"step": 2, "train_loss": 2.0, "lr": null}', '{"step": 1' + "0" * 400 + ', "train_loss": 1}',
        '{"step": 3, "val_loss": Infinity}', '{"step": 1.5, "train_loss": 3}',
    ]  # fmt: skip
    run.metrics.write_text("\n".join(lines) + "\n")
    told = read(run)
    assert told.series == {"train_loss": [(1.5, 3.0), (2.0, 2.0)]} and told.evaluations == []
    checked(run_page(told))


def test_links_out_of_the_run_and_pipes_are_not_read(run):
    Path("secret.txt").write_text("the secret of somebody else")
    (run.path / "samples" / "step-000099.txt").symlink_to(Path("secret.txt").resolve())
    (run.path / "train.log").unlink()
    (run.path / "train.log").symlink_to(Path("secret.txt").resolve())
    (run.path / "env.json").unlink()
    os.mkfifo(run.path / "env.json")
    said = page_of(run).text()
    assert "of somebody else" not in said
    assert "train.log is a link that leads out of the run" in said and "env.json is no file" in said
    assert "samples/step-000099.txt is a link" in said


def test_many_samples_are_spread_and_long_ones_are_cut(run):
    for step in range(100, 200):
        (run.path / "samples" / f"step-{step:06d}.txt").write_text("x" * 100_000)
    page = page_of(run)
    assert "12 of 103, evenly spread." in page.text() and "after step 199" in page.text()
    assert page.text().count("x" * 1000) == page.text().count("…") == 11


# Warnings -----------------------------------------------------------------------------------------------------


def evaluated(run: Run, *losses: tuple[float, float]):
    lines = [json.dumps({"step": n, "val_loss": v, "train_eval_loss": t}) for n, (v, t) in enumerate(losses, 1)]
    run.metrics.write_text("\n".join(lines) + "\n")
    return warnings(read(run))


def test_overfitting_is_seen(run):
    (warning,) = evaluated(run, (2.0, 2.0), (1.8, 1.7), (1.9, 1.4), (2.1, 1.0))
    assert "since step 2 the validation loss rose from 1.800 to 2.100 over 2 evaluations" in warning
    assert "fell from 1.700 to 1.000" in warning and warning in page_of(run).text()
    assert evaluated(run, (2.0, 2.0), (1.8, 1.7), (2.1, 1.0)) == []  # not for long
    assert evaluated(run, (2.0, 2.0), (1.8, 1.7), (1.81, 1.4), (1.82, 1.0)) == []  # hardly
    assert evaluated(run, (2.0, 2.0), (1.8, 1.7), (1.9, 1.8), (2.1, 1.9)) == []  # the training loss rises too
    assert evaluated(run, (2.0, 2.0), (1.8, 1.7)) == []


def test_what_was_counted_and_told_is_repeated_once(run):
    summary = json.loads(run.summary.read_text()) | {"spikes": 1, "nonfinite": 2, "passed_over": 3, "rollbacks": 1}
    run.summary.write_text(json.dumps(summary))
    with run.path.joinpath("train.log").open("a") as f:
        f.write("2026-11-28 10:00:00 warning the loss jumped\n    over two lines\n" * 2)
        f.writelines(f"2026-11-28 10:00:00 warning number {n}\n" for n in range(9))
    found = warnings(read(run))
    assert [text[:7] for text in found[:4]] == ["1 step ", "2 steps", "3 batch", "1 time "]
    assert found[4] == "the loss jumped\nover two lines" and len(found) == 14
    page = page_of(run)
    assert len([a for a in page.all("p") if a.get("class") == "said warning"]) == page_module.SAID
    assert "And 6 more warnings" in page.text() and "number 8" in page.text()


# Nothing of anybody's acts ------------------------------------------------------------------------------------


def poisoned(value):
    if isinstance(value, dict):
        return {key + HOSTILE if key not in KEPT else key: poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) and value not in ("done", "val") else value


KEPT = {
    "config", "choices", "schema_version", "model", "data", "path", "tokenizer", "kind", "status", "error", "pieces",
    "text", "nats", "step", "value", "reason", "baselines", "name", "bits_per_byte", "note", "label", "split", "loss",
    "checkpoint", "tasks", "groups", "figures", "metric", "stderr", "perplexity", "fingerprint", "weights_sha256",
}  # fmt: skip


def test_no_text_of_anybody_s_is_markup_wherever_it_stands(run):
    place = Path("runs", "a <b>\u202e & 'co'")
    run.path.rename(place)
    for path in place.rglob("*.json"):
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    bad = HOSTILE.encode("utf-8", "surrogateescape" if os.name == "nt" else "replace").decode()
    for path in (*place.rglob("*.txt"), place / "train.log"):
        lines = path.read_text().splitlines() or [""]
        path.write_text("".join(f"{line}{bad}\n" for line in lines))
    page = checked(run_page(read(Run(place))))
    assert len(page.all("b")) == 1 and not page.all("i") and not page.all("script")
    assert page.text().count("</script><b>") > 150 and "cannot be shown" not in page.text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted(KEPT)) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)
ANY = st.dictionaries(st.sampled_from(sorted(KEPT)), JSON, max_size=8)
FILES = ("config.json", "summary.json", "decisions.json", "env.json", "passage.json", "eval-000012-text-val-0.json")


@pytest.fixture(scope="module")
def strange(trained, tmp_path_factory):
    return Path(shutil.copytree(trained / "runs/one", tmp_path_factory.mktemp("strange") / "one"))


@settings(max_examples=40)
@given(st.sampled_from(FILES), ANY, st.binary(max_size=60))
def test_whatever_is_in_a_file_there_is_a_page(strange, name, value, tail):
    path, metrics, log = strange / name, strange / "metrics.jsonl", strange / "train.log"
    before = path.read_bytes(), metrics.read_bytes(), log.read_bytes()
    try:
        path.write_text(json.dumps(value))
        metrics.write_bytes(before[1] + json.dumps(value).encode() + b"\n" + tail + b"\n")
        log.write_bytes(tail + b"\n" + before[2])
        checked(run_page(read(Run(strange))))
    finally:
        for place, content in zip((path, metrics, log), before, strict=True):
            place.write_bytes(content)


def test_secrets_stay_out(run):
    for name in ("config.json", "env.json", "decisions.json", "summary.json"):
        held = json.loads((run.path / name).read_text())
        held |= {"api_key": "s3cret-1", "nested": {"hf_token": "s3cret-2", "url": "https://me:s3cret-3@example.org/x"}}
        if name == "config.json":
            held["config"]["data"]["password"] = "s3cret-4"
        (run.path / name).write_text(json.dumps(held))
    (run.path / "overrides.txt").write_text("wandb_api_key=s3cret-5\nprompt=https://me:s3cret-6@example.org\n")
    with (run.path / "train.log").open("a") as f:
        f.write("2026-11-28 10:00:00 warning it went to http://me:s3cret-7@example.org\n")
        f.write("2026-11-28 10:00:00 start   again\n2026-11-28 10:00:00 plan    data: ftp://me:s3cret-8@x.org (y)\n")
    summary = json.loads(run.summary.read_text()) | {"status": "failed", "error": "at ftp://me:s3cret-9@x.org"}
    run.summary.write_text(json.dumps(summary))
    text = run_page(read(run))
    assert "at ftp://<redacted>@x.org" in checked(text).text() and "s3cret" not in text


@given(st.text(st.characters() | st.sampled_from("\n\t<>&\u202e\r")))
def test_a_text_of_several_lines_comes_out_as_it_went_in(text):
    page = Page(written(text))
    parts = re.split(r"([\n\t])", text.replace("\r\n", "\n"))
    assert page.text() == "".join(part if part in ("\n", "\t") else spelled(part) for part in parts)
    assert [tag for tag, _ in page.elements] == ["pre", "code", "bdi"]


# Long runs ----------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_records_are_a_small_page_made_quickly(run):
    with run.metrics.open("w") as f:
        for n in range(1, 100_001):
            loss = 9.0 if n == 54_321 else 1 + 3 / n
            rest = f'"lr": {1e-3 / n}, "grad_norm": {1 + n % 7 / 5}, "tokens_per_second": {20000 + n % 999}'
            f.write(f'{{"step": {n}, "train_loss": {loss}, {rest}, "data_wait": {n % 13 / 1000}, "tokens": {n}}}\n')
            if n % 500 == 0:
                f.write(f'{{"step": {n}, "val_loss": {1.1 + 3 / n}}}\n')
    before = time.process_time()
    text = run_page(read(run))
    assert time.process_time() - before < 5  # 1.5 s on a busy machine
    assert len(text) < 600_000
    checked(text)


def test_the_next_commands_can_be_typed(run):
    commands = [command for command, _ in next_commands(read(run))]
    assert commands[:2] == ["gptforge sample ckpt=one", "gptforge eval ckpt=one"]
    run.path.rename("runs/my run; rm x")
    commands = [command for command, _ in next_commands(read(Run(Path("runs/my run; rm x"))))]
    assert commands[0] == "gptforge sample 'ckpt=my run; rm x'"
    (Path("runs/my run; rm x") / "checkpoints" / "best").write_text("step-000009\n")
    commands = [command for command, _ in next_commands(read(Run(Path("runs/my run; rm x"))))]
    assert "gptforge sample 'ckpt=my run; rm x/best'" in commands


# In the loop, and as a command --------------------------------------------------------------------------------


def broken(*arguments):
    raise ZeroDivisionError("nobody thought of it")


@pytest.mark.parametrize("what", ["gptforge.report.run_page.run_page", "gptforge.train.evaluation.passage"])
def test_a_report_that_cannot_be_made_ends_no_run(own_folder, monkeypatch, what):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    small.write_text()
    whole = small.trainer(small.config(train__steps=3), "whole")
    whole.fit()
    monkeypatch.setattr(what, broken)
    small.trainer(small.config(train__steps=3)).fit()
    assert small.log("run").count("report.html is not as the run is: nobody thought of it") == 1
    assert small.summary("run")["status"] == "done" and small.course("run") == small.course("whole")


def test_the_command_draws_it_anew_and_says_where(run, capsys):
    (run.path / "report.html").unlink()
    assert small.gptforge("report", "one") == 0
    assert capsys.readouterr().out == "runs/one/report.html\n"
    checked((run.path / "report.html").read_text())
    assert small.gptforge("report", "runs/one/checkpoints/step-000012", "out=other.html") == 0
    assert Path("other.html").read_text() == (run.path / "report.html").read_text()
    Path("folder").mkdir()
    assert small.gptforge("report", "out=folder") == 0  # of the latest run
    assert Path("folder/report.html").read_text() == Path("other.html").read_text()
    (run.path / "config.json").unlink()
    assert small.gptforge("report", "run=one") == 0
    assert "config.json is missing" in (run.path / "report.html").read_text()


def test_what_the_command_cannot_do_is_said(run, capsys):
    assert small.gptforge("report", "nowhere") == 4
    assert small.gptforge("report", "one", "out=no/folder/x.html") == 5
    Path("empty").mkdir()
    assert small.gptforge("report", "empty") == 4
    said = capsys.readouterr()
    assert "no run or checkpoint 'nowhere'" in said.err and "the report cannot be written" in said.err
    assert said.out == "" and "Traceback" not in said.err


def test_every_default_of_the_config_is_known(own_folder):
    """A run with nothing changed shows no key as changed."""
    Path("run").mkdir()
    Path("run/config.json").write_text(json.dumps(as_saved(TrainConfig(), {})))
    assert "Keys that are not at their defaults" not in page_of(Run(Path("run"))).text()
