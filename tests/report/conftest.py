"""A run for all tests of pages: stopped, continued, done, and evaluated."""

import json
import shutil
from pathlib import Path

import pytest

import small
from gptforge.runs import Run
from gptforge.train import trainer as trainer_module

RESULT = {
    "checkpoint": {"path": "x", "step": 12}, "text": {"label": "text.txt", "split": "val"}, "loss": 2.5,
    "perplexity": 12.0, "bits_per_byte": 2.1,
    "baselines": [{"name": "5-gram", "bits_per_byte": 2.4, "note": "counted"}],
}  # fmt: skip
TASKS = {
    "checkpoint": {"path": "x", "step": 12}, "groups": [],
    "tasks": [{"name": "copa", "figures": [{"metric": "acc", "value": 0.6, "stderr": 0.1}]}],
}  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with runs/one: stopped after step 5, then done; evaluated afterwards."""
    path = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        Path("runs").mkdir()
        assert small.gptforge(*small.typed(small.config(train__stop_after="5"), "runs/one")) == 75
        shutil.copytree("runs/one", "runs/stopped")
        assert small.gptforge("train", "resume=runs/one", "prompt=ab") == 0
    Path(path, "runs/one/eval-000012-text-val-0.json").write_text(json.dumps(RESULT))
    Path(path, "runs/one/eval-000012-tasks-0.json").write_text(json.dumps(TASKS))
    return path


@pytest.fixture
def run(trained, own_folder):
    shutil.copytree(trained / "runs", own_folder / "runs")
    return Run(Path("runs/one"))
