"""Our four trackers: what they make of what they are told. The packages themselves where they are installed."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import small
from gptforge.errors import ResourceError
from gptforge.runs import Run
from gptforge.trackers import TrackedRun, courier
from gptforge.trackers.delivery import events, safe
from gptforge.trackers.found import OURS, load
from gptforge.trackers.replay import export
from gptforge.train import trainer as trainer_module
from recording import kept

CONFIG = {"optimizer.lr": 0.001, "data.path": None, "tracker": ["wandb"]}


@pytest.fixture(autouse=True)
def here(monkeypatch, own_folder):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    monkeypatch.setattr(courier, "left_behind", set())
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(own_folder / "trackio"))
    small.write_text()
    Path("run").mkdir()


def start(**changes) -> TrackedRun:
    return TrackedRun(**({"run_dir": Path("run"), "name": "sweep_x-0", "config": CONFIG, "group": "sweep_x"} | changes))


def follow(tracker, **changes):
    """What happens in a run of one step."""
    found = tracker.start(start(**changes))
    tracker.log({"train_loss": 1.5, "lr": 0.001}, 1)
    tracker.log({"val_loss": 2.0}, 1)
    tracker.text("sample", "<b>to be\n\n# or not", 1)
    tracker.finish({"status": "stopped", "val_loss": 2.0, "best_step": None})
    return found


# TensorBoard --------------------------------------------------------------------------------------------------


def scalars(run):
    """{name: [(step, value)]} as TensorBoard shows them, and the samples by step."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(Path(run) / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    shown.Reload()
    numbers = {name: [(e.step, e.value) for e in shown.Scalars(name)] for name in shown.Tags()["scalars"]}
    texts = {e.step: e.tensor_proto.string_val[0].decode() for e in shown.Tensors("sample")}
    return numbers, texts


def of_metrics(run):
    """The same of metrics.jsonl, in the 32 bits of TensorBoard."""
    found: dict[str, list] = {}
    for line in Path(run, "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for name in values.keys() - {"step"}:
            found.setdefault(name, []).append((values["step"], float(np.float32(values[name]))))
    return found


def test_tensorboard_shows_what_metrics_jsonl_says_also_after_the_run_went_back():
    pytest.importorskip("tensorboard")
    os.rmdir("run")
    words = [*small.typed(small.config(checkpoint__keep=9), "run"), "tracker=tensorboard"]
    assert small.gptforge(*words) == 0
    assert scalars("run")[0] == of_metrics("run")
    assert small.gptforge("train", "resume=run/checkpoints/step-000006", "log.every=2", "train.stop_after=3") == 75
    numbers, texts = scalars("run")
    assert numbers == of_metrics("run") and [step for step, _ in numbers["train_loss"]][-2:] == [6, 8]
    assert small.gptforge("train", "resume=run") == 0
    numbers, texts = scalars("run")
    assert numbers == of_metrics("run") and list(texts) == [4, 8, 12]
    wrote = Path("run/samples/step-000008.txt").read_text()
    assert texts[8] == "\n".join("    " + line for line in wrote.split("\n"))  # as it is, in Markdown
    live = scalars("run")
    assert small.gptforge("runs", "export", "run") == 0  # once more, in its place
    assert scalars("run") == live and len(list(Path("run/tensorboard").iterdir())) == 4


def test_tensorboard_gets_the_steps_and_samples_of_a_start_without_it():
    pytest.importorskip("tensorboard")
    os.rmdir("run")
    words = [*small.typed(small.config(), "run"), "tracker=tensorboard", "train.stop_after=3"]
    assert small.gptforge(*words) == 75
    assert small.gptforge("train", "resume=run", "tracker=[]", "train.stop_after=6") == 75
    assert small.gptforge("train", "resume=run", "tracker=tensorboard") == 0
    numbers, texts = scalars("run")
    assert numbers == of_metrics("run") and list(texts) == [4, 8, 12]


def test_what_tensorboard_was_told_is_there_when_the_process_is_killed():
    pytest.importorskip("tensorboard")
    tracker = load("tensorboard")()
    tracker.start(start())
    tracker.text("sample", "to be", 1)
    tracker.log({"train_loss": 1.5}, 1)
    assert scalars("run") == ({"train_loss": [(1, 1.5)]}, {1: "    to be"})
    tracker.finish({})


# The others, as they are called -------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    """Puts modules in the place of a package, for our adapter alone."""

    def put(name, **modules):
        monkeypatch.delitem(sys.modules, f"gptforge.trackers.{name}", raising=False)
        for module, members in modules.items():
            made = ModuleType(module.replace("__", "."))
            made.__dict__.update(members)
            monkeypatch.setitem(sys.modules, made.__name__, made)
        adapter = load(name)
        monkeypatch.delitem(sys.modules, f"gptforge.trackers.{name}")  # so that no other test gets it
        return adapter

    return put


class FakeRun:
    """A run of wandb or trackio."""

    def __init__(self):
        self.id, self.logged, self.summary, self.ended = "abc", [], {}, None

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self, exit_code=None):
        self.ended = exit_code


@pytest.mark.parametrize("mode", [None, "online", "disabled"])
def test_wandb_is_offline_unless_asked_and_gets_nothing_of_its_own_accord(fake, monkeypatch, mode):
    run, asked = FakeRun(), []
    members = {"Settings": lambda **settings: settings, "Html": lambda text, inject: (text, inject)}
    logs = Path("run/wandb/offline-run-1/logs")

    def init(**options):
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "debug-core.log").symlink_to("/somewhere/else")
        asked.append(options)
        return run

    adapter = fake("wandb", wandb=members | {"init": init})
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    assert follow(adapter()) == "abc"
    (options,) = asked
    settings = options.pop("settings")
    assert settings["mode"] == (mode or "offline")
    assert settings["console"] == "off" and settings["save_code"] is settings["symlink"] is False
    assert settings["silent"] and settings["disable_git"] and settings["disable_code"] and settings["x_disable_meta"]
    assert settings["x_disable_stats"] and settings["x_disable_machine_info"] and not settings["x_save_requirements"]
    assert options["dir"] == str(Path("run").resolve()) and options["project"] == "gptforge"
    assert (options["id"], options["resume"], options["group"]) == (None, "allow", "sweep_x")
    assert run.logged[:2] == [(1, {"train_loss": 1.5, "lr": 0.001}), (1, {"val_loss": 2.0})]
    assert run.logged[2] == (1, {"sample": ("<pre>&lt;b&gt;to be\n\n# or not</pre>", False)})
    assert run.summary["val_loss"] == 2.0 and run.ended == 0 and not list(logs.iterdir())
    Run(Path("run"))._refuse_links()
    follow(adapter(), id="abc")
    assert asked[1]["id"] == "abc"
    adapter_of_a_failed = adapter()
    adapter_of_a_failed.start(start())
    adapter_of_a_failed.finish({"status": "failed"})
    assert run.ended == 1


class FakeClient:
    """MlflowClient, which keeps its calls."""

    made: list = []  # noqa: RUF012

    def __init__(self, tracking_uri):
        self.calls = [("uri", tracking_uri)]
        self.made.append(self)

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        return call


def test_mlflow_writes_below_the_run_and_its_parameters_once(fake, monkeypatch):
    kinds = {name: lambda *arguments: arguments for name in ("Metric", "Param", "RunTag")}
    names = {"MlflowClient": FakeClient}
    adapter = fake("mlflow", mlflow={}, mlflow__entities=kinds, mlflow__tracking=names)
    config = CONFIG | {f"k{n}": n for n in range(150)} | {"long": "x" * 9000}
    assert follow(adapter(), config=config) == "r1"
    calls = FakeClient.made[-1].calls
    assert calls[0] == ("uri", Path("run/mlruns").absolute().as_uri())
    assert calls[1] == ("create_run", ("gptforge",), {"run_name": "sweep_x-0", "tags": {"group": "sweep_x"}})
    params = [options["params"] for name, _, options in calls[1:] if "params" in options]
    assert [len(some) for some in params] == [100, 54] and dict(params[1])["long"] == "x" * 500
    metrics = [options["metrics"] for _, _, options in calls[1:] if "metrics" in options]
    assert [(key, value, step) for some in metrics for key, value, _, step in some] == [
        ("train_loss", 1.5, 1), ("lr", 0.001, 1), ("val_loss", 2.0, 1),
    ]  # fmt: skip
    assert ("log_text", ("r1", "<b>to be\n\n# or not", "samples/step-000001.txt"), {}) in calls
    assert calls[-2][2]["tags"] == [("status", "stopped"), ("val_loss", "2.0")]
    assert calls[-1] == ("set_terminated", ("r1", "KILLED"), {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert follow(adapter(), id="r0") == "r0"
    again = FakeClient.made[-1].calls
    assert again[:2] == [("uri", "http://server"), ("update_run", ("r0",), {"status": "RUNNING"})]
    assert not any("params" in options for _, _, options in again[1:])


class Late(FakeClient):
    """One whose experiment another process makes after it has asked for it; or that cannot make one at all."""

    made_by_another = True

    def __init__(self, tracking_uri):
        super().__init__(tracking_uri)
        self.found = None

    def get_experiment_by_name(self, name):
        return self.found

    def create_experiment(self, name):
        self.found = SimpleNamespace(experiment_id="theirs") if self.made_by_another else None
        raise RuntimeError("RESOURCE_ALREADY_EXISTS" if self.found else "no permission")


def test_mlflow_takes_an_experiment_that_another_process_has_made_meanwhile(fake, monkeypatch):
    kinds = {name: lambda *arguments: arguments for name in ("Metric", "Param", "RunTag")}
    adapter = fake("mlflow", mlflow={}, mlflow__entities=kinds, mlflow__tracking={"MlflowClient": Late})
    assert follow(adapter()) == "r1"
    assert Late.made[-1].calls[1][:2] == ("create_run", ("theirs",))
    monkeypatch.setattr(Late, "made_by_another", False)
    with pytest.raises(RuntimeError, match="no permission"):
        adapter().start(start())


def test_trackio_finds_a_run_by_a_name_that_no_other_has_and_prints_nothing(fake, capsys):
    run, asked = FakeRun(), []

    def init(project, name, **options):
        print("* Trackio project initialized")
        asked.append((project, name, options))
        return run

    members = {"init": init, "Markdown": str, "finish": lambda: print("* Run finished") or run.finish("done")}
    adapter = fake("trackio", trackio=members)
    names = {follow(adapter()) for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("sweep_x-0-") for name in names)
    assert run.logged[2] == (1, {"sample": "    <b>to be\n    \n    # or not"}) and run.ended == "done"
    follow(adapter(), id="sweep_x-0-1234")
    assert asked[0][0] == "gptforge" and asked[0][2]["resume"] == "never"
    assert asked[3][1] == "sweep_x-0-1234" and asked[3][2]["resume"] == "allow"
    assert asked[0][2]["group"] == "sweep_x" and not asked[0][2]["auto_log_gpu"] and not asked[0][2]["auto_log_cpu"]
    assert capsys.readouterr().out == ""


# The packages themselves --------------------------------------------------------------------------------------

CODE = """
import json, os, sys
from pathlib import Path
import socket
def refused(*arguments, **options):
    raise AssertionError(f"it asks the network for {arguments[0]!r}")
socket.getaddrinfo = refused
from gptforge.trackers import TrackedRun
from gptforge.trackers.delivery import safe
from gptforge.trackers.found import load
for known in (False, True):
    tracker = load(sys.argv[1])()
    config = safe({"lr": 0.001, "path": "https://me:CANARY@host", "api_key": "CANARY", "list": [1, None]})
    step = 3 if known else 0
    found = tracker.start(TrackedRun(Path("run"), "sweep_x-0", config, "sweep_x", found if known else None, step))
    for n in (1, 2, 3):
        tracker.log({"train_loss": 1 / (n + step), "lr": 0.001}, n + step)
        tracker.text("sample", f"to be {n}", n + step)
    tracker.log({"val_loss": 2.0}, n + step)
    tracker.finish({"status": "done", "val_loss": 2.0, "error": None})
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", OURS)
def test_the_real_one_offline_twice_the_same_run_no_secret_and_the_run_can_go_on(name, tmp_path):
    if importlib.util.find_spec(name) is None:  # not imported here, where a warning is an error
        pytest.skip(f"{name} is not installed")
    Path("code.py").write_text(CODE)
    secrets = {"WANDB_API_KEY": "CANARY" + "0" * 34, "HF_TOKEN": "hf_CANARY", "MLFLOW_TRACKING_TOKEN": "CANARY"}
    done = subprocess.run(
        [sys.executable, "code.py", name, "api_key=CANARY"],
        env=os.environ | secrets | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    written = [path for folder in ("run", "trackio", "home") for path in Path(folder).rglob("*") if path.is_file()]
    assert written and not any(b"CANARY" in path.read_bytes() for path in written)
    Run(Path("run"))._refuse_links()
    losses = [(n, 1 / n) for n in range(1, 7)]
    if name == "tensorboard":
        assert scalars("run")[0]["train_loss"] == [(n, float(np.float32(loss))) for n, loss in losses]
    elif name == "wandb":
        assert len(list(Path("run/wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))) in (1, 2)  # in a second
    elif name == "mlflow":
        (history,) = Path("run/mlruns").glob(f"*/{known}/metrics/train_loss")
        values = [line.split() for line in history.read_text().splitlines()]
        assert [(int(step), float(value)) for _, value, step, *_ in values] == losses
    else:
        with sqlite3.connect("trackio/gptforge.db") as database:
            rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ?", (known,)).fetchall()
        found = [(step, json.loads(values)) for step, values in rows]
        assert sorted((step, v["train_loss"]) for step, v in found if "train_loss" in v) == losses


# A run that is over -------------------------------------------------------------------------------------------


@pytest.fixture
def over():
    """A run that was not tracked."""
    os.rmdir("run")
    small.trainer(small.config(), "run").fit()
    return Run(Path("run"))


def test_an_export_is_what_live_tracking_would_have_sent(over, monkeypatch):
    from recording import of, recording

    live, after = recording(), recording()
    classes = {"live": live, "after": after}
    monkeypatch.setattr("gptforge.trackers.sink.load", lambda name: classes[name])
    monkeypatch.setattr("gptforge.trackers.replay.load", lambda name, key: classes[name])
    small.trainer(small.config(tracker=["live"]), "other").fit()
    sent = export(Run(Path("other")), "after")
    assert (sent.records, sent.samples, sent.id) == (15, 3, "id-other")
    mine, theirs = ([call for call in one.told if call[0] != "back"] for one in (after, live))
    assert mine == theirs and len(mine) == 20
    assert of(after.told, "back") == [0] and of(after.told, "finish") == [safe(small.summary("other"))]
    assert kept("other")["after"] == kept("other")["live"] == {"id": "id-other", "steps": {
        "training": 12, "evaluation": 12, "sample": 12,
    }, "state": "ended"}  # fmt: skip


def test_what_cannot_be_exported_is_told(over, monkeypatch, capsys):
    from recording import faulty, recording

    def told(*words):
        code = small.gptforge("runs", "export", *words)
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) <= 4
        return code, err

    monkeypatch.setattr("gptforge.commands.runs_export.check", lambda names, key: None)
    lent = {"wandb": faulty("log", RuntimeError("no network")), "mlflow": recording()}
    monkeypatch.setattr("gptforge.trackers.replay.load", lambda name, key: lent[name])
    code, err = told("run", "to=wandb")
    assert code == 5 and "the tracker wandb failed: RuntimeError: no network" in err
    assert not Path("run/trackers.json").exists()
    with over.locked():
        assert told("run", "to=mlflow")[0] == 7
    assert told("nowhere", "to=mlflow")[0] == 4
    assert small.gptforge("runs", "export", "run", "to=mlflow", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "run": "run", "tracker": "mlflow", "id": "id-run", "records": 15, "samples": 3,
    }  # fmt: skip
    assert small.gptforge("runs", "export", "latest", "to=mlflow") == 0
    assert "run: 15 records and 3 samples sent to mlflow, as id-run" in capsys.readouterr().err
    Path("run/metrics.jsonl").write_text("")
    code, err = told("run", "to=mlflow")
    assert code == 4 and "has no metrics yet" in err
    Path("run/metrics.jsonl").write_text("{]\n")
    assert told("run", "to=mlflow")[0] == 4 and not list(Path("run").glob(".tmp*"))


def test_after_an_export_that_failed_half_way_the_run_goes_on_with_all_there_is(over, monkeypatch):
    from recording import faulty, recording

    lent = [recording(), faulty("log", RuntimeError("no network"))]
    monkeypatch.setattr("gptforge.trackers.replay.load", lambda name, key: lent.pop(0))
    export(over, "one")
    before = kept("run")["one"]
    assert before["state"] == "ended"
    with pytest.raises(ResourceError):
        export(over, "one")
    assert kept("run")["one"] == before | {"state": "missed"}


def test_a_run_whose_process_died_can_be_exported(over, monkeypatch):
    from recording import of, recording

    one = recording()
    monkeypatch.setattr("gptforge.trackers.replay.load", lambda name, key: one)
    os.unlink("run/summary.json")
    with open("run/metrics.jsonl", "a") as file:
        file.write('{"step": 13, "train_l')
    assert export(over, "one").records == 15 == len(list(events(over.path))) - 3
    assert of(one.told, "finish") == [{}]
