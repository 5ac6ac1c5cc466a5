"""Which trackers there are: ours, those of packages, and what is said of those that are not there."""

import importlib
import sys

import pytest

import small
from gptforge.config import TrainConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, UserError
from gptforge.trackers import Tracker, found
from recording import install


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages can be put into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    importlib.invalidate_caches()
    sys.modules.pop("lent", None)


GOOD = "from gptforge.trackers import Tracker\nclass Mine(Tracker): ...\n"


def test_a_package_brings_one(site):
    install(site, GOOD, mine="lent:Mine", wandb="lent:Mine")
    found.check(["mine"], "tracker")
    assert issubclass(found.load("mine"), Tracker) and found.load("mine").__name__ == "Mine"
    assert found.OURS["wandb"] == "WandB"  # a package cannot take the place of ours


def test_an_unknown_one_is_told_with_the_nearest_and_with_those_of_packages(site):
    install(site, GOOD, minestrone="lent:Mine")
    with pytest.raises(ConfigError) as error:
        found.check(["minestrome"], "tracker")
    assert "'minestrome' among tensorboard, wandb, mlflow, trackio, minestrone" in str(error.value)
    assert error.value.fixes == ["tracker=minestrone"] and error.value.exit_code == 2
    with pytest.raises(ConfigError, match="no tracker 'jsonl'"):
        found.check(["jsonl"], "to")


@pytest.mark.parametrize(
    ("code", "target", "said"),
    [
        ("raise RuntimeError('no licence')", "lent:Mine", "RuntimeError: no licence"),
        ("Mine = print", "lent:Mine", "no class that derives from Tracker"),
        ("class Mine: ...", "lent:Mine", "no class that derives from Tracker"),
        (GOOD, "lent:Yours", "AttributeError"),
        (GOOD, "borrowed:Mine", "ModuleNotFoundError"),
    ],
)
def test_a_broken_one_is_told_with_its_package(site, code, target, said):
    install(site, code, mine=target)
    with pytest.raises(ConfigError, match=said) as error:
        found.check(["mine"], "tracker")
    assert "of the package lent" in error.value.where


def test_one_of_ours_needs_its_package_and_a_folder_of_its_name_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(found.OURS, "leftover", "Leftover")  # wandb and mlflow leave folders of their names
    (tmp_path / "leftover").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for key, fixes in (("tracker", ["tracker=[] trains without"]), ("to", [])):
        with pytest.raises(UserError) as error:
            found.check(["leftover"], key)
        assert error.value.fixes == ["pip install 'gptforge[leftover]'", *fixes]
    (tmp_path / "leftover" / "__init__.py").write_text("")
    found.check(["leftover"], "tracker")


def test_nothing_is_made_for_a_tracker_that_is_not_there(own_folder, capsys):
    small.write_text()
    before = sorted(own_folder.rglob("*"))
    for words in (["tracker=wnadb"], ["-m", "tracker=wnadb", "seed=1,2"], ["-m", "tracker=[wnadb]", "seed=1,2"]):
        assert small.gptforge("train", "model=tiny", "data=text.txt", *words) == 2
        assert "try:   tracker=wandb" in capsys.readouterr().err
    assert small.gptforge("runs", "export", "to=wnadb") == 2
    assert sorted(own_folder.rglob("*")) == before


def test_one_name_is_a_list_of_one():
    assert build(TrainConfig, {"tracker": "wandb"}).tracker == ["wandb"]
    assert build(TrainConfig, {"tracker": ["wandb", "mlflow"]}).tracker == ["wandb", "mlflow"]
    with pytest.raises(ConfigError, match="a list is needed"):
        build(TrainConfig, {"tracker": 3})
