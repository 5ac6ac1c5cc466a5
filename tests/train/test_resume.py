"""A run that is killed, stopped or broken off goes on bit for bit as if nothing had been."""

import json
import random
from pathlib import Path

import pytest

import killing
import small
from gptforge import checkpoint
from gptforge.config import DataConfig, TokenizerConfig
from gptforge.data.prepare import prepare
from gptforge.runs import Run
from gptforge.runtime import Machine
from gptforge.train import trainer as trainer_module
from gptforge.train.decisions import as_before
from gptforge.train.parts import build_parts

RUN = "run"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, and the uninterrupted run that all others are compared with."""
    path = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        small.write_text()
        small.trainer(small.config(), "uninterrupted").fit()
    return path


@pytest.fixture
def uninterrupted(folder, own_folder):
    """Its course; the working directory has the same text."""
    small.write_text()
    return small.course(folder / "uninterrupted")


def begin(*words: str, **changes) -> int:
    return small.gptforge(*small.typed(small.config(**changes), RUN), *words)


def resume(*words: str, run: str = RUN) -> int:
    return small.gptforge("train", f"resume={run}", *words)


def stop_at(step: int) -> None:
    assert begin(f"train.stop_after={step}", "checkpoint.keep=20") == 75
    assert small.summary(RUN)["status"] == "stopped"


# kill -9 -----------------------------------------------------------------------------------------------------

KILLED = [
    "model=tiny", "data=pydoc", "model.dropout=0.1", "train.batch_size=8", "train.grad_accum=2", "eval.every=25",
    "checkpoint.every=5", "log.every=1", "sample.max_new_tokens=10", "runtime.threads=1", "ui=quiet",
]  # fmt: skip


def killed_at_random_moments(steps: int, wanted: int, seed: int, *more: str) -> None:
    """Kills runs, counted from the start of each process, so that imports and saves are hit too."""
    words = ["train", *KILLED, f"train.steps={steps}", *more]
    prepare(DataConfig(source="pydoc"), TokenizerConfig())  # into the cache, so that all starts take the same time
    peaceful = killing.in_peace(killing.Command, words)
    moments = killing.at_any_time(random.Random(seed), peaceful, wanted)
    killing.kill_repeatedly(killing.Command, words, peaceful, moments, wanted)


def test_kill_at_random_moments(own_folder):
    killed_at_random_moments(120, 4, 1)


@pytest.mark.slow
def test_kill_at_twenty_random_moments(own_folder):
    killed_at_random_moments(500, 20, 2)


@pytest.mark.slow
def test_kill_with_muon_and_averaged_weights(own_folder):
    killed_at_random_moments(300, 10, 3, "optimizer=muon", "optimizer.ema_decay=0.99")


# A planned stop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 12))
def test_stopped_at_every_step(uninterrupted, step):
    stop_at(step)
    assert Run(Path(RUN)).steps()[-1] == step
    assert resume() == 0
    assert small.course(RUN) == uninterrupted
    assert not killing.litter(RUN)


@pytest.mark.parametrize("words", [["optimizer.kind=muon"], ["optimizer.kind=muon", "optimizer.ema_decay=0.9"]])
def test_stopped_with_other_optimizers(own_folder, words):
    small.write_text()
    assert small.gptforge(*small.typed(small.config(), "uninterrupted"), *words) == 0
    for step in (1, 6):  # between evaluations, whose weights are the average
        run = f"stopped-{step}"
        assert small.gptforge(*small.typed(small.config(), run), *words, f"train.stop_after={step}") == 75
        assert resume(run=run) == 0
        assert small.course(run) == small.course("uninterrupted")


def test_resumed_again_and_again(uninterrupted):
    stop_at(2)
    for step in (3, 4, 7, 8):  # 4 and 8 are evaluated
        assert resume(f"train.stop_after={step - small.summary(RUN)['steps']}") == 75
        assert small.summary(RUN)["steps"] == step
    assert resume() == 0
    assert small.course(RUN) == uninterrupted


def test_stopped_after_a_time(uninterrupted):
    assert begin("train.stop_after=1s", train__steps=100_000, eval__every=100_000, checkpoint__every=100_000) == 75
    assert small.summary(RUN)["steps"] == Run(Path(RUN)).steps()[-1] > 0


def test_own_loop_goes_on_in_another_trainer(uninterrupted):
    cfg = small.config(train__stop_after="5")
    with pytest.raises(trainer_module.Stopped):
        small.trainer(cfg, RUN).fit()
    run = Run(Path(RUN))
    path, warnings = checkpoint.first_sound(run.newest_first())
    trainer_module.Trainer(small.config(), run).fit(path, warnings)
    assert small.course(RUN) == uninterrupted


@pytest.mark.parametrize("step", [5, 8, 12])
def test_broken_off_between_a_checkpoint_and_its_pointers(uninterrupted, step, monkeypatch):
    class Killed(BaseException):
        pass

    point = checkpoint.point

    def killed(run, name, at):
        if at >= step:
            raise Killed
        point(run, name, at)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "point", killed)
        with pytest.raises(Killed):
            small.trainer(small.config(checkpoint__every=1), RUN).fit()
    assert resume() == 0
    run = Run(Path(RUN))
    assert run.pointer("latest") == 12
    assert run.pointer("best") == small.summary(RUN)["best_step"]
    assert small.course(RUN) == uninterrupted


# Other checkpoints -------------------------------------------------------------------------------------------


def test_an_older_checkpoint_sets_newer_ones_aside(uninterrupted):
    assert begin("checkpoint.keep=20") == 0
    held = {step: (Run(Path(RUN)).checkpoint(step) / "MANIFEST.json").read_bytes() for step in Run(Path(RUN)).steps()}
    assert resume("train.stop_after=1", run=f"{RUN}/checkpoints/step-000006") == 75
    run = Run(Path(RUN))
    assert [s for s in run.steps() if s > 6] == [7]
    assert run.pointer("latest") == 7
    assert run.pointer("best") in run.steps()
    aside = run.checkpoints / "set-aside-1"
    assert {p.name for p in aside.iterdir()} == {f"step-{s:06d}" for s in held if s > 6}
    for path in aside.iterdir():
        assert (path / "MANIFEST.json").read_bytes() == held[int(path.name[5:])]
    assert "later checkpoints were moved to" in small.log(RUN)
    assert resume() == 0
    assert small.course(RUN) == uninterrupted


def test_a_damaged_checkpoint_is_passed_over(uninterrupted, capsys):
    stop_at(8)
    newest = Run(Path(RUN)).newest_first()[0] / "optimizer.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    assert resume() == 0
    assert small.course(RUN) == uninterrupted
    said = " ".join(capsys.readouterr().err.split())
    assert "optimizer.safetensors" in said and "sha256" in said
    assert "passed over for the one before" in small.log(RUN)
    assert Path(RUN, "checkpoints/set-aside-1/step-000008").is_dir()


def test_a_damaged_checkpoint_that_was_asked_for_is_refused(uninterrupted, capsys):
    stop_at(8)
    path = Run(Path(RUN)).newest_first()[0]
    (path / "model.safetensors").write_bytes(b"")
    assert resume(run=str(path)) == 4
    assert "model.safetensors" in capsys.readouterr().err
    assert Run(Path(RUN)).steps()[-1] == 8


def test_without_a_checkpoint_it_begins_anew(uninterrupted):
    class Killed(BaseException):
        pass

    broken = small.trainer(small.config(), RUN)
    step, done = broken.step, []

    def killed():
        if len(done) == 2:
            raise Killed
        done.append(step())
        return done[-1]

    broken.step = killed
    with pytest.raises(Killed):
        broken.fit()
    assert len(small.records(RUN)) == 2
    assert resume() == 0
    assert "begins anew" in small.log(RUN)
    assert small.course(RUN) == uninterrupted


def test_a_finished_run_stays_as_it_is(uninterrupted):
    assert begin() == 0
    before = small.course(RUN)
    assert resume() == 0
    assert small.course(RUN) == before == uninterrupted
    assert small.summary(RUN)["status"] == "done"


def test_a_missing_run_is_refused(own_folder, capsys):
    assert small.gptforge("train", "resume=nothing") == 4
    assert small.gptforge("train", "resume=latest") == 4
    assert not Path("runs").exists()


def test_a_run_in_use_is_refused(uninterrupted):
    stop_at(3)
    with Run(Path(RUN)).locked():
        assert resume() == 7
    assert Run(Path(RUN)).steps()[-1] == 3


# Changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    ["model.n_layer=2", "seed=1", "optimizer.lr=1e-4", "train.batch_size=4", "data.shuffle=false", "train.steps=20"],
)
def test_changes_that_would_make_it_another_run_are_refused(uninterrupted, change, capsys):
    stop_at(3)
    before = small.course(RUN)
    assert resume(change) == 4
    assert change.partition("=")[0] in capsys.readouterr().err
    assert small.course(RUN) == before


def test_an_allowed_change_is_accepted_and_recorded(uninterrupted):
    stop_at(3)
    assert resume("optimizer.lr=1e-4", "resume_allow=[optimizer.lr]") == 0
    assert small.course(RUN)[0] != uninterrupted[0]
    assert json.loads(Path(RUN, "config.json").read_text())["config"]["optimizer"]["lr"] == 1e-4
    newest = Run(Path(RUN)).newest_first()[0]
    assert json.loads((newest / "config.json").read_text())["config"]["optimizer"]["lr"] == 1e-4
    assert "optimizer.lr=1e-4" in Path(RUN, "overrides.txt").read_text()
    assert max(r.get("lr", 0) for r in small.records(RUN) if r["step"] > 3) <= 1e-4
    assert resume() == 0  # with the new value from now on


@pytest.mark.parametrize("kinds", [("muon", "adamw"), ("adamw", "muon")])
def test_another_optimizer_that_is_allowed_begins_anew(own_folder, kinds):
    small.write_text()
    assert begin("train.stop_after=6", optimizer__kind=kinds[0]) == 75
    before = small.summary(RUN)["val_loss"]
    assert resume(f"optimizer.kind={kinds[1]}", "resume_allow=[optimizer.kind]") == 0
    assert small.summary(RUN)["val_loss"] < before
    assert f"{kinds[1]} begins anew" in small.log(RUN)
    assert resume("train.steps=14", "resume_allow=[train.steps]") == 0
    assert small.log(RUN).count("begins anew") == 1


def test_identity_is_refused_even_if_allowed(uninterrupted):
    stop_at(3)
    assert resume("model.n_embd=64", "resume_allow=[model.n_embd]") == 4


def test_what_does_not_touch_the_weights_may_change(uninterrupted):
    stop_at(3)
    assert resume("log.every=4", "checkpoint.every=2", "sample.temperature=0") == 0
    weights, optimizer, records = small.course(RUN)
    assert (weights, optimizer) == uninterrupted[:2]
    assert [r["step"] for r in records if "train_loss" in r] == [1, 2, 3, 4, 8, 12]


def test_other_threads_are_said(uninterrupted):
    stop_at(3)
    assert resume("runtime.threads=2") == 0
    assert "not bit for bit as without a stop: threads 1 -> 2" in small.log(RUN)


def test_what_was_changed_on_the_way_is_recorded_once_and_kept(uninterrupted):
    stop_at(3)
    assert small.summary(RUN)["changed_on_the_way"] == []
    assert resume("train.stop_after=2", "log.every=4", "train.grad_accum=null", "train.micro_batch_size=4") == 75
    assert small.summary(RUN)["changed_on_the_way"] == []  # neither without influence, nor another name for the same
    assert resume("train.stop_after=2", "runtime.threads=2", "train.early_stop_patience=50") == 75
    told = ["runtime.threads 1 -> 2 after step 5", "train.early_stop_patience null -> 50 after step 5"]
    assert small.summary(RUN)["changed_on_the_way"] == told
    assert resume() == 0
    assert small.summary(RUN)["changed_on_the_way"] == told
    assert resume("runtime.threads=1", "train.early_stop_patience=null", run=f"{RUN}/checkpoints/step-000005") == 0
    assert small.summary(RUN)["changed_on_the_way"] == []  # as if the others had never been
    assert small.course(RUN)[0] == uninterrupted[0]


def test_a_checkpoint_of_an_earlier_version_has_nothing_of_it(uninterrupted):
    stop_at(3)
    newest = Run(Path(RUN)).newest_first()[0]
    files = small.contents(newest)
    held = json.loads(files["state.json"])
    del held["state"]["changed_on_the_way"], held["fingerprint"]["tf32"]
    files["state.json"] = checkpoint.json_bytes(held)
    del files[checkpoint.MANIFEST]
    checkpoint.remove(newest)
    checkpoint.commit(Run(Path(RUN)), 3, files)
    assert resume() == 0
    assert small.summary(RUN)["changed_on_the_way"] == [] and small.course(RUN) == uninterrupted


def test_other_text_is_refused(uninterrupted, capsys):
    stop_at(3)
    Path("text.txt").write_text(Path("text.txt").read_text()[::-1])
    assert resume() == 4
    assert "the text is not the one this run was trained on" in " ".join(capsys.readouterr().err.split())
    Path("text.txt").write_text(Path("text.txt").read_text() + "ÄÖÜ" * 100)
    assert resume() in (3, 4)
    assert Run(Path(RUN)).steps()[-1] == 3
    small.write_text()
    assert resume() == 0
    assert small.course(RUN) == uninterrupted


def test_best_is_a_checkpoint_even_between_saves(own_folder):
    small.write_text()
    assert begin(checkpoint__every=100, eval__every=2) == 0
    run = Run(Path(RUN))
    assert run.pointer("best") == small.summary(RUN)["best_step"]
    assert run.pointer("best") in run.steps()


# Another length, device or refusal ---------------------------------------------------------------------------


def test_a_finished_run_of_fixed_time_goes_on_with_more_of_it(own_folder):
    small.write_text()
    assert begin(train__steps=None, train__time="1s", eval__every=None, checkpoint__every=None) == 0
    before = small.summary(RUN)["steps"]
    assert resume("train.time=2s", "resume_allow=[train.time]") == 0
    assert small.summary(RUN)["steps"] > before and small.summary(RUN)["seconds"] > 1.2


def test_a_finished_run_goes_on_with_more_steps(own_folder):
    small.write_text()
    assert begin() == 0
    assert resume("train.steps=16", "resume_allow=[train.steps]") == 0
    assert small.summary(RUN)["steps"] == 16


def test_a_refused_resume_leaves_the_run_as_it_was(own_folder):
    small.write_text()
    assert begin() == 0
    before = Path(RUN, "summary.json").read_bytes(), Path(RUN, "metrics.jsonl").read_bytes()
    text = Path("text.txt").read_text(encoding="utf-8")
    Path("text.txt").write_text(text[::-1], encoding="utf-8")
    assert resume() == 4
    assert (Path(RUN, "summary.json").read_bytes(), Path(RUN, "metrics.jsonl").read_bytes()) == before


def test_dry_run_of_a_resume_changes_nothing(own_folder):
    small.write_text()
    assert begin("train.stop_after=5") == 75
    before = {path: path.read_bytes() for path in Path(RUN).rglob("*") if path.is_file() and path.name != ".lock"}
    assert resume("dry_run=true") == 0
    assert {p: p.read_bytes() for p in Path(RUN).rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_what_was_decided_for_another_device_is_decided_anew():
    saved = {"device": {"value": "cuda", "reason": ""}, "dtype": {"value": "bfloat16", "reason": ""}}
    saved |= {key: {"value": 1, "reason": ""} for key in ("compile", "threads", "micro_batch_size")}
    machine = Machine(("cuda", "cpu"), "", (8, 0), 2, 10**9, "GPU", 10**9)
    assert as_before(small.config(runtime__device="cpu", runtime__threads=None), saved, machine) == {}
    kept = as_before(small.config(runtime__threads=None, train__grad_accum=None), saved, machine)
    assert {key: choice.value for key, choice in kept.items()} == {key: saved[key]["value"] for key in saved}


def test_a_sample_leaves_a_compiled_model_as_it_is(own_folder):
    torch = pytest.importorskip("torch")
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    small.write_text()
    parts, dist = build_parts(small.config())
    parts.model.compile(backend=count, dynamic=False)
    trainer = small.trainer(small.config(), parts=parts)
    batch = parts.loader.batch(0).to(dist.device)
    for _ in range(2):
        parts.model.train()
        parts.objective(parts.model, batch).total.backward()
        with torch.no_grad():
            trainer.evaluator.losses()
        known = len(graphs)
        assert trainer.evaluator.sample(1)
        assert len(graphs) == known
    torch._dynamo.reset()
