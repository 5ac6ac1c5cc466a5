"""Command lines with something wrong in them, or something strange: drawn, with what the answer must say.

Knows the keys and groups of the commands; runs nothing.
"""

import random
import string
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass

from gptforge import compose
from gptforge.config import SCHEMAS
from gptforge.config.schema import Leaf, allows_none, leaves

COMMANDS = ("train",) * 8 + ("eval", "sample", "prepare", "info")  # how often each is drawn
EDITS = string.ascii_lowercase + "_"
NUMBERS = (
    "inf", "-inf", "nan", ".inf", "1e400", "-1e400", "1e-400", "-0", "0", "-1", "1e308", "0x10", "0b1", "0o7",
    "1_000", "1__0", "01", "+1", "1.", ".5", "1e5", "1E+5", "1e", "--1", "1..2", "1 2", "½", "²", "１２", "٣", "Ⅷ",
)  # fmt: skip
INTERPOLATIONS = (
    "${nope}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:NO_SUCH_VARIABLE,7}", "${seed}", "${}", "${",
    "$${seed}", "${${seed}}", "${model}", "${model.n_layer}", "${model.}", "${..model.n_layer}", "${now:%Y}", "$seed",
    "${oc.decode:'[1,2]'}", "${oc.create:{a:1}}", "${oc.select:nope,3}", "${hydra:runtime.cwd}", "${hydra:}", "$(id)",
    "${nope:1}", "${python:1}", "${oc.dict.keys:model}", "${oc.deprecated:seed}", "a${seed}b", "\\${seed}", "`id`",
)  # fmt: skip
GRAMMAR = (
    "[", "]", "{", "}", "(", ")", "[}", "{a", "{a:", "{a:}", "{a:1,}", "[,]", "[1,", "'", '"', "'a", '"a', "'\\'",
    "\\", ",", ",,", "a,", ",a", ":", "a:b", "a: b", "=", "==", "=a", "@", "@a", "~", "+", "!", "?", "???", "*", "&a",
    "#", "|", "choice(1,2)", "range(1,5)", "glob(*)", "sort(2,1)", "shuffle(1,2)", "int(3)", "float(x)", "str(3)",
    "bool(1)", "json_str(1)", "tag(a,b)", "interval(0,1)", "extend_list(1)", "nope(1)", "int(", "cast(1)",
    "range(1,)", "-", "--", "", " ", "null", "None", "NULL", "~", "true", "True", "yes", "!!python/none", "_target_",
    "{_target_:os.system}",
)  # fmt: skip
UNICODE = (
    "ключ", "密钥", "🔑", "é", "e\u0301", "\u202eabc", "\u200b", "\ufeff1", "ß", "ſ", "ｌｒ", "İ", "a\u0000b",
    "\x1b[31mred", "\ud800", "a\nb", "\r\n", "\t", "\x7f", "\u2028", "\U0010ffff", "‘a’", "١", "a\u00a0b", "－1", "…",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line, and what its answer must be.

    `named`: if it is refused, one of these must be in the message. `right`: the whole of the suggestion that helps.
    `codes`: the exit codes that a refusal may have. `valid`: it may also be taken.
    """

    words: list[str]
    named: tuple[str, ...] = ()
    right: str = ""
    codes: tuple[int, ...] = (2,)
    valid: bool = False


def keys(command: str) -> list[Leaf]:
    return list(leaves(SCHEMAS[command]))


def groups(command: str) -> dict[str, list[str]]:
    return {name: known for name, known in compose.options(command, [compose.conf_dir()]).items() if known}


def edited(word: str, draw: random.Random) -> str:
    """The word with one letter left out, put in, changed, or two of them in the other order."""
    at = draw.randrange(len(word))
    letter = draw.choice(EDITS)
    return draw.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
        ]
    )


def kinds(leaf: Leaf) -> set[type]:
    """The types that a key takes, None left out."""
    found = typing.get_args(leaf.type) if isinstance(leaf.type, types.UnionType) else (leaf.type,)
    return {typing.get_origin(kind) or kind for kind in found} - {type(None)}


def typo(draw: random.Random) -> Typed:
    """One edit of a key, of a group, of an option or of a value that is one of a few; what was meant is known."""
    command = draw.choice(COMMANDS)
    return draw.choice([_typed_key] * 7 + [_typed_group, _typed_option, _typed_choice])(command, draw)


def _typed_key(command: str, draw: random.Random) -> Typed:
    known = keys(command)
    names = {leaf.name for leaf in known}
    last = [leaf.name.rpartition(".")[2] for leaf in known]
    while True:
        leaf = draw.choice(known)
        bare = leaf.name.rpartition(".")[2]
        name = bare if last.count(bare) == 1 and draw.random() < 0.5 else leaf.name
        wrong = edited(name, draw)
        meant = not wrong or wrong in names | set(last) | set(groups(command)) | {"config"}
        if meant or wrong[0] in "._" or ".." in wrong or wrong.endswith("."):
            continue  # it is a key all the same, or no name at all
        words = draw.choice([[f"{wrong}=1"], [f"--{wrong}", "1"], [f"--{wrong}=1"], [f"{wrong}", "=", "1"]])
        return Typed([command, *words], (wrong, wrong.replace("-", "_")), f"{leaf.name}=…")


def _typed_group(command: str, draw: random.Random) -> Typed:
    known = groups(command) or groups(command := "train")
    while True:
        group = draw.choice(list(known))
        wrong = edited(group, draw)
        if wrong and wrong not in known and len(group) > 3:
            return Typed([command, f"{wrong}={draw.choice(known[group])}"], (wrong,), f"{group}=")


def _typed_option(command: str, draw: random.Random) -> Typed:
    known = groups(command) or groups(command := "train")
    while True:
        group = draw.choice(list(known))
        option = draw.choice(known[group])
        wrong = edited(option, draw)
        if wrong and wrong not in known[group] and len(option) > 3:
            codes = (2, 3) if group == "data" else (2,)  # what is no option there may be a file
            return Typed([command, f"{group}={wrong}"], (wrong,), f"{group}={option}", codes)


def _typed_choice(command: str, draw: random.Random) -> Typed:
    known = [leaf for leaf in keys(command) if leaf.meta["choices"]]
    if not known:
        return _typed_choice("train", draw)
    while True:
        leaf = draw.choice(known)
        value = draw.choice(leaf.meta["choices"])
        wrong = edited(value, draw)
        if wrong and wrong not in leaf.meta["choices"] and len(value) > 3:
            return Typed([command, f"{leaf.name}={wrong}"], (leaf.name,), f"did you mean {value}?")


def wrong_type(draw: random.Random) -> Typed:
    command = draw.choice(COMMANDS)
    while True:
        leaf = draw.choice(keys(command))
        if leaf.meta["free_text"] or leaf.meta["parse"]:
            continue
        wrong = (
            ["{a: 1}", "{}"] if "list" not in leaf.type_name else ["{a: 1}", "{a: b}", "1"]
        )  # one text is a list of one
        wrong += [] if allows_none(leaf.type) else ["null"]
        if kinds(leaf) == {int}:
            wrong += ["abc", "1.5", "true", "[1]", "one", "1x", '""', "'1'", "1h"]
        elif kinds(leaf) <= {int, float}:
            wrong += ["abc", "true", "[1]", "1x", '""', "nan", "inf", "'0.1'"]
        elif kinds(leaf) == {bool}:
            wrong += ["2", "1", "0.5", "maybe", "[true]", "'true'"]
        elif leaf.meta["choices"]:
            wrong += ["[a]", "qqq", "7", "true"]
        return Typed([command, f"{leaf.name}={draw.choice(wrong)}"], (leaf.name,))


def out_of_range(draw: random.Random) -> Typed:
    command = draw.choice(COMMANDS)
    while True:
        leaf = draw.choice(keys(command))
        low, high = leaf.meta["ge"], leaf.meta["le"]
        wrong = [] if low is None else [low - 1, low - 10**9]
        wrong += [] if high is None else [high + 1, high * 10 + 1, 10**40]
        wrong += [leaf.meta["gt"]] if leaf.meta["gt"] is not None else []
        wrong += [leaf.meta["lt"]] if leaf.meta["lt"] is not None else []
        if wrong:
            value = str(draw.choice(wrong))
            value = f"[{value},{value}]" if list in kinds(leaf) else value
            return Typed([command, f"{leaf.name}={value}"], (leaf.name,))


def strange_number(draw: random.Random) -> Typed:
    command = draw.choice(COMMANDS)
    leaf = draw.choice([leaf for leaf in keys(command) if not leaf.meta["free_text"]])
    length = draw.choice([19, 20, 40, 400, 4299, 4301, 9000])
    large = ["9" * length, "-" + "9" * length, "1" + "0" * length + ".5", f"{2**63}", f"-{2**63}"]
    value = draw.choice([*NUMBERS, *large])
    return Typed([command, f"{leaf.name}={value}"], (leaf.name,), valid=True)


def strange_value(draw: random.Random) -> Typed:
    """An interpolation, a piece of Hydra's grammar, a strange letter, or any of them within others."""
    command = draw.choice(COMMANDS)
    leaf = draw.choice(keys(command))
    value = draw.choice(draw.choice([INTERPOLATIONS, GRAMMAR, UNICODE]))
    if draw.random() < 0.3:
        around = draw.choice(["[{}]", "{{a: {}}}", "'{}'", '"{}"', "{},{}", "({})", "a{}b", " {} ", "[[{}],{}]"])
        value = around.replace("{}", value).replace("{{", "{").replace("}}", "}")
    word = draw.choice([[f"{leaf.name}={value}"], [f"--{leaf.name}", value], [f"--{leaf.name}={value}"]])
    codes = (2, 4) if leaf.name == "resume" else (2, 3)  # what is no run; after a switch, what is no text
    return Typed([command, *word], (leaf.name, repr(value)[1:40].rstrip("'\""), "UTF-8"), codes=codes, valid=True)


def nested(draw: random.Random) -> Typed:
    """Brackets in brackets, many or deep."""
    command = draw.choice(COMMANDS)
    leaf = draw.choice([leaf for leaf in keys(command) if not leaf.meta["free_text"]])
    depth = draw.choice([2, 10, 60, 300])
    begin, end = draw.choice([("[", "]"), ("{a: ", "}"), ("int(", ")"), ("${", "}"), ("[[],", "]"), ("'", "'")])
    inner = draw.choice(["", "1", "a", "null", "'"])
    value = begin * depth + inner + end * draw.choice([depth, depth - 1, depth + 1])
    return Typed([command, f"{leaf.name}={value}"], (leaf.name,), valid=True)


def cycle(draw: random.Random) -> Typed:
    """Keys that refer to each other, or to themselves."""
    command = draw.choice(COMMANDS)
    known = [leaf.name for leaf in keys(command) if not leaf.meta["free_text"]]
    names = draw.sample(known, draw.choice([1, 1, 2, 3]))
    words = [f"{name}=${{{after}}}" for name, after in zip(names, [*names[1:], names[0]], strict=True)]
    return Typed([command, *words], tuple(names))


def impossible(draw: random.Random) -> Typed:
    """Values that are fine alone and cannot be together."""
    words, named = draw.choice(
        [
            (["model.n_embd=100", "model.n_head=7"], "n_head"),
            (["tokenizer=char", "tokenizer.vocab_size=500"], "tokenizer.vocab_size"),
            (["tokenizer=hf"], "tokenizer.path"),
            (["tokenizer.path=x.json"], "tokenizer.path"),
            (["data=mix"], "data.sources"),
            (["data=pydoc", "data.sources=[a]"], "data.sources"),
            (["data=pydoc", "data.path=a"], "data.path"),
            (["data.source=files"], "data.path"),
            (["clean.min_length=100", "clean.max_length=10"], "clean.min_length"),
            (["clean.personal_kinds=[email]", "clean.personal=off"], "clean.personal"),
            (["clean.language=[klingon]"], "clean.language"),
            (["clean.near_duplicates=group", "data.split=position"], "clean.near_duplicates"),
            (["parallel=none", "parallel.nproc=2"], "parallel.nproc"),
            (["resume_allow=[seed]"], "resume_allow"),
            (["sample.stream=true", "sample.num_samples=3"], "sample.stream"),
            (["sample.lookup=3", "sample.num_samples=2"], "sample.lookup"),
            (["optimizer.betas=[0.9]"], "optimizer.betas"),
            (["lr=1e-3", "optimizer.lr=1e-4"], "optimizer.lr"),
            (["model=tiny", "model=small"], "model"),
            (["data.sources=[{path: a.txt, weight: 1}, {path: b.txt, weight: 1e-9}]"], "data.sources"),
            (["data.sources=[{path: a.txt, wieght: 1}]"], "data.sources"),
            (["data.sources=[{weight: 1}]"], "data.sources"),
            (["config=a.json", "config=b.json"], "config"),
            (["config="], "config"),
            (["hydra.run.dir=a", "hydra.run.dir=b"], "hydra.run.dir"),
            (["hydra.job.chdir=true"], "hydra.job.chdir"),
            (["hydra.sweep.dir=a"], "hydra.sweep.dir"),
            (["+new=1"], "new"),
            (["~model"], "model"),
            (["model.n_layer"], "model.n_layer"),
            (["lr", "0.1"], "lr"),
            (["=1"], "=1"),
            (["--cfg", "nope"], "--cfg"),
            (["--config-dir", "/no/such/folder"], "--config-dir"),
            (["--config-name", "x"], "config"),
        ]
    )
    return Typed(["train", *words], (named,))


def several(draw: random.Random) -> Typed:
    """Many things wrong at once."""
    count = draw.choice([2, 15, 30])
    kinds_of = [wrong_type, out_of_range] + [typo] * (count == 2)  # a text that is not there is told of alone
    made = [draw.choice(kinds_of)(draw) for _ in range(count)]
    chosen = [one for one in made if one.words[0] == made[0].words[0]]
    named = tuple(name for one in chosen for name in one.named)
    return Typed([made[0].words[0], *(word for one in chosen for word in one.words[1:])], named, codes=(2, 3))


def soup(draw: random.Random) -> Typed:
    """Any words at all after a command, or in its place."""
    command = draw.choice([*COMMANDS, "trian", "", "doctor", "completion", "tokenizer", "tokenizer report", "help"])
    pieces = ["=", "--", "-", "lr", "model", "1", "-c", "-p", "--resolve", "--info", "+", "~", "data", "a b", "x" * 300]
    pieces += [draw.choice(GRAMMAR), draw.choice(UNICODE), draw.choice(INTERPOLATIONS), draw.choice(NUMBERS), ".."]
    words = ["".join(draw.choices(pieces, k=draw.choice([1, 2, 3]))) for _ in range(draw.choice([1, 1, 2, 4]))]
    return Typed([*command.split(), *words], codes=(2, 3), valid=True)


Drawing = Callable[[random.Random], Typed]
DRAWINGS: list[Drawing] = [
    typo, typo, wrong_type, wrong_type, out_of_range, strange_number, strange_number, strange_value, strange_value,
    strange_value, nested, cycle, impossible, several, several, soup,
]  # fmt: skip
