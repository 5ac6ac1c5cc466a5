"""Every option composes, every key is documented, and a config survives being saved."""

import dataclasses
import json
import time
import typing

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge import compose
from gptforge.arguments import Grammar, Line, parse
from gptforge.config import SCHEMAS, TrainConfig
from gptforge.config.data import SourceConfig
from gptforge.config.saved import as_saved, load_config, refuse_changes
from gptforge.config.schema import Resume, allows_none, build, flatten, leaves, shown, to_dict
from gptforge.config.units import duration, steps_or_duration
from gptforge.errors import CheckpointError, ConfigError, UserError
from gptforge.jsonfile import write_json
from gptforge.option_files import with_options
from gptforge.usage import COMMANDS, command_help, first_comment

DIRS = [compose.conf_dir()]
OPTIONS = [
    (command, group, option)
    for command in SCHEMAS
    for group, names in compose.options(command, DIRS).items()
    for option in names
]
LEAVES = [pytest.param(leaf, id=f"{command}:{leaf.name}") for command in SCHEMAS for leaf in leaves(SCHEMAS[command])]


def composed(command, *tokens):
    grammar = Grammar(command, SCHEMAS[command], compose.options(command, DIRS), COMMANDS[command].positionals)
    return compose.compose(command, parse(list(tokens), grammar), DIRS)


# The options of conf/ ---------------------------------------------------------------


def written(group, option):
    """The keys that an option's file sets, by their full names, and the options that it chooses of other groups."""
    text = (compose.conf_dir() / group / f"{option}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    chosen = {k.removeprefix("override /"): v for entry in content.pop("defaults", []) for k, v in entry.items()}
    whole = text.startswith("# @package _global_")
    return {name if whole else f"{group}.{name}": value for name, value in flatten(content).items()}, chosen


@pytest.mark.parametrize(("command", "group", "option"), OPTIONS)
def test_every_option_composes(command, group, option, tmp_path):
    also = {
        "hf": ["tokenizer.path=tokenizer.json"],
        "mix": ["data.sources=[shakespeare]"],
        "bert_base": ["objective=mlm"],
    }.get(option, [])
    result = composed(command, f"data={tmp_path}" if option == "files" else f"{group}={option}", *also)
    keys, chosen = written(group, option)
    assert {group: option, **chosen}.items() <= result.call.choices.items()
    assert keys.items() <= flatten(to_dict(result.config)).items()


@pytest.mark.parametrize("path", [*compose.conf_dir().glob("*/*.yaml")], ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_an_option_holds_only_what_differs(path):
    """Its keys exist, and none repeats the default, but for the name of the kind itself."""
    defaults = {leaf.name: leaf.default for leaf in leaves(TrainConfig)}
    for name, value in written(path.parent.name, path.stem)[0].items():
        assert name in defaults
        assert value != defaults[name] or name.endswith((".kind", ".source")), f"{name}: {value} is the default"
    assert first_comment(DIRS, path.parent.name, path.stem), "the first comment says what it is"


def test_an_option_may_set_keys_of_other_groups():
    found = with_options(TrainConfig, {"model": "tiny", "objective": "mlm"})
    assert (found["objective"]["kind"], found["model"]["n_layer"]) == ("mlm", 2)
    assert found["model"]["attention"]["causal"] is False and build(TrainConfig, found)
    assert with_options(TrainConfig, {"objective": "next_token"}) == to_dict(TrainConfig())


def test_every_file_is_of_a_command_or_a_group():
    root = compose.conf_dir()
    assert {p.stem for p in root.glob("*.yaml")} == {compose.file_name(command) for command in SCHEMAS}
    groups = {group for command in SCHEMAS for group in compose.default_options(command)}
    assert {p.name for p in root.iterdir() if p.is_dir()} <= groups


# Keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_key_is_documented_and_classified(leaf):
    assert isinstance(leaf.meta["resume"], Resume)
    assert 5 < len(leaf.doc) <= 110 and "\n" not in leaf.doc and not leaf.doc.endswith(".")
    assert leaf.type_name


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_defaults_are_valid_and_are_those_that_help_shows(command):
    config = composed(command).config
    assert build(SCHEMAS[command], to_dict(config)) == config
    words = {
        line.split()[0] for line in command_help(command, DIRS).splitlines() if line.startswith("  ") and line.split()
    }
    for name, value in flatten(to_dict(config)).items():
        text = repr(value) if isinstance(value, str) and value != value.strip() else shown(value)
        assert f"{name}={text}" in words or f"{name}={text}".split()[0] in words, name


# Saved and read back -------------------------------------------------------------------


def values(leaf):
    """Values that a key accepts."""
    kind = typing.get_args(leaf.type)[0] if allows_none(leaf.type) else leaf.type
    meta = leaf.meta
    low, high = meta["ge"], meta["le"]
    if meta["choices"]:
        found = st.sampled_from(meta["choices"])
    elif meta["parse"] is duration:
        found = st.sampled_from(["90", "90s", "3m", "1h30m", "1.5h"])
    elif meta["parse"] is steps_or_duration:
        found = st.sampled_from(["200", "10m"])
    elif kind is bool:
        found = st.booleans()
    elif kind is int:
        found = st.integers(int(low if low is not None else 0), int(high if high is not None else 10**6))
    elif kind is float:
        least = low if low is not None else meta["gt"] if meta["gt"] is not None else 0.0
        most = high if high is not None else meta["lt"] if meta["lt"] is not None else 1e6
        found = st.floats(
            least, most, exclude_min=meta["gt"] is not None, exclude_max=meta["lt"] is not None, allow_nan=False
        )
    elif kind is str:
        found = st.text(max_size=8)
    elif kind == list[float]:
        found = st.lists(st.floats(0, 0.999), min_size=2, max_size=2)
    elif kind == list[SourceConfig]:
        found = st.lists(st.builds(SourceConfig, st.text(min_size=1, max_size=4)), max_size=3)
    else:
        assert kind == list[str]
        found = st.lists(st.text(min_size=1, max_size=4), max_size=3)
    return st.none() | found if allows_none(leaf.type) else found


def trees(schema):
    known = {leaf.name: values(leaf) for leaf in leaves(schema)}
    return st.lists(st.sampled_from(sorted(known)), unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: known[name] for name in names})
    )


@settings(max_examples=60)
@given(st.data(), st.sampled_from(list(SCHEMAS)))
def test_a_config_survives_being_saved(data, command):
    schema = SCHEMAS[command]
    tree: dict = {}
    for name, value in data.draw(trees(schema)).items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    try:
        config = build(schema, tree)
    except ConfigError as e:  # keys that do not go together; never a value that is fine alone
        assert "whole number" not in str(e) and "must be" not in str(e)
        return
    text = json.dumps(to_dict(config), allow_nan=False)
    again = build(schema, json.loads(text))
    assert again == config and json.dumps(to_dict(again)) == text


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.data())
def test_a_wrong_value_is_a_config_error_and_nothing_else(data):
    leaf = data.draw(st.sampled_from(list(leaves(TrainConfig))))
    *parents, name = leaf.name.split(".")
    tree = {name: data.draw(JUNK)}
    for parent in reversed(parents):
        tree = {parent: tree}
    try:
        build(TrainConfig, tree)
    except ConfigError as e:
        assert len(str(e).splitlines()) <= 8


@given(st.dictionaries(st.sampled_from(["model", "train", "data", "x", "seed"]), JUNK))
def test_a_wrong_tree_is_a_config_error_and_nothing_else(tree):
    try:
        build(TrainConfig, tree)
    except ConfigError as e:
        assert len(str(e).splitlines()) <= 8


def test_a_saved_config_is_read_back(tmp_path):
    config = dataclasses.replace(TrainConfig(), seed=5, prompt="a\n'\"")
    write_json(tmp_path / "config.json", as_saved(config, {"model": "small"}))
    assert load_config(TrainConfig, tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("[]", "no JSON object"),
        ("{}", "schema_version is None"),
        ('{"schema_version": 999, "config": {}}', "schema_version is 999"),
        ('{"schema_version": 1}', "holds no config"),
        ('{"schema_version": 1, "config": {}, "choices": 5}', "holds no config"),
        ('{"schema_version": 1, "config": {"model": 5}}', "not valid"),
        ('{"schema_version": 1, "config": {"seed": -1}}', "at least 0"),
        ('{"schema_version": 1, "config": {"sede": 1}}', "no key 'sede'"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_saved_config_that_is_none_of_ours(tmp_path, text, said):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=said) as e:
        load_config(TrainConfig, path)
    assert str(path) in str(e.value)


def test_typed_keys_go_on_top_of_a_saved_config(tmp_path):
    write_json(tmp_path / "config.json", as_saved(TrainConfig(dry_run=True), {"model": "small"}))
    grammar = Grammar("train", TrainConfig, compose.options("train", DIRS))

    def read(*tokens):
        line = parse([f"config={tmp_path}", *tokens], grammar)
        return compose.from_command_line("train", line, grammar)

    result = read("lr=1e-4", "prompt=a, ${b}", "hydra.run.dir=x,y", "stop=[a,b]")
    assert result is not None and result.config.optimizer.lr == 1e-4 and result.config.prompt == "a, ${b}"
    assert str(result.call.directory) == "x,y" and result.config.sample.stop == ["a", "b"]
    assert result.config.dry_run is False and result.call.choices == {"model": "small"}
    for wrong, said in (
        (["lr=1,2"], "several values"),
        (["model=tiny"], "brings its own"),
        (["-m"], "-m does not go"),
        (["resume=latest"], "leave one of the two out"),
        (["lr=x"], "optimizer.lr on the command line"),
        (["lr={"], "cannot be read"),
    ):
        with pytest.raises(UserError, match=said):
            read(*wrong)


# Going on with a run --------------------------------------------------------------------


def refused(changes, allowed=()):
    old = to_dict(TrainConfig())
    new = json.loads(json.dumps(old))
    for name, value in changes.items():
        section, _, leaf = name.rpartition(".")
        (new[section] if section else new)[leaf] = value
    try:
        refuse_changes(old, new, list(allowed))
    except CheckpointError as e:
        assert len(str(e).splitlines()) <= 8
        return str(e)
    return ""


def test_a_run_goes_on_only_with_changes_that_its_keys_permit():
    assert not refused({}) and not refused({"ui": "plain", "eval.every": 3, "runtime.threads": 3})
    assert "another model or other data" in refused({"model.n_layer": 9})
    assert "resume_allow=[optimizer.lr]" in refused({"optimizer.lr": 9.0})
    assert not refused({"optimizer.lr": 9.0}, ["optimizer.lr"])
    assert "new run" in refused({"model.n_layer": 9}, ["model.n_layer"])
    many = refused({f"model.{k}": 77 for k in ("n_layer", "n_head", "n_embd", "block_size", "dropout", "position")})
    assert "start a new run" in many


# What Hydra gets wrong --------------------------------------------------------------------


def test_hydras_errors_become_ours(tmp_path):
    with pytest.raises(ConfigError, match="several values"):
        composed("train", "lr=1,2")
    with pytest.raises(ConfigError, match="several values"):
        composed("train", "lr=choice(1,2)")
    with pytest.raises(ConfigError, match="cannot be read"):
        composed("train", "lr={a")
    with pytest.raises(ConfigError, match="nonsense"):
        composed("train", "lr=${nonsense}")
    for text, said in (
        ("a: [1", "YAML"),
        ("- 1", "mine"),
        ("5", "no table"),
        ("n_layr: 3", "n_layr"),
        ("n_head: x", "whole"),
    ):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "mine.yaml").write_text(f"# mine\n{text}\n")
        with pytest.raises(ConfigError, match=said) as e:
            compose.compose("train", Line(overrides=["model=mine"]), [*DIRS, tmp_path])
        assert len(str(e.value).splitlines()) <= 8


def test_folders_with_strange_names_can_be_searched(tmp_path):
    folder = tmp_path / "a, b = [c] {d} 'e'"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "mine.yaml").write_text("# mine\nn_layer: 7\n")
    result = compose.compose("train", Line(overrides=["model=mine"]), [*DIRS, folder])
    assert result.config.model.n_layer == 7


def test_a_config_saved_before_a_key_existed_goes_on_without_what_it_does(tmp_path):
    saved = as_saved(TrainConfig(), {})
    assert saved["config"]["train"].pop("context_warmup", 0) is None
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert load_config(TrainConfig, tmp_path / "config.json").train.context_warmup == 0
    (tmp_path / "own.json").write_text('{"schema_version": 1, "config": {"seed": 2}}')  # by hand: defaults hold
    assert load_config(TrainConfig, tmp_path / "own.json").train.context_warmup is None


def test_numbers_of_any_length_get_an_answer():
    for digits in (400, 9000):
        for key, said in (("optimizer.lr", "finite|at most|less"), ("model.n_layer", "at most"), ("ui", "not one of")):
            with pytest.raises(ConfigError, match=said if digits < 4300 else "4300 digits") as e:
                composed("train", f"{key}={'9' * digits}")
            assert len(str(e.value)) < 1000


def test_an_address_is_no_text():
    for word in ("data.val_path=https://a:b@c/d", "data.sources=[https://a:b@c/d]"):
        with pytest.raises(ConfigError, match="is an address") as e:
            composed("train", word)
        assert "a:b" not in str(e.value)


def test_a_long_message_keeps_its_place_and_its_way_out():
    error = ConfigError("\n".join(map(str, range(20))), where="here", fix=["this", "that"])
    assert str(error).splitlines() == [
        "config error: 0", "1", "2", "3", "  …", "  where: here", "  try:   this", "  try:   that",
    ]  # fmt: skip
    assert len(str(ConfigError("x" * 5000)).splitlines()[0]) == 400
    many = ConfigError("a\nb", fix=[str(n) for n in range(20)])
    assert len(str(many).splitlines()) == 8 and str(many).startswith("config error: a\n  try:   0")


def test_a_million_wrong_keys_take_no_time():
    began = time.monotonic()
    with pytest.raises(ConfigError, match="there is no key '0'"):
        build(TrainConfig, {str(n): n for n in range(1_000_000)})
    assert time.monotonic() - began < 10
