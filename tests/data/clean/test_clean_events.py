import json

from gptforge.data.clean.events import CHANGED, DROPPED, Event, Sample, Tally, excerpt, shortened


def test_tally_adds_up_and_keeps_the_first_examples():
    tally = Tally(examples=2)
    tally.add(0, [Event("blanks", CHANGED, 3, (Sample(1, "a"), Sample(5, "b"), Sample(9, "c")))])
    tally.add(4, [Event("blanks", CHANGED, 1, (Sample(0, "d"),)), Event("rule", DROPPED, 10, (), "value 3, allowed 2")])
    expected = {
        "blanks": {
            "changed": {
                "documents": 2,
                "amount": 4,
                "samples": [
                    {"document": 0, "position": 1, "text": "a", "reason": ""},
                    {"document": 0, "position": 5, "text": "b", "reason": ""},
                ],
            }
        },
        "rule": {
            "dropped": {
                "documents": 1,
                "amount": 10,
                "samples": [{"document": 4, "position": 0, "text": "", "reason": "value 3, allowed 2"}],
            }
        },
    }
    assert json.loads(json.dumps(tally.to_dict())) == expected


def test_no_examples_are_none():
    tally = Tally(examples=0)
    tally.add(0, [Event("rule", DROPPED, 10, (Sample(0, "x"),), "why")])
    assert tally.to_dict() == {"rule": {"dropped": {"documents": 1, "amount": 10, "samples": []}}}


def test_excerpts():
    text = "0123456789" * 20
    assert excerpt(text, 0) == text[:60] + "…"
    assert excerpt(text, 100) == "…" + text[85:145] + "…"
    assert excerpt(text, 199) == "…" + text[184:]
    assert shortened("x" * 60) == "x" * 60 and shortened("x" * 61) == "x" * 60 + "…"
