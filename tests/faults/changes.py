"""R5: a run goes on with its own config. Each key that is changed nevertheless is treated as its resume class says."""

import json
import shutil
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import killing
import small
import tokenizers
from faults.forks import done
from faults.suite import Draw, Fault
from gptforge.compose import OF_ONE_START
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.config.schema import Leaf, Resume, flatten, leaves, shown
from gptforge.runs import Run

LEAVES = list(leaves(TrainConfig))
RUN = "run"
STOPPED = 3  # steps after which the run is stopped whose config is changed


@dataclass(frozen=True, slots=True)
class Change:
    """A key's new value, as it is typed; what the run must have had before; and what must be changed with it."""

    value: str
    before: dict[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


MIX = {"data.source": "mix", "data.path": None, "data.sources": [{"path": "text.txt"}, {"path": "more.txt"}]}
HF = {"tokenizer.kind": "hf", "tokenizer.path": "hf.json"}
MLM = {"objective.kind": "mlm", "model.attention.causal": False}
NO_STEPS = {"train.steps": None}
# Where another value alone would not do, or not mean anything
CHANGES = {
    "data.source": Change("pydoc", beside=("data.path=null",)),
    "data.path": Change("same.txt"),
    "data.sources": Change("[{path:text.txt,weight:2},{path:more.txt,weight:1}]", MIX),
    "data.val_path": Change("same-more.txt", {"data.val_path": "more.txt"}),
    "data.include": Change("['*.txt']", {"data.path": "folder"}),
    "data.exclude": Change("['*.md']", {"data.path": "folder"}),
    "data.encoding": Change("utf-8"),
    "data.text_key": Change("content"),
    "clean.language": Change("[en]"),
    "clean.personal_kinds": Change("[email]", {"clean.personal": "report"}),
    "clean.min_length": Change("2"),
    "clean.max_length": Change("100000"),
    "clean.decontaminate": Change("[apart.txt]"),
    "tokenizer.kind": Change("byte"),
    "tokenizer.vocab_size": Change("301", {"tokenizer.kind": "bpe", "tokenizer.vocab_size": 300}),
    "tokenizer.path": Change("same-hf.json", HF),
    "optimizer.betas": Change("[0.8,0.95]"),
    "schedule.kind": Change("cosine"),
    "train.epochs": Change("0.8", NO_STEPS | {"train.epochs": 0.5}),
    "train.tokens": Change("3000", NO_STEPS | {"train.tokens": 2000}),
    "train.time": Change("2s", NO_STEPS | {"train.time": "1s"}),
    "train.stop_after": Change("2"),
    "train.batch_size": Change("12"),
    "train.micro_batch_size": Change("2", {"train.grad_accum": None}),
    "train.grad_accum": Change("4"),
    "model.n_head": Change("4"),
    "model.n_embd": Change("64"),
    "model.attention.n_kv_head": Change("1"),
    "model.attention.head_dim": Change("8"),
    "model.attention.qk_gain": Change("true", {"model.attention.qk_norm": True}),
    "model.attention.dense_every": Change("2", {"model.attention.window": 4}),
    "model.moe.bias_rate": Change("0.01", {"model.moe.n_expert": 4}),
    "model.rope.factor": Change("2"),
    "model.attention.causal": Change("false", beside=("objective.kind=mlm",)),
    "objective.kind": Change("mlm", beside=("model.attention.causal=false",)),
    "objective.mask_rate": Change("0.3", MLM),
    "objective.mask_fraction": Change("0.5", MLM),
    "objective.random_fraction": Change("0.2", MLM),
    "sample.lookup": Change("2"),
    "runtime.device": Change("cpu"),
    "runtime.tf32": Change("false"),
    "runtime.compile": Change("false"),
    "parallel.kind": Change("ddp", beside=("parallel.nproc=1",)),
    "init": Change(f"{RUN}/checkpoints/step-{STOPPED:06d}"),
    "resume": Change(f"{RUN}/checkpoints/step-{STOPPED:06d}"),
    "resume_allow": Change("[optimizer.lr]"),
    "prompt": Change("a"),
    "tracker": Change("[tensorboard]"),
    "sample.stop": Change("[x]"),
}


def of(leaf: Leaf) -> Change:
    """Another value of a key, which is in its range. Raises AssertionError if none can be thought of."""
    if leaf.name in CHANGES:
        return CHANGES[leaf.name]
    now = flatten(as_saved(small.config(), {})["config"])[leaf.name]
    kind = next((t for t in typing.get_args(leaf.type) if t is not type(None)), leaf.type)
    if choices := leaf.meta["choices"]:
        return Change(next(choice for choice in choices if choice != now))
    if kind is bool:
        return Change(shown(not now))
    if kind is int:
        return Change(shown((leaf.meta["ge"] or 4) if now is None else now + 1))
    if kind is float:
        return Change(shown(now / 2 if now else 0.5))
    raise AssertionError(f"{leaf.name}: no other value is known, add one to CHANGES")


def write_texts() -> None:
    small.write_text()
    small.write_text(Path("more.txt"), seed=1)
    small.write_text(Path("apart.txt"), words=80, seed=2)
    shutil.copy("text.txt", "same.txt")
    shutil.copy("more.txt", "same-more.txt")
    Path("folder").mkdir()
    shutil.copy("text.txt", "folder")
    for name in ("hf.json", "same-hf.json"):
        write_tokenizer(name)


def write_tokenizer(name: str) -> None:
    """A tokenizer of Hugging Face's format, in which each byte is a token."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({sign: n for n, sign in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.save(name)


def begun() -> Path:
    """A folder with the runs that most changes start from."""
    begin(Change(""))
    return Path.cwd()


def changed(draw: Draw, ground: Path) -> None:
    """One key, each by turns, is given another value as a stopped run goes on."""
    leaf = draw.in_turn(LEAVES)
    change, kind = of(leaf), leaf.meta["resume"]
    assert isinstance(kind, Resume), f"{leaf.name} has no resume class"
    if change.before:
        begin(change)
    else:
        shutil.copytree(ground, Path(), dirs_exist_ok=True)
    before = files()
    words = ["train", *([] if leaf.name == "resume" else [f"resume={RUN}"]), f"{leaf.name}={change.value}"]
    words += change.beside
    names = [word.partition("=")[0] for word in words[1:]]
    if kind in (Resume.REFUSE, Resume.UNLESS_ALLOWED):
        refused(words, leaf.name, kind, before)
    if kind is Resume.REFUSE:
        refused([*words, f"resume_allow=[{','.join(names[1:])}]"], leaf.name, kind, before)
        return
    if kind is Resume.UNLESS_ALLOWED:
        words.append(f"resume_allow=[{','.join(names[1:])}]")
    accepted(words, leaf, kind)


def begin(change: Change) -> None:
    """A run that was stopped, and the same run left in peace."""
    write_texts()
    changes = {name.replace(".", "__"): value for name, value in change.before.items()}
    for run, words in (("uninterrupted", []), (RUN, [f"train.stop_after={STOPPED}"])):
        code, said = done(*small.typed(small.config(**changes), run), *words)
        assert code == (75 if words else 0), said


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(RUN).rglob("*") if p.is_file() and p.name != ".lock"}


def refused(words: list[str], key: str, kind: Resume, before: dict[str, bytes]) -> None:
    code, said = done(*words)
    what = f"{key} is to {kind}, but {' '.join(words)}: exit {code}, {said}"
    assert code == 4 and key in said, what
    assert ("resume_allow=" in said) == (kind is Resume.UNLESS_ALLOWED), what
    assert files() == before, f"{what}\nit has changed the run"


def accepted(words: list[str], leaf: Leaf, kind: Resume) -> None:
    code, said = done(*words)
    what = f"{leaf.name} is to {kind}, but {' '.join(words)}: exit {code}, {said}"
    assert code == (75 if leaf.name == "train.stop_after" else 0), what
    if leaf.name == "dry_run":
        return
    held = [Path(RUN, "config.json"), Run(Path(RUN)).newest_first()[0] / "config.json"]
    typed = [word for word in words if not word.startswith("resume_allow=")]
    expected = flatten(as_saved(small.config(), {})["config"])
    for path in held:
        saved = flatten(json.loads(path.read_text(encoding="utf-8"))["config"])
        if leaf.name not in OF_ONE_START:
            assert shown(saved[leaf.name]) != shown(expected[leaf.name]), f"{what}\n{path} does not tell of it"
    recorded = Path(RUN, "overrides.txt").read_text(encoding="utf-8").splitlines()
    assert set(typed[1:]) <= set(recorded), f"{what}\noverrides.txt does not tell of it: {recorded}"
    killing.assert_told_once(RUN, what)
    if kind is Resume.FREE and leaf.name != "train.stop_after":
        assert small.course(RUN)[:2] == small.course("uninterrupted")[:2], f"{what}\nit has changed the weights"


FAULTS = [
    Fault(
        "R5",
        f"each of the {len(LEAVES)} keys of a config, changed on resume=, is treated as its class says",
        changed,
        quick=len(LEAVES) // 3,
        full=len(LEAVES),
        prepared=begun,
    )
]
