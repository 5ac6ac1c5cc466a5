"""What a tracker lacks of a run that goes on: however its starts ended, it gets what it has not got."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gptforge.trackers import Tracker
from gptforge.trackers.delivery import Delivery, Event, lacks
from gptforge.trackers.gaps import goes_on, past, perhaps_sent
from gptforge.trackers.memory import ENDED, FOLLOWED, MISSED, Tracked, keep, recall

ENDS = ("ended", "failed", "killed", "without")  # how a start ends for its tracker; or one that has none


class Shown(Tracker):
    """What a tracker shows: one that can take back, or not."""

    def __init__(self, takes_back):
        self.takes_back, self.shown = takes_back, []

    def log(self, values, step):
        self.shown.append(Event("evaluation" if "val_loss" in values else "training", step, values))

    def back(self, step):
        if self.takes_back:
            self.shown = [event for event in self.shown if event.step < step]
        return self.takes_back


def passage(first, last, every, mark):
    """The events of the steps from `first` to `last`; `mark` tells one passage from another."""
    for step in range(first, last + 1):
        yield Event("training", step, {"train_loss": float(mark)})
        if step % every == 0:
            yield Event("evaluation", step, {"val_loss": float(mark)})


def follow(tracker, known, before, files, new, start_step, end, most):
    """One start as a courier goes through it; the tracker gets `most` events if it fails or is killed."""
    had = past(known, before, files, start_step)
    delivery = Delivery(tracker, had.sent, had.sound)
    written = Tracked("id", dict(delivery.sent))
    events = [event for event in had.events if lacks(delivery.sent, event)]
    assert all(event.step > had.step for event in events) or tracker.takes_back
    for event in [*events, *new][: None if end == "ended" else most]:
        delivery.send(event)
        if event.kind == "evaluation":
            written = Tracked("id", dict(delivery.sent))
    if end == "killed":
        return written
    return Tracked("id", dict(delivery.sent), MISSED if end == "failed" else ENDED)


def write(run, files):
    """The metrics of a run."""
    lines = [json.dumps({"step": event.step, **event.values}) + "\n" for event in files]
    (run / "metrics.jsonl").write_text("".join(lines))


LEG = st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(ENDS), st.integers(0, 20))


@given(st.booleans(), st.lists(LEG, min_size=1, max_size=6), st.integers(1, 4))
def test_a_tracker_gets_all_of_a_run_however_its_starts_have_ended(takes_back, legs, every):
    """A leg goes back to a share of the way so far, then some steps on. A killed one may have lagged behind."""
    with tempfile.TemporaryDirectory() as run:
        go_through(Path(run), Shown(takes_back), legs, every)


def go_through(run, tracker, legs, every):
    files, at, known = [], 0, None
    for mark, (share, steps, end, most) in enumerate([*legs, (1.0, 1, "ended", 0)]):
        at, before = int(share * at), files
        files = [event for event in files if event.step <= at]
        new = list(passage(at + 1, at + steps, every, mark))
        if end != "without":
            known = follow(tracker, known, before, files, new, at, end, most)
        elif known:
            write(run, before)
            keep(run, "a", known)
            goes_on(run)
            known = recall(run, "a")
        files, at = files + new, at + steps
    if tracker.takes_back:
        assert tracker.shown == files
        return
    places = [(event.kind, event.step) for event in tracker.shown]
    assert len(places) == len(set(places))
    lacking = {(event.kind, event.step) for event in files} - set(places)
    assert len(lacking) <= sum(end == "killed" for _, _, end, _ in legs) * (every + 1)


def test_after_a_kill_all_up_to_the_next_evaluation_counts_as_sent():
    told = list(passage(1, 9, 3, 0))
    assert perhaps_sent({}, told) == {"training": 3, "evaluation": 3}
    assert perhaps_sent({"training": 3, "evaluation": 3}, told) == {"training": 6, "evaluation": 6}
    assert perhaps_sent({"training": 9, "evaluation": 9}, told) == {"training": 9, "evaluation": 9}
    assert perhaps_sent({"training": 20, "evaluation": 18}, told) == {"training": 20, "evaluation": 18}


def test_a_tracker_that_has_had_all_to_its_end_lacks_nothing():
    files = list(passage(1, 9, 3, 0))
    had = past(Tracked("id", {"training": 9, "evaluation": 9}, ENDED), [], files, 9)
    assert not list(had.events) and (had.step, had.sound) == (9, 9)


def test_a_run_without_trackers_is_not_given_their_file(tmp_path):
    goes_on(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_goes_on_is_missed_by_all_its_trackers_also_where_its_files_are_damaged(tmp_path):
    sent = {"training": 3, "evaluation": 3}
    for name, state in (("a", ENDED), ("b", FOLLOWED), ("c", MISSED)):
        keep(tmp_path, name, Tracked(f"id-{name}", sent, state))
    (tmp_path / "metrics.jsonl").write_text("no json\n")
    goes_on(tmp_path)
    assert [recall(tmp_path, name) for name in "abc"] == [Tracked(f"id-{name}", sent, MISSED) for name in "abc"]
