"""The fault suite itself: ids, seeds, lines, and the places where mutants go. The faults are `make faults`."""

import random

from faults import changes, source
from faults.__main__ import all_faults
from faults.mutants import MUTANTS, SOURCES
from faults.suite import Fault, Outcome, Verdict, run


def test_every_fault_has_an_id_of_its_own_and_trials():
    faults = all_faults()
    assert len({fault.id for fault in faults}) == len(faults)
    assert all(0 <= fault.quick <= fault.full and fault.full and 0 < fault.least <= 1 for fault in faults)


def test_every_key_has_another_value():
    for leaf in changes.LEAVES:
        assert changes.of(leaf).value


def test_no_code_path_runs_what_a_file_says(tmp_path):
    source.scan(random.Random(1), tmp_path)


def test_every_mutant_has_its_place_and_its_faults():
    ids = {fault.id for fault in all_faults()}
    for mutant in MUTANTS:
        assert (SOURCES / "gptforge" / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1, mutant.name
        assert {fault for fault, _ in mutant.faults} <= ids, mutant.name


def sometimes(draw: random.Random, ground: str) -> None:
    assert ground == "ground" and draw.random() < 0.5, "it happened"


def ground() -> str:
    return "ground"


def test_seeds_replay_what_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTFORGE_FAULTS", str(tmp_path))
    fault = Fault("T1", "nothing happens", sometimes, 8, 8, ground)
    found = Verdict(fault, list(run(fault, range(1, 9), 2)))
    failed = [outcome.seed for outcome in found.outcomes if outcome.wrong]
    assert 0 < found.passed < 8 and not found.kept and "it happened" in found.outcomes[failed[0] - 1].wrong
    assert f"{found.passed}/8" in found.line() and f"seed {failed[0]} " in found.line() and "FAILED" in found.line()
    (again,) = run(fault, [failed[0]], 1)
    assert "it happened" in again.wrong


def no_ground() -> None:
    raise RuntimeError("it cannot even begin")


def test_without_a_ground_no_trial_passes(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTFORGE_FAULTS", str(tmp_path))
    found = list(run(Fault("T3", "it begins", sometimes, 2, 2, no_ground), [1, 2], 1))
    assert all("it cannot even begin" in outcome.wrong for outcome in found)


def test_a_share_may_be_enough():
    fault = Fault("T2", "mostly", sometimes, 4, 4, least=0.75)
    outcomes = [Outcome(1, 0.1), Outcome(2, 0.2, "no"), Outcome(3, 0.1), Outcome(4, 0.1)]
    assert Verdict(fault, outcomes).kept and not Verdict(fault, outcomes[:3]).kept
