"""Config files with something wrong in them, or something strange: saved configs (JSON) and a user's options (YAML).

Each drawing writes its file into the working directory and gives the command line that names it. Runs nothing.
"""

import json
import random
from pathlib import Path
from typing import Any

from faults.wrong_words import EDITS, Typed, edited
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.config.schema import flatten

SAVED = "saved.json"
OPTION = "mine"  # the name of the user's own option
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1.5, 10**30, -(10**30), 1e300, "", "a", "${seed}", "${oc.env:HOME}", [], [1], {}, {"a": 1},
    {"_target_": "os.system", "_args_": ["touch canary"]}, "_target_", "\0", "\ud800", "é" * 5000, [[[[1]]]], "null",
)  # fmt: skip
# Whole contents of a file where a saved config is wanted
NO_CONFIG = (
    b"", b" ", b"{", b"[]", b"null", b"7", b'"a"', b"{}", b'{"schema_version": 1}', b"NaN", b"\xff\xfe{\0}\0",
    b"\0" * 64, b"\xef\xbb\xbf{}", b"seed: 1\n", b"\x80\x04\x95\x0c\0\0\0\0\0\0\0\x8c\x05posix\x94.",
    b"PK\x03\x04" + b"\0" * 30, b'{"schema_version": 1, "config": {"seed": ' + b"9" * 5000 + b"}}",
    b'{"schema_version": 1, "config": {"seed": 1e999}}',
    b'{"schema_version": 1, "config": {"optimizer": {"lr": NaN}}}',
    b'{"schema_version": 1, "config": {"optimizer": {"lr": -Infinity}}}',
    b'{"schema_version": true, "config": {}, "choices": []}',
    b'{"schema_version": 1, "config": {}, "choices": {"model": {"a": [1]}}, "choices": 7}', b'{"a":' * 100_000,
    b"[" * 100_000, b'{"schema_version": 1, "config": ' + b'{"model":' * 5000 + b"1" + b"}" * 5001,
    b'{"schema_version": 1, "config": {"data": {"sources": ' + b"[" * 900 + b"]" * 900 + b"}}}",
)  # fmt: skip
# Whole contents of an option's file
STRANGE_YAML = (
    "a: [1", "- 1", "5", "null", "a", "{", "}", "\t", "n_layer: 1\n\tn_head: 2", "n_layer: 3\nn_layer: 4",
    "%YAML 9.9\n---", "---\nn_layer: 1\n---\nn_layer: 2", "n_layer: !!python/object/apply:os.system ['touch canary']",
    "n_layer: !nope 3", "n_layer: !!binary aGVsbG8=", "n_layer: 2020-01-01", "n_layer: .inf", "n_layer: .nan",
    "n_layer: ~", "n_layer: 0x10", "n_layer: 1_000", "n_layer: 1:30", "1: 2", "null: 1", "? [a, b]\n: 1", "[a]: 1",
    "true: 1", "n_layer: &a 3\nn_head: *a", "n_layer: *a", "n_layer: &a [*a]", "&a n_layer: *a", "x: &a {b: *a}",
    "<<: {n_layer: 3}", "<<: [1]", "<<: 1", "_target_: os.system\n_args_: [touch canary]",
    "n_layer: {_target_: os.system, _args_: [touch canary]}", "n_layer: ${oc.env:HOME}", "n_layer: ${n_layer}",
    "n_layer: ${model.n_layer}", "n_layer: ${", "n_layer: ???", "# @package nope.nope\nn_layer: 1",
    "# @package _global_\nhydra:\n  run: {dir: elsewhere}", "# @package", "# @package _global_\nn_layer: 1",
    "# @package hydra.run\ndir: elsewhere", "# @package _global_\ndefaults: 1", "defaults:\n  - nope",
    "defaults:\n  - mine", "defaults:\n  - /model: mine", "defaults: {a: 1}", "defaults: [[1]]",
    "defaults:\n  - override /model: tiny", "defaults:\n  - ../../../etc/passwd", "defaults:\n  - _self_\n  - _self_",
    "defaults:\n  - /data: ${nope}", "n_layer: " + "9" * 5000, "n_layer: " + "[" * 400 + "]" * 400,
    "n_layer: '\ud7ff'", "n_layer: \x01", "\ufeffn_layer: 3", "n_layer: 3 # \U0001f511", "ключ: 1",
    "n_layer : 3\n  n_head: 2", "n_layer: |\n  3", "n_layer: >\n a", "model: {n_layer: 3}", "a.b: 1", "n_layer.x: 1",
    "n_layer:\n  n_layer: 1", "'': 1", "n_layer: {1: 2}",
)  # fmt: skip


def saved_config(draw: random.Random) -> Typed:
    """A saved config with one thing changed, or something that is none at all."""
    path = Path(SAVED)
    named: tuple[str, ...] = (SAVED,)
    if draw.random() < 0.4:
        path.write_bytes(draw.choice(NO_CONFIG))
    else:
        saved = as_saved(TrainConfig(), {"model": "small"})
        named += (_changed(saved, draw),)
        text = json.dumps(saved)
        if draw.random() < 0.2:
            at = draw.randrange(len(text))
            put = draw.choice(['"', "}", "", "\0", "nan", ",", '"seed": 1,', "1e", "\\u00"])
            text = text[:at] + put + text[at + 1 :]
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    also = ["lr=x", "seed=2", "model=tiny", "-m", "resume=latest", "sed=1"]
    more = [] if draw.random() < 0.7 else [draw.choice(also)]
    said = tuple(word.partition("=")[0] for word in more)
    command = draw.choice(["train"] * 5 + ["info", "eval", "prepare"])
    named = named + said if command in ("train", "info") else ()  # the others lack most of the keys
    return Typed([command, f"config={SAVED}", *more], named, codes=(2, 4), valid=True)


def _changed(saved: dict[str, Any], draw: random.Random) -> str:
    """Changes one thing in a saved config; the name of what was changed."""
    config = saved["config"]
    name = draw.choice(sorted(flatten(config)))
    *sections, leaf = name.split(".")
    node = config
    for section in sections:
        node = node[section]
    how = draw.random()
    if how < 0.6:
        node[leaf] = draw.choice(VALUES)
    elif how < 0.7:
        del node[leaf]
    elif how < 0.85:
        wrong = edited(leaf, draw) or draw.choice(EDITS)
        node[wrong] = node.pop(leaf)
        return wrong
    elif sections:
        config[sections[0]] = draw.choice(VALUES)
        return sections[0]
    else:
        name = draw.choice(["schema_version", "config", "choices", "_target_", ""])
        saved[name] = draw.choice(VALUES)
    return name


def own_option(draw: random.Random) -> Typed:
    """A user's option of some group, in ./conf or in a folder of --config-dir."""
    group = draw.choice(["model", "model", "data", "optimizer", "experiment"])
    folder = draw.choice(["conf", "own"])
    path = Path(folder, group, f"{OPTION}.yaml")
    path.parent.mkdir(parents=True)
    text = bomb(draw) if draw.random() < 0.15 else draw.choice(STRANGE_YAML)
    path.write_text(text + "\n", encoding="utf-8")
    where = ["--config-dir", folder] if folder == "own" else []
    return Typed(["train", *where, f"{group}={OPTION}"], (OPTION, group, "n_layer"), codes=(2, 3), valid=True)


def bomb(draw: random.Random) -> str:
    """YAML that is small and stands for very much."""
    width, depth = draw.choice([(10, 9), (2, 40), (100, 5)])
    if draw.random() < 0.5:
        lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    else:
        inner = [f"a{n}: &a{n} {{{','.join(f'k{k}: *a{n - 1}' for k in range(width))}}}" for n in range(1, depth)]
        lines = ["a0: &a0 {b: 1}", *inner]
    return "\n".join(lines)


FILES = [saved_config, saved_config, own_option, own_option]
