"""What is sent to a tracker: each step once, what the run's files say, and no secrets."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.errors import CheckpointError
from gptforge.trackers import Tracker
from gptforge.trackers.delivery import Delivery, Event, events, record, safe, sample
from gptforge.trackers.memory import ENDED, Tracked, keep, recall


class Shown(Tracker):
    """What a tracker shows: one that can take back, or not."""

    def __init__(self, takes_back):
        self.takes_back, self.points = takes_back, []

    def log(self, values, step):
        self.points.append((step, "evaluation" if "val_loss" in values else "training", dict(values)))

    def back(self, step):
        if self.takes_back:
            self.points = [point for point in self.points if point[0] < step]
        return self.takes_back


def passage(first, last, every, mark):
    """The records of the steps from `first` to `last`; `mark` tells one passage from another."""
    for step in range(first, last + 1):
        yield Event("training", step, {"train_loss": float(mark)})
        if step % every == 0:
            yield Event("evaluation", step, {"val_loss": float(mark)})


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 12), st.booleans()), min_size=1, max_size=6), st.integers(1, 4)
)
def test_each_step_is_shown_once_however_often_the_run_goes_back(legs, every):
    """A leg goes back to a share of the way so far, in this start or in a new one, then some steps on."""
    for takes_back in (True, False):
        tracker, truth, at, told = Shown(takes_back), [], 0, []
        delivery = Delivery(tracker, {}, 0)
        for mark, (share, steps, restart) in enumerate(legs):
            at = int(share * at)
            truth = [event for event in truth if event.step <= at]
            if restart:
                delivery = Delivery(tracker, delivery.sent, at)
            for event in passage(at + 1, at + steps, every, mark):
                delivery.send(event)
                truth.append(event)
                told.append(event)
            at += steps
        shown = [point[:2] for point in tracker.points]
        if takes_back:
            assert tracker.points == [(e.step, e.kind, e.values) for e in truth]
        else:
            first = {}
            for event in told:
                first.setdefault((event.step, event.kind), event.values)
            assert shown == sorted(set(shown), key=lambda point: (point[0], point[1] == "evaluation"))
            assert {point[:2]: point[2] for point in tracker.points} == first


def test_a_record_is_its_finite_numbers():
    values = {
        "step": 3,
        "train_loss": 1.5,
        "lr": None,
        "grad_norm": math.inf,
        "tokens": 96,
        "x": math.nan,
        "n": 10**400,
    }
    assert record(values) == Event("training", 3, {"train_loss": 1.5, "tokens": 96.0})
    assert record({"step": 3, "val_loss": 2.0}) == Event("evaluation", 3, {"val_loss": 2.0})
    assert record({"val_loss": 2.0}) is record({"step": "3"}) is record({"step": True}) is None


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3))
)
def test_whatever_a_line_of_metrics_holds_is_a_record_or_none(values):
    found = record(values)
    assert found is None or all(math.isfinite(value) for value in found.values.values())


def test_the_files_of_a_run_give_what_it_told(tmp_path):
    lines = [{"step": 2, "train_loss": 2.0}, {"step": 4, "train_loss": 1.0}, {"step": 4, "val_loss": 1.5}]
    lines.append({"step": 5, "train_loss": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 6, "tr')
    assert [event.step for event in events(tmp_path)] == [2, 4, 4, 5]  # no samples, and a torn line
    (tmp_path / "samples").mkdir()
    for name, written in {
        "step-000004.txt": "to be",
        "step-000009.txt": "of a time that was undone",
        "x.txt": "",
    }.items():
        (tmp_path / "samples" / name).write_text(written)
    assert list(events(tmp_path)) == [*map(record, lines[:3]), sample(4, "to be"), record(lines[3])]
    (tmp_path / "metrics.jsonl").write_text("no json\n" + text)
    with pytest.raises(CheckpointError, match="line 1"):
        list(events(tmp_path))


def test_what_looks_like_a_secret_is_left_out():
    tree = {
        "data": {"path": "https://me:CANARY@host/x", "sources": [{"path": "ftp://me:CANARY@host", "weight": 0.5}]},
        "tracker": {"api_key": "CANARY", "hf_token": ["CANARY"]},
        "train": {"tokens": 5},
        "seed": 1,
    }
    sent = safe(tree)
    assert "CANARY" not in json.dumps(sent)
    assert sent["data.path"] == "https://<redacted>@host/x" and sent["tracker.api_key"] == "<redacted>"
    assert sent["seed"] == 1 and sent["train.tokens"] == 5 and sent["data.sources"][0]["weight"] == 0.5


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}', '{"a": {"id": 3, "steps": "x"}}'])
def test_what_is_known_of_a_tracked_run_may_be_damaged(tmp_path, damage):
    known = Tracked("id-1", {"training": 7}, ENDED)
    keep(tmp_path, "a", known)
    keep(tmp_path, "b", Tracked())
    assert recall(tmp_path, "a") == known and recall(tmp_path, "b") == Tracked() and recall(tmp_path, "c") is None
    (tmp_path / "trackers.json").write_text(damage)
    assert recall(tmp_path, "a") in (None, Tracked())
    keep(tmp_path, "a", known)
    assert recall(tmp_path, "a") == known
