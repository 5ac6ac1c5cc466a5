"""A user's file of an option is looked at before Hydra reads it."""

import pytest

from gptforge import compose, own_options
from gptforge.arguments import Line
from gptforge.errors import ConfigError

BOMB = "a0: &a0 [lol]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_layer: 3", ""),
        ("# nothing", ""),
        ("\ufeffn_layer: 3", ""),
        ("a: &a {b: 1}\nc:\n  <<: *a", ""),
        (BOMB, "stands for more than 10,000 values"),
        ("a: &a [*a]", "within itself"),
        ("a: &a {b: *a}", "within itself"),
        ("a: " + "[" * 100 + "]" * 100, "too deep"),
        ("a: " + "[" * 9000, "too deep"),
        ("a: " + "b" * 200_000, "100,000 bytes"),
        ("1: 2", "'1' as a key"),
        ("a: {null: 2}", "'null' as a key, which is no name (line 1)"),
        ("[a]: 2", "a list or table as a key"),
        ("- 1", "no table"),
        ("a: [1", "as YAML"),
        ("\udcff", "as YAML"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = own_options.fault(path)
    assert said in found and bool(said) == bool(found)


def test_only_files_that_are_chosen_are_looked_at(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "bomb.yaml").write_text(BOMB)
    (folder / "fine.yaml").write_text("n_layer: 3")
    (folder / "brings.yaml").write_text("defaults: [bomb]")
    own_options.check([tmp_path], ["model"], ["model=fine", "seed=1"])
    for word in ("model=bomb", "model=fine,bomb", "model=brings"):
        with pytest.raises(ConfigError, match="by its aliases") as e:
            own_options.check([tmp_path], ["model"], [word])
        assert "bomb.yaml" in e.value.where


@pytest.mark.parametrize(
    "text", ["defaults: 1", "defaults: [[1]]", "# @package", "# @package nope.nope\nn_layer: 1", "defaults: [{/x: 1}]"]
)
def test_what_hydra_stumbles_over_is_told(tmp_path, text):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as e:
        compose.compose("train", Line(overrides=["model=mine"]), [compose.conf_dir(), tmp_path])
    assert len(str(e.value).splitlines()) <= 8


def test_a_secret_is_not_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "sesame")
    monkeypatch.setenv("MY_OPTION", "plain")
    dirs = [compose.conf_dir()]
    assert compose.compose("train", Line(overrides=["ui=${oc.env:MY_OPTION}"]), dirs).config.ui == "plain"
    assert compose.compose("train", Line(overrides=["ui=${oc.env:NO_OPTION,json}"]), dirs).config.ui == "json"
    with pytest.raises(ConfigError, match="MY_TOKEN looks like a secret") as e:
        compose.compose("train", Line(overrides=["ui=${oc.env:MY_TOKEN}"]), dirs)
    assert "sesame" not in str(e.value)
