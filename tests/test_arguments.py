"""What is typed becomes overrides that exist, or one message that says what to type instead."""

import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptforge import compose
from gptforge.arguments import Grammar, joined, parse, quoted
from gptforge.config import SCHEMAS
from gptforge.config.schema import leaves
from gptforge.errors import ConfigError, DataError, UserError
from gptforge.usage import COMMANDS

DIRS = [compose.conf_dir()]


def grammar(command="train"):
    options = compose.options(command, DIRS)
    return Grammar(command, SCHEMAS[command], options, COMMANDS[command].positionals)


TRAIN, SAMPLE = grammar("train"), grammar("sample")


def overrides(*tokens, using=TRAIN):
    return parse(list(tokens), using).overrides


def complaint(*tokens, using=TRAIN, kind=ConfigError):
    with pytest.raises(kind) as e:
        parse(list(tokens), using)
    assert len(str(e.value).splitlines()) <= 8
    return str(e.value)


# Spelling ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens",
    [
        ["optimizer.lr=0.1"],
        ["lr=0.1"],
        ["--lr", "0.1"],
        ["--lr=0.1"],
        ["--optimizer.lr", "0.1"],
        ["lr", "=", "0.1"],
        ["lr=", "0.1"],
        ["lr", "=0.1"],
        ["lr=0.1", "optimizer.lr=0.1"],
    ],
)
def test_a_key_can_be_typed_in_many_ways(tokens):
    assert set(overrides(*tokens)) == {"optimizer.lr=0.1"}


def test_flags():
    assert overrides("--dry-run") == overrides("--dry_run") == overrides("--dry_run", "true") == ["dry_run=true"]
    assert overrides("--dry-run", "false", "seed=1") == ["dry_run=false", "seed=1"]
    assert overrides("--dry-run", "seed=1") == ["dry_run=true", "seed=1"]
    assert overrides("--compile") == ["runtime.compile=true"]
    assert overrides("--model", "tiny") == ["model=tiny"]
    assert overrides("--lr", "-1") == ["optimizer.lr=-1"]
    assert "lr=VALUE" in complaint("--lr") and "lr=VALUE" in complaint("--lr", "--dry-run")


def test_signs_of_equality_in_texts():
    assert overrides("--prompt", "a = b") == overrides("prompt", "=", "a = b") == ['prompt="a = b"']
    assert overrides("prompt==") == ['prompt="="']
    assert overrides("prompt=") == ['prompt=""']
    assert overrides("prompt=", "seed=1") == ['prompt=""', "seed=1"]
    assert overrides("prompt= a") == ['prompt=" a"']
    assert joined(["a", "=", "-1", "b"]) == ["a=-1", "b"]


def test_bare_words_stand_for_positionals():
    assert overrides("latest", using=SAMPLE) == ['ckpt="latest"']
    assert overrides("seed=3", "runs/a", using=SAMPLE) == ["seed=3", 'ckpt="runs/a"']
    assert "is not key=value" in complaint("a", "b", using=SAMPLE)
    assert "given twice" in complaint("a", "ckpt=b", using=SAMPLE)


def test_hydra_flags_go_to_hydra():
    line = parse(["-m", "model=tiny,small", "--cfg=job", "-p", "model"], TRAIN)
    assert line.flags == ["-m", "--cfg", "job", "-p", "model"] and line.multirun
    assert line.overrides == ["model=tiny,small"]
    assert parse(["model=tiny,small", "--multirun"], TRAIN).overrides == ["model=tiny,small"]
    assert "job or hydra or all" in complaint("--cfg") and "job or hydra or all" in complaint("--cfg", "model")


def test_help_is_given_whatever_else_is_typed():
    for rest in (["nonsense"], ["a=b"], ["--x"], ["data=missing.txt"], ["-m", "lr"]):
        assert parse([*rest, "--help"], TRAIN).help


# Groups and paths ------------------------------------------------------------------


def test_an_unknown_option():
    assert "try:   model=tiny" in complaint("model=tinny")
    assert "small, tiny" in complaint("model=zzz") and "try" not in complaint("model=zzz")
    assert "model" in complaint("model=") and "null" in complaint("model=null")
    assert "-m model=tiny,small" in complaint("model=tiny,small")
    assert "'smal'" in complaint("-m", "model=tiny,smal")
    assert "conf/clean/x.yaml" in complaint("clean=x", using=Grammar("train", TRAIN.schema, {"clean": []}))


def test_a_path_is_the_files_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("notes", "a, b=c.txt", "x.txt"):
        Path(name).write_text("text")
    assert overrides("data=notes") == ["data=files", 'data.path="notes"']
    assert overrides("data=a, b=c.txt") == ["data=files", 'data.path="a, b=c.txt"']
    assert overrides("-m", "data=notes,x.txt") == ["data=files", 'data.path="notes","x.txt"']
    assert overrides("data=pydoc") == ["data=pydoc"]
    assert overrides("-m", "data=pydoc,shakespeare") == ["data=pydoc,shakespeare"]
    assert "mixes" in complaint("-m", "data=pydoc,x.txt")
    assert "try:   data=x.txt" in complaint("data=y.txt", kind=DataError)
    assert "try:   data=notes" in complaint("data=note", kind=DataError)
    assert "'y.txt'" in complaint("-m", "data=x.txt,y.txt", kind=DataError)
    assert "try:   data=shakespeare" in complaint("data=shakespear")
    assert "data=x.txt" in complaint("x.txt")


# What is wrong -----------------------------------------------------------------------


def test_a_name_of_several_keys():
    message = complaint("kind=adamw")
    assert "several keys" in message and "optimizer.kind" in message and "model.mlp.kind" in message


def test_a_section_is_no_key():
    assert "optimizer.lr" in complaint("optimizer.x=1") or "optimizer" in complaint("optimizer.x=1")
    assert "model.attention.head_dim" in complaint("model.attention=1")
    assert "train.steps" in complaint("train=5")


def test_given_twice():
    assert "given twice, as 1 and 2" in complaint("lr=1", "optimizer.lr=2")
    assert "given twice" in complaint("model=tiny", "model=small")
    assert "given twice" in complaint("config=a", "config=b")


def test_signs_of_hydra():
    assert "try:   lr=1" in complaint("+lr=1") and "try:   lr=1" in complaint("++lr=1")
    assert "'+'" in complaint("+nonsense=1") and "no key 'nonsense'" in complaint("+nonsense=1")
    assert "'~data' is not key=value" in complaint("~data")
    assert "hydra.run.dir=PATH" in complaint("hydra.job.chdir=true")
    assert "hydra.sweep.dir=x" in complaint("-m", "hydra.run.dir=x")
    assert parse(["hydra.run.dir=a,b=${c}"], TRAIN).free == {"hydra.run.dir": "a,b=${c}"}


def test_words_that_say_too_little():
    assert "model=tiny" in complaint("tiny")
    assert "model=… (bert_base, gpt1" in complaint("model")
    assert "train.steps=… (int|null)" in complaint("steps")
    assert "'prompt=To be or not'" in complaint("prompt=To", "be", "or", "not", "lr=1")
    assert "'=5' has no key" in complaint("=5")
    assert "no option" in complaint("--") and "no option" in complaint("-")
    assert "not UTF-8" in complaint("prompt=\udcff")


def test_all_problems_are_in_one_message():
    message = complaint("modle=tiny", "lr=1", "--foo", "7", "data.shufle=true", "kind=x", "model=zzz")
    assert "5 problems" in message
    for part in ("modle", "foo", "data.shuffle", "kind", "zzz"):
        assert part in message
    assert "and 4 more" in complaint(*(f"{c}{c}{c}=1" for c in "zyxwvutsrq"))


ANYTHING = st.text(max_size=20) | st.builds(
    lambda name, sign, value: name + sign + value,
    st.sampled_from(
        [*(leaf.name for leaf in leaves(SCHEMAS["train"])), *TRAIN.groups, "lr", "hydra.run.dir", "", "+x"]
    ),
    st.sampled_from(["=", "", "==", " = ", ".", ",", "=,"]),
    st.sampled_from(["", "1", "tiny", "a,b", "[1", "{", "null", "latest", "\n\n\n\n\n\n\n\n\n\n", "x" * 300]),
)
WORDS = ANYTHING | ANYTHING.map("--".__add__) | st.sampled_from(["-m", "--cfg", "-p", "=", "--help", "-cd", "-"])


@given(st.lists(WORDS, max_size=8), st.sampled_from([TRAIN, SAMPLE]))
def test_whatever_is_typed_is_understood_or_explained(tokens, using):
    try:
        parse(tokens, using)
    except UserError as e:
        assert len(str(e).splitlines()) <= 8


# Free text -----------------------------------------------------------------------------


def composed(*tokens, command="train", using=TRAIN):
    return compose.compose(command, parse(list(tokens), using), DIRS).config


@settings(max_examples=40)
@given(st.text() | st.text(alphabet="\\\"'${}[],=: \n\tab#@~"))
@example("")
@example("a, b = [c] {d}: (e)")
@example('"quoted"')
@example("'quoted'")
@example("ends with \\")
@example("???")
@example('\\" \\\\" \\\\\\')
@example("${seed} \\${seed} \\\\${seed} ${oc.env:HOME} $${ {$}")
@example("line\nline\r\n\ttab")
@example("é 漢字 🙂 \u2028 \x7f")
def test_a_text_arrives_as_it_was_typed(text):
    if text == "null" or "\0" in text:  # null is no text; no program can be given a zero byte
        return
    config = composed(f"prompt={text}", f"--ckpt=a{text}", command="sample", using=SAMPLE)
    assert (config.prompt, config.ckpt) == (text, f"a{text}")


@settings(max_examples=40)
@given(st.text(alphabet="\\\"'${},=[ ab\n", max_size=12))
def test_a_text_in_a_sweep_arrives_as_it_was_typed(text):
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides([f"ckpt={quoted(text)}", "seed=1,2"])
    points = BasicSweeper.split_arguments(parsed, None)[0]
    assert [p[1] for p in points] == ["seed=1", "seed=2"]
    line = parse([], SAMPLE)
    line.overrides = list(points[0])
    assert compose.compose("sample", line, DIRS).config.ckpt == text


def test_null_is_text_only_where_nothing_is_no_choice():
    assert overrides("resume=null") == ["resume=null"]
    assert overrides("prompt=null") == ['prompt="null"']


# Typos -----------------------------------------------------------------------------------


def typos(name):
    """Every text that is one deletion, transposition or wrong letter away from a key's last part."""
    prefix, dot, leaf = name.rpartition(".")
    made = {leaf[:i] + leaf[i + 1 :] for i in range(len(leaf))}
    made |= {leaf[:i] + leaf[i + 1] + leaf[i] + leaf[i + 2 :] for i in range(len(leaf) - 1)}
    made |= {leaf[:i] + c + leaf[i + 1 :] for i in range(len(leaf)) for c in "xq"}
    made |= {leaf[:i] + c + leaf[i:] for i in range(len(leaf) + 1) for c in "xq"}
    return {prefix + dot + text for text in made - {leaf} if text}


@pytest.mark.parametrize("full", [True, False], ids=["section.key", "key"])
def test_typos_get_the_right_suggestion(full):
    names = [leaf.name for leaf in leaves(SCHEMAS["train"])]
    short = [name.rpartition(".")[2] for name in names]
    missed, tried = [], 0
    for name in names:
        asked = name if full else name.rpartition(".")[2]
        if not full and short.count(asked) > 1:
            continue
        for typo in sorted(typos(asked))[::3]:  # all take half a minute
            problem = TRAIN.leaf(typo)
            if not hasattr(problem, "fix"):
                continue  # another key's name
            tried += 1
            if f"{name}=…" not in problem.fix:
                missed.append((typo, name, problem.fix))
    assert len(missed) / tried <= 0.05, f"{len(missed)} of {tried}, such as {missed[:: max(1, len(missed) // 12)]}"


@given(st.text(alphabet=string.ascii_lowercase + "_.", max_size=300))
def test_any_wrong_name_gets_an_answer(name):
    problem = TRAIN.unknown(name)
    assert problem.message and problem.fix


def test_resolve_goes_with_cfg_only():
    assert "--cfg job --resolve" in complaint("--resolve")
    assert parse(["--cfg", "job", "--resolve"], TRAIN).flags == ["--cfg", "job", "--resolve"]


# Sweeps ------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["n_jobs=2", "hydra.launcher.n_jobs=2", "--n-jobs=2"])
def test_keys_of_a_sweep_are_kept_apart(word):
    line = parse(["-m", word, "seed=1,2", "--yes"], TRAIN)
    assert line.sweep == {"n_jobs": "2", "yes": "true"} and line.overrides == ["seed=1,2"]


def test_keys_of_a_sweep_belong_to_sweeps():
    assert "gptforge train -m halving=3" in complaint("halving=3")
    assert "n_jobs is given twice, as 2 and 3" in complaint("-m", "n_jobs=2", "hydra.launcher.n_jobs=3")
    assert "halving=… (default null), with -m" in complaint("-m", "halfing=3")
    assert "there is no key 'n_jobs'" in complaint("n_jobs=3", using=grammar("sample"))


# Words for a key that is a list -----------------------------------------------------


COMPARE = grammar("compare")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["a", "b", "c"], ['runs=["a","b","c"]']),
        (["a", "json=true", "b"], ["json=true", 'runs=["a","b"]']),
        (["--json", "a", "b"], ["json=true", 'runs=["a","b"]']),
        (["runs/a b", "c,d"], ['runs=["runs/a b","c,d"]']),
        (["runs=[a,b]"], ["runs=[a,b]"]),
    ],
)
def test_all_bare_words_are_items_of_a_list(tokens, expected):
    assert overrides(*tokens, using=COMPARE) == expected


def test_words_and_the_key_together_are_one_too_many():
    assert "runs is given twice" in complaint("a", "b", "runs=[c]", using=COMPARE)
    assert "'b' is not key=value" in complaint("a", "b", using=grammar("show"))


@settings(max_examples=10)  # each composes a config
@example(words=["${a}", "a,b", '"', "\\", " ", "[x]"])
@given(words=st.lists(st.text(string.printable, min_size=1).filter(lambda w: "=" not in w and w[0] != "-"), min_size=1))
def test_items_arrive_as_they_were_typed(words):
    line = parse(list(words), COMPARE)
    composed = compose.compose("compare", line, DIRS)
    assert composed.config.runs == words
