"""Trackers beside a run: they are told what its files are told, and nothing that they do is felt by it."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

import small
from gptforge.dist import Dist
from gptforge.logs import Plan, Sink, open_sinks
from gptforge.runs import Call, Run
from gptforge.trackers import courier, sink
from gptforge.trackers.delivery import events
from gptforge.trackers.sink import TrackerSink, name_of
from gptforge.train import trainer as trainer_module
from gptforge.train.keeper import Keeper
from recording import CALLS, NEVER, Recording, faulty, install, kept, of, recording

ERRORS = [RuntimeError("no network"), OSError(28, "full"), SystemExit(3), KeyboardInterrupt(), ZeroDivisionError()]
PLAN = Plan("training", [], "run")


@pytest.fixture(autouse=True)
def fast(monkeypatch, own_folder):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    monkeypatch.setattr(courier, "left_behind", set())
    small.write_text()


@pytest.fixture
def lend(monkeypatch):
    """Makes classes the trackers of the names a, b, …."""

    def lent(*classes):
        known = dict(zip("abcde", classes, strict=False))
        monkeypatch.setattr(sink, "load", lambda name: known[name])
        monkeypatch.setattr("gptforge.trackers.found.check", lambda names, key: None)
        return list(known)

    return lent


def told(tracker):
    """What a tracker has been told of the run, as its files would tell it."""
    return [(name, what) for name, what in tracker.told if name in ("log", "text")]


def in_files(run):
    found = []
    for event in events(Path(run)):
        text = event.kind == "sample"
        found.append(("text", (event.step, "sample", event.text)) if text else ("log", (event.step, event.values)))
    return found


# What it is told ----------------------------------------------------------------------------------------------


def test_a_run_is_told_as_its_files_are_and_its_weights_are_the_same(lend):
    one, two = recording(), recording(takes_back=True)
    names = lend(one, two)
    small.trainer(small.config(), "without").fit()
    small.trainer(small.config(tracker=names), "run").fit()
    assert small.course("run") == small.course("without")
    assert told(one) == told(two) == in_files("run") and len(of(one.told, "text")) == 3
    ((run,), (summary,)) = of(one.told, "start"), of(one.told, "finish")
    assert (run.name, run.group, run.id, run.step) == ("run", None, None, 0)
    assert run.config["model.n_embd"] == 32 and run.config["tracker"] == names
    assert summary == {k: v for k, v in small.summary("run").items()}
    steps = {"training": 12, "evaluation": 12, "sample": 12}
    assert kept("run")["a"] == {"id": "id-run", "steps": steps, "state": "ended"}
    assert not of(one.told, "back") and "warning" not in small.log("run")


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("takes_back", [True, False])
def test_a_run_that_goes_on_is_the_same_tracked_run_without_steps_twice(lend, takes_back, killed):
    one = recording(takes_back)
    lend(one)
    assert small.gptforge(*small.typed(small.config(checkpoint__keep=9), "run"), "tracker=a") == 0
    first = told(one)
    one.told.clear()
    if killed:  # before it could say that the tracker had the last sample too
        as_killed("run", {"training": 12, "evaluation": 12, "sample": 8})
    assert small.gptforge("train", "resume=run/checkpoints/step-000006", "optimizer.lr=0.1", "resume_allow=[lr]") == 2
    allowed = ["optimizer.lr=0.1", "resume_allow=[optimizer.lr]"]
    assert small.gptforge("train", "resume=run/checkpoints/step-000006", *allowed) == 0
    (run,) = of(one.told, "start")
    assert (run.id, run.step) == ("id-run", 6) and run.config["optimizer.lr"] == 0.1
    assert of(one.told, "back")[0] == 7 and of(one.told, "finish")[0]["status"] == "done"
    later = [call for call in in_files("run") if call[1][0] > 6]
    assert later != [call for call in first if call[1][0] > 6]  # the lr was another one
    assert told(one) == (later if takes_back else [])
    assert kept("run")["a"]["steps"]["training"] == 12


def test_steps_that_were_made_twice_are_remembered_over_two_kills(lend):
    """The second kill comes before the run is where the first one was."""
    one = recording()
    lend(one)
    words = [*small.typed(small.config(checkpoint__keep=9), "run"), "tracker=a"]
    assert small.gptforge(*words) == 0
    one.told.clear()
    assert small.gptforge("train", "resume=run/checkpoints/step-000003", "train.stop_after=2") == 75
    assert small.gptforge("train", "resume=run") == 0
    assert told(one) == [] and len(small.records("run")) == 15


def test_a_tracker_that_comes_later_gets_what_it_has_missed(lend):
    one = recording()
    lend(one)
    assert small.gptforge(*small.typed(small.config(), "run"), "train.stop_after=5") == 75
    assert small.gptforge("train", "resume=run", "tracker=a") == 0
    assert told(one) == in_files("run") and of(one.told, "start")[0].step == 0


@pytest.mark.parametrize("takes_back", [True, False])
def test_a_tracker_gets_the_steps_of_a_start_without_it(lend, takes_back):
    one = recording(takes_back)
    lend(one)
    assert small.gptforge(*small.typed(small.config(), "run"), "tracker=a", "train.stop_after=5") == 75
    assert small.gptforge("train", "resume=run", "tracker=[]", "train.stop_after=5") == 75
    assert small.gptforge("train", "resume=run", "tracker=a") == 0
    assert [(run.id, run.step) for run in of(one.told, "start")] == [(None, 0), ("id-run", 5)]
    if takes_back:  # all of it anew: what it had might have been made anew without it
        assert of(one.told, "back") == [1]
        one.told[: one.told.index(("back", 1))] = []
    assert told(one) == in_files("run")


@pytest.mark.parametrize("takes_back", [True, False])
def test_a_run_that_went_back_without_its_tracker(lend, takes_back):
    one = recording(takes_back)
    lend(one)
    words = [*small.typed(small.config(checkpoint__keep=9), "run"), "tracker=a", "train.stop_after=8"]
    assert small.gptforge(*words) == 75
    assert len(in_files("run")) == 12
    assert small.gptforge("train", "resume=run/checkpoints/step-000003", "tracker=[]", "train.stop_after=3") == 75
    one.told.clear()
    assert small.gptforge("train", "resume=run", "tracker=a") == 0
    files = in_files("run")
    beyond = [(name, what) for name, what in files if what[0] > 8]
    assert told(one) == (files if takes_back else beyond)


@pytest.mark.parametrize("call", ["start", "log", "text", "finish"])
@pytest.mark.parametrize("takes_back", [True, False])
def test_a_tracker_that_has_failed_gets_what_it_lacks_when_the_run_goes_on(lend, call, takes_back):
    class Once(recording(takes_back)):
        failing = False

    def unless_broken(self, *arguments):
        if self.failing and (call != "log" or arguments[1] == 5):
            raise RuntimeError("no network")
        return getattr(Recording, call)(self, *arguments)

    setattr(Once, call, unless_broken)
    lend(Once)
    Once.failing = True
    assert small.gptforge(*small.typed(small.config(), "run"), "tracker=a", "train.stop_after=10") == 75
    assert "tracker a is off for the rest of the run: RuntimeError: no network" in small.log("run")
    Once.failing = False
    assert small.gptforge("train", "resume=run") == 0
    if takes_back and ("back", 1) in Once.told:
        Once.told[: Once.told.index(("back", 1))] = []
    assert told(Once) == in_files("run") and len(in_files("run")) == 18
    assert small.log("run").count("is off for the rest of the run") == 1


@pytest.mark.parametrize("takes_back", [True, False])
def test_after_a_kill_it_is_not_sent_again_what_it_was_sent(lend, takes_back):
    """The kill is after step 10, the last evaluation before it was that of step 8; the run has not gone on since."""
    one = recording(takes_back)
    lend(one)
    assert small.gptforge(*small.typed(small.config(), "run"), "tracker=a", "train.stop_after=10") == 75
    as_killed("run", {"training": 8, "evaluation": 8, "sample": 4})
    files = in_files("run")
    assert told(one) == files
    one.told.clear()
    assert small.gptforge("train", "resume=run") == 0
    first = 8 if takes_back else 11  # what might not have come is taken back, and else counts as sent
    assert told(one) == [call for call in in_files("run") if call[1][0] >= first]
    assert of(one.told, "start")[0].step == 10


@pytest.mark.parametrize("takes_back", [True, False])
def test_a_start_without_the_tracker_after_a_kill(lend, takes_back):
    """Killed after step 5, with which its files ended: what a start without the tracker adds was not sent."""
    one = recording(takes_back)
    lend(one)
    assert small.gptforge(*small.typed(small.config(), "run"), "tracker=a", "train.stop_after=5") == 75
    as_killed("run", {"training": 4, "evaluation": 4})
    assert small.gptforge("train", "resume=run", "tracker=[]", "train.stop_after=5") == 75
    one.told.clear()
    assert small.gptforge("train", "resume=run", "tracker=a") == 0
    files = in_files("run")
    assert told(one) == (files if takes_back else [call for call in files if call[1][0] > 5])


def as_killed(run, steps):
    """Leaves trackers.json as a process does that was killed after the last evaluation of these steps."""
    known = kept(run)
    known["a"] |= {"steps": steps, "state": "followed"}
    Path(run, "trackers.json").write_text(json.dumps(known))


def test_how_far_a_tracker_has_come_is_written_down_at_each_evaluation(lend):
    class Asks(recording()):
        def log(self, values, step):
            self.told.append(("steps", kept("run")["a"]))

    lend(Asks)
    assert small.gptforge(*small.typed(small.config(), "run"), "tracker=a", "train.stop_after=6") == 75
    marks = [entry["steps"].get("evaluation") for entry in of(Asks.told, "steps")]
    assert marks == [None] * 5 + [4] * 2
    assert {entry["state"] for entry in of(Asks.told, "steps")} == {"followed"} and kept("run")["a"]["state"] == "ended"


def test_the_way_a_run_ends_is_told(lend):
    one = recording()
    lend(one)
    assert small.gptforge(*small.typed(small.config(), "stopped"), "tracker=a", "train.stop_after=2") == 75
    small.gptforge(*small.typed(small.config(optimizer__lr=1e30, optimizer__eps=1e-30), "failed"), "tracker=a")
    assert [end["status"] for end in of(one.told, "finish")] == ["stopped", small.summary("failed")["status"]]
    assert small.summary("failed")["status"] == "failed"


def test_of_several_processes_the_first_alone_has_trackers(lend):
    one = recording()
    lend(one)
    trainer = small.trainer(small.config(tracker=["a"]), "run")
    second = Keeper(trainer.cfg, trainer.run, Dist(trainer.dist.device, rank=1, world_size=2), trainer.parts, Call())
    with second.opened() as sinks:
        sinks.start(PLAN, 1, None, 0)
        sinks.record({"step": 1, "train_loss": 1.0})
    assert not one.told and type(sinks) is Sink


def test_points_of_a_sweep_are_a_group(own_folder):
    for folder in ("sweep_x/0", "alone"):
        Path(folder).mkdir(parents=True)
    Path("sweep_x/sweep.json").write_text("{}")
    assert name_of(Path("sweep_x/0")) == ("sweep_x-0", "sweep_x")
    assert name_of(Path("alone")) == ("alone", None)


# What it does -------------------------------------------------------------------------------------------------


def tell(tracker, end=True, run="run"):
    """A run of two steps, told to a tracker and to the files."""
    Path(run).mkdir(exist_ok=True)
    sinks = open_sinks(Path(run), "quiet", [TrackerSink(tracker, Path(run), {"seed": 1})])
    began = time.monotonic()
    sinks.start(PLAN, 2, None, 0)
    for step in (1, 2):
        sinks.record({"step": step, "train_loss": 1.0})
        sinks.sample(step, "to be")
        sinks.progress(step, step / 2, {})
    took = time.monotonic() - began
    if end:
        sinks.finish({"status": "done"}, [])
    sinks.close()
    return took, time.monotonic() - began


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_one_that_raises_is_told_once_and_the_run_goes_on(lend, call, error):
    good = recording()
    lend(faulty(call, error), good)
    tell("a")
    log = small.log("run")
    assert log.count("warning tracker a is off for the rest of the run: ") == log.count("warning") == 1
    assert type(error).__name__ in log and "finish  status=done" in log and len(small.records("run")) == 2
    assert courier.left_behind == {"a"}
    tell("b", run="other")
    assert of(good.told, "finish") == [{"status": "done"}] and "warning" not in small.log("other")


@pytest.mark.parametrize("call", CALLS)
def test_one_that_never_returns_is_waited_for_only_at_the_end(lend, call, monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE", 0.3)
    lend(faulty(call, NEVER))
    told_in, all_in = tell("a")
    assert told_in < 0.25 and 0.3 <= all_in < 2
    assert small.log("run").count("tracker a is off for the rest of the run: it has not taken all there was") == 1
    assert courier.left_behind == {"a"}


def test_one_that_is_too_far_behind_is_given_up(lend, monkeypatch):
    monkeypatch.setattr(courier, "MOST_WAITING", 3)
    lend(faulty("start", NEVER))
    assert tell("a")[1] < 2
    assert small.log("run").count("tracker a is off for the rest of the run: it is 3 records behind") == 1


def test_a_slow_one_gets_all_before_the_end(lend):
    class Slow(recording()):
        def log(self, values, step):
            time.sleep(0.2)
            super().log(values, step)

    lend(Slow)
    tell("a")
    assert len(told(Slow)) == 4 and of(Slow.told, "finish") and not courier.left_behind


def test_at_the_end_of_a_failed_run_a_fault_is_in_the_log(lend):
    lend(faulty("finish", RuntimeError("no network")))
    tell("a", end=False)
    assert "tracker a is off for the rest of the run: RuntimeError: no network" in small.log("run")
    one = recording()
    lend(one)
    tell("a", end=False, run="other")
    assert of(one.told, "finish") == [{"status": "failed"}]


def test_faulty_trackers_change_no_weights(lend, monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE", 0.2)
    names = lend(*(faulty(call, RuntimeError("no")) for call in ("start", "log", "finish")), faulty("log", NEVER))
    small.trainer(small.config(), "without").fit()
    small.trainer(small.config(tracker=names), "run").fit()
    assert small.course("run") == small.course("without") and small.summary("run")["status"] == "done"
    assert small.log("run").count("is off for the rest of the run") == 4


def test_all_calls_are_in_one_thread_which_is_not_the_one_that_trains(lend):
    threads = set()

    class Where(recording()):
        def __init__(self):
            threads.add(threading.current_thread().name)

        def log(self, values, step):
            threads.add(threading.current_thread().name)

        start = text = finish = lambda self, *arguments: threads.add(threading.current_thread().name) and None

    lend(Where)
    tell("a")
    assert threads == {"tracker a"}


HANGING = """
import atexit, threading, time
from gptforge.trackers import Tracker, courier
courier.PATIENCE = courier.PATIENCE_STOPPED = 0.3
class Hanging(Tracker):
    def start(self, run):
        threading.Thread(target=time.sleep, args=(300,)).start()  # no daemon: Python would wait for it
        atexit.register(time.sleep, 300)
    def log(self, values, step):
        time.sleep(300)
"""


def test_a_library_that_hangs_at_the_end_does_not_keep_the_process(own_folder, monkeypatch):
    install(own_folder, HANGING, hanging="lent:Hanging")
    monkeypatch.setenv("PYTHONPATH", f"{own_folder}:{Path(sink.__file__).parents[2]}")
    words = [*small.typed(small.config(), "run"), "tracker=hanging", "train.stop_after=4"]
    done = subprocess.run(small.command(*words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 75 and "tracker hanging is off for the rest of the run" in done.stderr
    assert small.summary("run")["status"] == "stopped" and Run(Path("run")).steps() == [3, 4]
