"""gptforge reproduce: the same weights again, or what is not as it was."""

import json
import shutil
from pathlib import Path

import pytest

import small
from gptforge.jsonfile import read_json, write_json
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module
from gptforge.train.again import goal

LEAVE_OPEN = {"model__dropout": None, "optimizer__ema_decay": 0.9}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a text and runs/: one that is done, and one that was stopped in its middle."""
    path = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        Path("runs").mkdir()
        assert small.gptforge(*small.typed(small.config(), "runs/one")) == 0
        stopped = small.typed(small.config(**LEAVE_OPEN), "runs/half")
        assert small.gptforge(*stopped, "train.stop_after=7") == 75
        for file in Path("runs").glob("*.json"):
            file.unlink()
    return path


@pytest.fixture(autouse=True)
def here(trained, tmp_path, monkeypatch):
    """A copy of it, to be changed."""
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")


def changed(path: str, **values) -> None:
    write_json(Path(path), read_json(Path(path), path) | values)


def runs() -> set[str]:
    return {path.parent.name for path in Path("runs").glob("*/config.json")}


def reproduced(capsys, *words: str, code: int = 0) -> dict:
    assert small.gptforge("reproduce", *words, "ui=quiet", "json=true") == code
    return json.loads(capsys.readouterr().out)


def test_a_run_comes_to_the_same_weights(capsys):
    found = reproduced(capsys, "one")
    assert found["same"] and found["step"] == 12 and found["notes"] == [] and found["differs"] == {}
    new = Run.find(found["new"])
    assert runs() == {"one", "half", new.path.name} and Run.find("latest").path == new.path
    assert small.course(new.path) == small.course("runs/one")
    assert found["weights_sha256"]["new"] == small.summary("runs/one")["weights_sha256"]
    assert json.loads(new.decisions.read_text()) == json.loads(Path("runs/one/decisions.json").read_text())
    assert (new.path / "overrides.txt").read_text() == "config=runs/one/config.json\n"


def test_the_text_says_so(capsys):
    assert small.gptforge("reproduce", "one", "ui=quiet", "hydra.run.dir=elsewhere") == 0
    out = capsys.readouterr().out
    assert "the same weights after step 12: one and " in out and small.summary("elsewhere")["weights_sha256"] in out


def test_one_that_is_half_done_is_reproduced_so_far(capsys):
    found = reproduced(capsys, "half")
    assert found["same"] and found["step"] == 7 and "its checkpoint of step 7" in found["notes"][0]
    assert small.summary(f"runs/{found['new']}")["status"] == "stopped"


def test_a_killed_one_is_measured_by_its_newest_sound_checkpoint(capsys):
    changed("runs/one/summary.json", status="running", weights_sha256=None)
    (Run(Path("runs/one")).checkpoint(12) / "model.safetensors").write_bytes(b"x")
    found = reproduced(capsys, "one")
    assert found["same"] and found["step"] == 9 and "dead" in found["notes"][0]


def test_one_that_went_on_comes_out_as_if_it_had_not_been_stopped(capsys):
    assert small.gptforge("train", "resume=half", "ui=quiet") == 0
    capsys.readouterr()
    found = reproduced(capsys, "half")
    assert found["same"] and found["step"] == 12
    config = json.loads(Path("runs", found["new"], "config.json").read_text())["config"]
    assert config["resume"] is None and config["train"]["stop_after"] is None


def test_other_weights_are_said_with_what_differs(capsys):
    changed("runs/one/summary.json", weights_sha256="0" * 64)
    found = reproduced(capsys, "one", code=8)
    assert not found["same"] and found["differs"] == {}
    changed("runs/one/env.json", torch="1.0", memory_free_bytes=1)
    assert small.gptforge("reproduce", "one", "ui=quiet") == 8
    out = capsys.readouterr().out
    assert "other weights after step 12" in out and "  torch: 1.0 -> 2." in out and "memory" not in out


def test_the_decisions_are_those_of_the_run(capsys):
    decisions = read_json(Path("runs/half/decisions.json"), "it")
    changed("runs/half/decisions.json", dropout={"value": 0.5, "reason": "so"})
    found = reproduced(capsys, "half", code=8)
    now = json.loads(Path("runs", found["new"], "decisions.json").read_text())
    assert now["dropout"] == {"value": 0.5, "reason": "so"} and decisions["dropout"]["value"] != 0.5


def test_another_text_is_refused_before_anything_is_made(capsys):
    small.write_text(seed=3)
    for _ in range(2):
        assert small.gptforge("reproduce", "one", "ui=quiet") == 3
        assert "the text is not the one that the run learnt" in capsys.readouterr().err
        Path("runs/one/data.json").unlink(missing_ok=True)  # then the checkpoint knows it
    assert runs() == {"one", "half"}


def test_other_values_after_a_stop_are_told_and_no_kernel_is_blamed(capsys):
    """The decisions are those of the last start, so that nothing else tells of the others."""
    assert small.gptforge("train", "resume=half", "train.grad_accum=8", "train.on_spike=skip", "ui=quiet") == 0
    capsys.readouterr()
    assert small.gptforge("reproduce", "half", "ui=quiet") == 8
    out = capsys.readouterr().out
    told = "train.micro_batch_size 4 -> 1 after step 7; train.on_spike warn -> skip after step 7"
    assert f"the same weights are not to be expected: {told}" in out and "kernels" not in out
    found = reproduced(capsys, "half", code=8)
    assert found["changed_on_the_way"] == told.split("; ") and found["differs"] == {}


def test_an_allowed_change_is_told_by_its_name(capsys):
    assert small.gptforge("train", "resume=half", "lr=1e-3", "resume_allow=[optimizer.lr]", "ui=quiet") == 0
    aim = goal(Run(Path("runs/half")), "quiet")
    assert aim.changed == ["optimizer.lr 0.003 -> 0.001 after step 7"] and aim.changed[0] in aim.notes[0]


def test_of_a_run_of_an_earlier_version_is_told_what_was_typed():
    said = read_json(Path("runs/one/summary.json"), "it")
    del said["changed_on_the_way"]
    write_json(Path("runs/one/summary.json"), said)
    assert goal(Run(Path("runs/one")), "quiet").notes == []
    for word, expected in (("resume=one", "not known whether"), ("resume_allow=[optimizer.lr]", "resume_allow=[opt")):
        with Path("runs/one/overrides.txt").open("a") as file:
            file.write(f"{word}\n")
        assert expected in goal(Run(Path("runs/one")), "quiet").notes[0]


def test_one_that_is_done_needs_no_checkpoint(capsys):
    for path in Path("runs/one/checkpoints").glob("*/model.safetensors"):
        path.write_bytes(b"x")
    assert reproduced(capsys, "one")["same"]
    Path("runs/one/data.json").unlink()
    assert "not known which text" in goal(Run(Path("runs/one")), "quiet").notes[0]


def test_a_text_that_nothing_tells_of_is_said():
    Path("runs/one/data.json").unlink()
    shutil.rmtree("runs/one/checkpoints")
    assert "not known which text" in goal(Run(Path("runs/one")), "quiet").notes[0]


def of_time():
    config = read_json(Path("runs/one/config.json"), "it")["config"]
    config["train"] |= {"time": "1s", "steps": None}
    changed("runs/one/config.json", config=config)


def without_results():
    changed("runs/one/summary.json", status="failed", weights_sha256=None)
    shutil.rmtree("runs/one/checkpoints")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (of_time, "train.steps=12"),
        (without_results, "neither ended nor saved"),
        (lambda: Path("runs/one/config.json").write_text("{"), "cannot be reproduced"),
        (lambda: Path("runs/one/decisions.json").unlink(), "the decisions is missing"),
        (lambda: changed("runs/one/decisions.json", threads=3), "threads in the decisions is 3"),
        (lambda: changed("runs/one/decisions.json", dtype={"value": [], "reason": ""}), "dtype in the decisions"),
        (lambda: Path("runs/one/decisions.json").write_text("{}"), "name no device"),
        (lambda: shutil.rmtree("runs/one"), "there is no run"),
    ],
)
def test_what_cannot_be_reproduced_is_told(capsys, spoil, says):
    spoil()
    assert small.gptforge("reproduce", "one") == 4
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) <= 8
    assert not any(name.startswith("20") for name in runs())


@pytest.mark.slow
def test_several_processes_reproduce_too(capsys):
    cfg = small.config(parallel__kind="ddp", parallel__nproc=2)
    assert small.gptforge(*small.typed(cfg, "runs/two")) == 0
    assert small.gptforge("reproduce", "two", "ui=quiet") == 0
    changed("runs/two/summary.json", weights_sha256="0" * 64)
    assert small.gptforge("reproduce", "two", "ui=quiet") == 8
