"""docs/tracking.md: the tracker that it shows can be installed and does what it says."""

import json
import re
import sys
from pathlib import Path

import small
from gptforge.train import trainer as trainer_module
from recording import install

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"


def test_the_example_is_a_tracker(own_folder, monkeypatch):
    monkeypatch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n# mytracker.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ((name, target),) = re.findall(r'^(\w+) = "mytracker:(\w+)"$', text, re.MULTILINE)
    assert len(code.splitlines()) <= 20 and '[project.entry-points."gptforge.trackers"]' in text
    site = own_folder / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    install(site, code, **{name: f"lent:{target}"})
    small.write_text()
    assert small.gptforge(*small.typed(small.config(), "run"), f"tracker={name}", "train.stop_after=5") == 75
    assert small.gptforge("train", "resume=run") == 0
    sys.modules.pop("lent")
    lines = [json.loads(line) for line in Path("run/lines.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "learning_rate" in line] == [0, 5]
    losses = [(line["step"], line["train_loss"]) for line in lines if "train_loss" in line]
    assert losses == [(r["step"], r["train_loss"]) for r in small.records("run") if "train_loss" in r]
