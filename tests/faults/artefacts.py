"""Files that someone wants to do harm with, put where gptforge reads such files: checkpoints, runs, caches, texts.

Each is made in the working directory, beside a copy of a sound run (`run`), of its cache (`cache`) and its text. Knows
the formats, not what becomes of them.
"""

import gzip
import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.ground import STEP
from gptforge import checkpoint
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.jsonfile import sealed

SECRET = "CANARY_SECRET"  # the name of an environment variable
MODEL, OPTIMIZER, RNG = "model.safetensors", "optimizer.safetensors", "rng.safetensors"
COMMANDS = {
    "sample": ["sample", "ckpt=run", "sample.max_new_tokens=4"],
    "eval": ["eval", "ckpt=run"],
    "resume": ["train", "resume=run", "ui=plain"],
    "config": ["train", "config=bad.json", "dry_run=true"],
    "cached": ["prepare", "data=text.txt", "clean=none"],
    "tokenizer": ["prepare", "data=text.txt", "tokenizer=hf", "tokenizer.path=bad.json"],
}


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something bad by name: `make()` puts it there, the command `kind` meets it, and ends with one of `codes`."""

    name: str
    kind: str
    make: Callable[[], object]
    codes: tuple[int, ...] = (2, 3, 4)
    words: tuple[str, ...] = ()  # in place of those of the kind


def canary() -> Path:
    """The file that only code out of an artefact would make."""
    return Path("canary").absolute()


def victim() -> Path:
    """A file outside of the run that nobody may change."""
    return Path("outside", "victim").absolute()


def pickled() -> bytes:
    """What makes the canary when it is unpickled."""
    return f"cos\nsystem\n(S'touch {canary()}'\ntR.".encode()


# Checkpoints ---------------------------------------------------------------------------


def folder() -> Path:
    return Path("run", "checkpoints", f"step-{STEP:06d}")


def put(name: str, content: bytes) -> None:
    """A file of the checkpoint, and a manifest that has the right hash of it."""
    (folder() / name).write_bytes(content)
    seal()


def seal() -> None:
    held = {p.name: p.read_bytes() for p in folder().iterdir() if p.name != "MANIFEST.json" and p.is_file()}
    (folder() / "MANIFEST.json").write_bytes(checkpoint.manifest(STEP, held))


def edit(name: str, *changes: tuple[str, Any]) -> None:
    """Values of a JSON file of the checkpoint by their dotted names; also of the run's own config."""
    for path in [folder() / name] + ([Path("run", name)] if name == "config.json" else []):
        held = json.loads(path.read_text(encoding="utf-8"))
        for key, value in changes:
            *sections, leaf = key.split(".")
            node = held
            for section in sections:
                node = node[section]
            node[leaf] = value
        path.write_text(json.dumps(held), encoding="utf-8")
    seal()


def header(name: str) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    content = (folder() / name).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def tensors(name: str, head: Any, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file with any header, which may be JSON or bytes."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    put(name, struct.pack("<Q", len(text) if length is None else length) + text + data)


def first(name: str, **changes: Any) -> None:
    """Changes what the header says of the first tensor."""
    head, data = header(name)
    entry = next(key for key in sorted(head) if key != "__metadata__" and head[key]["shape"])
    head[entry] |= changes
    tensors(name, head, data)


def retyped(name: str, dtype: str, size: int) -> None:
    """All tensors of another dtype, of `size` bytes each number."""
    head, at = header(name)[0], 0
    for key in sorted(head.keys() - {"__metadata__"}):
        count = 1
        for length in head[key]["shape"]:
            count *= length
        head[key] |= {"dtype": dtype, "data_offsets": [at, at + count * size]}
        at += count * size
    tensors(name, head, bytes(at))


def renamed(name: str, new: str) -> None:
    head, data = header(name)
    old = next(key for key in sorted(head) if key != "__metadata__")
    head[new] = head.pop(old)
    tensors(name, head, data)


def entries(count: int) -> dict[str, Any]:
    return {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(count)}


def manifest(**changes: Any) -> None:
    """The manifest with other values, and with the right digest."""
    path = folder() / "MANIFEST.json"
    path.write_bytes(checkpoint.json_bytes(sealed(json.loads(path.read_bytes()) | changes)))


def listed(*names: str) -> None:
    """A manifest that lists more files, by any names."""
    held = json.loads((folder() / "MANIFEST.json").read_bytes())["files"]
    manifest(files=held | {name: {"size": 1, "sha256": "0" * 64} for name in names})


def link(name: str, target: str | Path, within: Path | None = None) -> None:
    """A name in the checkpoint, or elsewhere, that leads to another file."""
    path = (within or folder()) / name
    if path.exists():
        path.unlink() if path.is_file() else os.rename(path, f"{path}-was")
    path.symlink_to(target)


def pipe(name: str) -> None:
    (folder() / name).unlink()
    os.mkfifo(folder() / name)


def deep(depth: int = 100_000, inner: str = "1") -> bytes:
    return b'{"a":' * depth + inner.encode() + b"}" * depth


def of_checkpoint() -> Iterator[Artefact]:
    for name in (MODEL, "tokenizer.json", "config.json"):
        yield Artefact(f"pickle as {name}", "sample", lambda name=name: put(name, pickled()))
    yield Artefact("pickle as the manifest", "sample", lambda: (folder() / "MANIFEST.json").write_bytes(pickled()))
    for name in (OPTIMIZER, RNG, "state.json", "unaveraged.safetensors"):
        yield Artefact(f"pickle as {name}", "resume", lambda name=name: put(name, pickled()))
    others = ("model.pt", "pytorch_model.bin", "meta.pkl", "sitecustomize.py", "conftest.py", "__init__.py")
    yield Artefact(
        "pickles and Python beside the rest", "sample", lambda: [put(name, pickled()) for name in others], (0,)
    )
    for name, kind in ((MODEL, "sample"), (OPTIMIZER, "resume"), (RNG, "resume")):
        yield from of_tensors(name, kind)
    yield Artefact("weights of whole numbers", "sample", lambda: retyped(MODEL, "I64", 8))
    yield Artefact("weights of true and false", "resume", lambda: retyped(MODEL, "BOOL", 1))
    yield Artefact("moments of whole numbers", "resume", lambda: retyped(OPTIMIZER, "I32", 4))
    yield Artefact("random states of floats", "resume", lambda: retyped(RNG, "F32", 4))
    yield Artefact("a weight called ../../victim", "sample", lambda: renamed(MODEL, "../../outside/victim"))
    yield Artefact("a moment called /etc/passwd", "resume", lambda: renamed(OPTIMIZER, "/etc/passwd"))
    yield Artefact("a generator called cuda:x", "resume", lambda: renamed(RNG, "cuda:x"))
    yield Artefact("a generator of process x", "resume", lambda: renamed(RNG, "x/cpu"))


def of_tensors(name: str, kind: str) -> Iterator[Artefact]:
    """What can be wrong with any safetensors file."""
    made: dict[str, Callable[[], object]] = {
        "a header of 100 MB": lambda: tensors(name, b'{"__metadata__":{"a":"' + b"x" * 100_000_000 + b'"}}'),
        "a million tensors": lambda: tensors(name, entries(1_000_000)),
        "a header of 2^63 bytes": lambda: tensors(name, {}, length=1 << 63),
        "a header nested deep": lambda: tensors(name, deep()),
        "an empty file": lambda: put(name, b""),
        "a tensor of 2^62 numbers": lambda: first(name, shape=[1 << 62, 4]),
        "data beyond the file": lambda: first(name, data_offsets=[1 << 40, 1 << 41]),
        "a shape below zero": lambda: first(name, shape=[-1]),
        "one number more": lambda: first(name, shape=[3, 5, 7]),
    }
    yield from (Artefact(f"{name}: {what}", kind, make) for what, make in made.items())


def of_manifest() -> Iterator[Artefact]:
    made: dict[str, Callable[[], object]] = {
        "lists ../../../outside/victim": lambda: listed("../../../outside/victim"),
        "lists absolute names": lambda: listed("/etc/passwd", str(victim())),
        "lists a name with NUL": lambda: listed("a\0b"),
        "lists . and ..": lambda: listed("..", "."),
        "lists a list": lambda: manifest(files=["a"]),
        "has a step that is a text": lambda: manifest(step="4"),
        "has a step of 400 digits": lambda: manifest(step=10**400),
        "has a step that is a path": lambda: manifest(step="../../outside"),
        "is nested deep": lambda: (folder() / "MANIFEST.json").write_bytes(deep()),
        "is 100 MB": lambda: (folder() / "MANIFEST.json").write_bytes(b" " * 100_000_000 + b"{}"),
        "is of lists in lists": lambda: (folder() / "MANIFEST.json").write_bytes(b"[" + b"[]," * 6_000_000 + b"[]]"),
        "has a key twice": lambda: (folder() / "MANIFEST.json").write_bytes(
            b'{"format": 2, ' + (folder() / "MANIFEST.json").read_bytes().lstrip()[1:]
        ),
    }
    yield from (Artefact(f"the manifest {what}", "sample", make) for what, make in made.items())


def of_links() -> Iterator[Artefact]:
    for name in (MODEL, "config.json", "tokenizer.json"):
        yield Artefact(f"{name} leads out of the run", "sample", lambda name=name: [link(name, victim()), seal()])
        yield Artefact(f"{name} leads to /dev/zero", "sample", lambda name=name: link(name, "/dev/zero"))
        yield Artefact(f"{name} is a pipe", "sample", lambda name=name: pipe(name))
    yield Artefact("a file leads to itself", "sample", lambda: link(MODEL, MODEL))
    for name in ("metrics.jsonl", "metrics.csv", "train.log", ".lock", "overrides.txt", "summary.json"):
        yield Artefact(
            f"{name} of the run leads out of it", "resume", lambda name=name: link(name, victim(), Path("run"))
        )
    for name in ("samples", "checkpoints"):
        yield Artefact(
            f"{name} of the run leads out of it", "resume", lambda name=name: _moved_out(name), words=COMMANDS_OF_MOVED
        )


COMMANDS_OF_MOVED = ("train", "resume=run", "ui=plain", "checkpoint.every=1", "eval.every=1")


def _moved_out(name: str) -> None:
    """A folder of the run is moved out of it and led to."""
    if Path("run", name).exists():
        os.rename(Path("run", name), Path("outside", name))
    else:
        Path("outside", name).mkdir()
    Path("run", name).symlink_to(Path("outside", name).absolute())


# What is in its JSON files -------------------------------------------------------------


def of_config() -> Iterator[Artefact]:
    target = {"_target_": "os.system", "_args_": [f"touch {canary()}"]}
    changes: dict[str, tuple[str, Any]] = {
        "has _target_ as a section": ("config.model", target),
        "has _target_ as a value": ("config.optimizer.kind", target),
        "has _target_ beside the sections": ("config._target_", "os.system"),
        "asks the environment for a number": ("config.seed", f"${{oc.env:{SECRET}}}"),
        "asks the environment for an option": ("config.optimizer.kind", f"${{oc.env:{SECRET}}}"),
        "has 10,000 layers": ("config.model.n_layer", 10_000),
        "has a million columns": ("config.model.n_embd", 1_000_000),
        "has a width of 2^62": ("config.model.mlp.width", 1 << 62),
        "has heads as wide as 2^62": ("config.model.head_dim", 1 << 62),
        "has a seed of 4,000 digits": ("config.seed", int("9" * 4000)),
        "has a million texts": ("config.data.sources", [{"path": "a"}] * 1_000_000),
        "has a key of 10 MB": ("config." + "x" * 10_000_000, 1),
        "is of version true": ("schema_version", True),
        "has NaN": ("config.optimizer.lr", float("nan")),
        "has NUL": ("config.optimizer.kind", "adamw\0"),
        "has colours for the terminal": ("config.optimizer.kind", "\x1b]0;owned\x07\x1b[2J"),
    }
    for what, change in changes.items():
        yield Artefact(f"config.json {what}", "sample", lambda change=change: edit("config.json", change))
    as_prompt = ("config.prompt", f"${{oc.env:{SECRET}}}")
    yield Artefact(
        "config.json asks the environment for a text", "resume", lambda: edit("config.json", as_prompt), (0,)
    )
    saved = as_saved(TrainConfig(), {})
    whole: dict[str, Callable[[], bytes]] = {
        "a pickle": pickled,
        "nested deep": deep,
        "100 MB of blanks": lambda: b" " * 100_000_000 + b"{}",
        "lists in lists": lambda: b'{"a": [' + b"[]," * 6_000_000 + b"[]]}",
        "a million keys": lambda: json.dumps(
            {"schema_version": 1, "config": dict.fromkeys(map(str, range(10**6)))}
        ).encode(),
        "a key twice": lambda: b'{"schema_version": 2, ' + json.dumps(saved).encode()[1:],
        "YAML with a tag": lambda: b"!!python/object/apply:os.system ['touch canary']",
        "NUL bytes": lambda: b"\0" * 1000,
        "a secret as a number": lambda: json.dumps(
            saved | {"config": saved["config"] | {"seed": f"${{oc.env:{SECRET}}}"}}
        ).encode(),
        "a secret as an option": lambda: json.dumps(
            saved | {"config": saved["config"] | {"ui": f"${{oc.env:{SECRET}}}"}}
        ).encode(),
    }
    for what, make in whole.items():
        yield Artefact(f"config=FILE: {what}", "config", lambda make=make: Path("bad.json").write_bytes(make()))
    yield Artefact("config=FILE: /dev/zero", "config", lambda: Path("bad.json").symlink_to("/dev/zero"))


def of_state() -> Iterator[Artefact]:
    changes: dict[str, tuple[str, Any]] = {
        "a step that is a text": ("state.step", "4"),
        "a step below zero": ("state.step", -1),
        "a step of 2^70": ("state.step", 1 << 70),
        "losses that are lists": ("state.loss_sum", [1]),
        "a loss that is a text": ("state.best_val_loss", "0.1"),
        "a length below zero": ("state.metrics_bytes", -1),
        "a length that is a text": ("state.metrics_bytes", "all"),
        "more than it has": ("state.__class__", "os.system"),
        "Python's generator as a text": ("rng.python", "abc"),
        "numpy's generator beyond its words": ("rng.numpy", [[0] * 624, 10**6, 0, 0.0]),
        "numpy's generator of 3 words": ("rng.numpy", [[1, 2, 3], 0, 0, 0.0]),
        "a fingerprint that is a list": ("fingerprint", [1]),
    }
    for what, change in changes.items():
        yield Artefact(f"state.json has {what}", "resume", lambda change=change: edit("state.json", change))
    yield Artefact("state.json nested deep", "resume", lambda: put("state.json", deep()))
    yield Artefact(
        "metrics.jsonl nested deep", "resume", lambda: Path("run/metrics.jsonl").write_bytes(deep() + b"\n"), (0, 4)
    )


def of_tokenizer() -> Iterator[Artefact]:
    whole: dict[str, Callable[[], bytes]] = {
        "is larger than any": lambda: b" " * 41_000_000,
        "is of lists in lists": lambda: b'{"tokens": [' + b"[]," * 13_000_000 + b"[]]}",
        "is nested deep": deep,
        "has every character there is": lambda: json.dumps(
            {
                "schema_version": 1,
                "kind": "char",
                "characters": "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])),
            }
        ).encode(),
        "has half a character": lambda: b'{"schema_version": 1, "kind": "char", "characters": "\\ud800"}',
        "is of a kind with a dot": lambda: b'{"schema_version": 1, "kind": "os.system", "characters": "a"}',
        "has NaN": lambda: b'{"schema_version": NaN, "kind": "char", "characters": "a"}',
        "has an id of 2^60": lambda: json.dumps(
            {"schema_version": 1, "kind": "bpe", "tokens": [], "merges": [], "special": {"a": 1 << 60}, "added": {}}
        ).encode(),
    }
    for what, make in whole.items():
        yield Artefact(f"tokenizer.json {what}", "sample", lambda make=make: put("tokenizer.json", make()))
    foreign: dict[str, Any] = {
        "with code": {"auto_map": {"AutoTokenizer": "evil.Evil"}, "model": {"type": "BPE", "vocab": {}, "merges": []}},
        "with an id of 2^60": {"model": {"type": "BPE", "vocab": {"a": 1 << 60}, "merges": []}},
        "that cuts words in exponential time": {
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        },
    }
    for what, held in foreign.items():
        yield Artefact(
            f"tokenizer=hf {what}", "tokenizer", lambda held=held: Path("bad.json").write_text(json.dumps(held))
        )


# The cache and texts -------------------------------------------------------------------


def stored() -> Path:
    """The data set in the cache."""
    return next(path for path in Path("cache", "tokens").iterdir() if path.name[0] != ".")


def relabel(**changes: Any) -> None:
    path = stored() / "dataset.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_bytes()) | changes)))


def renote(content: bytes) -> None:
    for path in Path("cache", "recipes").iterdir():
        path.write_bytes(content)


def renoted(**changes: Any) -> None:
    for path in Path("cache", "recipes").iterdir():
        path.write_text(json.dumps(sealed(json.loads(path.read_bytes()) | changes)))


def of_cache() -> Iterator[Artefact]:
    """A cache is made anew where it is not sound, so the command may well succeed."""
    made: dict[str, Callable[[], object]] = {
        "dataset.json is a pickle": lambda: (stored() / "dataset.json").write_bytes(pickled()),
        "dataset.json has numbers that are objects": lambda: relabel(dtype="O"),
        "dataset.json is nested deep": lambda: (stored() / "dataset.json").write_bytes(deep()),
        "dataset.json is a list": lambda: (stored() / "dataset.json").write_bytes(b"[]"),
        "the tokens are a pickle": lambda: (stored() / "train.bin").write_bytes(pickled()),
        "the tokens lead to /dev/zero": lambda: link("train.bin", "/dev/zero", stored()),
        "the recipes are pickles": lambda: renote(pickled()),
        "the recipes are nested deep": lambda: renote(deep()),
        "the recipes lead elsewhere": lambda: renoted(key="../../outside"),
        "the recipes have a number as a key": lambda: renoted(key=7),
        "the recipes have a key with NUL": lambda: renoted(key="a\0b"),
        "the tokenizer is a pickle": lambda: (stored() / "tokenizer.json").write_bytes(pickled()),
    }
    yield from (Artefact(f"cache: {what}", "cached", make, (0, 2, 3, 4)) for what, make in made.items())


def packed(name: str, pieces: Iterator[bytes]) -> None:
    with gzip.open(name, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)


def zstd(name: str, pieces: Iterator[bytes]) -> None:
    import zstandard

    with open(name, "wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as writer:
        for piece in pieces:
            writer.write(piece)


def many(piece: bytes, megabytes: int, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    """Something of many megabytes, in pieces of one."""
    yield before
    million = piece * (1_000_000 // len(piece))
    yield from (million for _ in range(megabytes))
    yield after


def of_texts() -> Iterator[Artefact]:
    made: dict[str, Callable[[str], object]] = {
        "zeros.txt.gz": lambda name: packed(name, many(b"\0", 1000)),
        "line.jsonl.gz": lambda name: packed(name, many(b"a", 900, b'{"text": "', b'"}\n')),
        "cell.csv.gz": lambda name: packed(name, many(b"a", 900, b'text\n"', b'"\n')),
        "rows.jsonl.gz": lambda name: packed(name, many(b"[" * 1000 + b"\n", 3)),
        "deep.jsonl": lambda name: Path(name).write_bytes(b'{"text":' * 100_000),
        "page.html.gz": lambda name: packed(name, many(b"<p>a", 900, b"<html>")),
        "line.jsonl.zst": lambda name: zstd(name, many(b"a", 900, b'{"text": "', b'"}\n')),
        "pickle.txt": lambda name: Path(name).write_bytes(b"\x80\x04\0" + pickled()),
        "pickle.jsonl": lambda name: Path(name).write_bytes(pickled()),
        "pickle.parquet": lambda name: Path(name).write_bytes(pickled()),
        "huge.parquet": lambda name: Path(name).write_bytes(
            b"PAR1" + b"\xff" * 64 + struct.pack("<I", 2**31 - 1) + b"PAR1"
        ),
        "page.html": lambda name: Path(name).write_bytes(b"<html><body>" + b"<div>" * 100_000),
        "broken.txt.gz": lambda name: Path(name).write_bytes(gzip.compress(b"a" * 10_000)[:-20]),
        "window.txt.zst": lambda name: Path(name).write_bytes(b"\x28\xb5\x2f\xfd\x00\xf8" + b"\0" * 20),
    }
    for name, make in made.items():
        yield Artefact(
            f"data={name}", "cached", lambda name=name, make=make: make(name), words=("prepare", f"data={name}")
        )


def all_artefacts() -> list[Artefact]:
    return [
        artefact
        for family in (
            of_checkpoint, of_manifest, of_links, of_config, of_state, of_tokenizer, of_cache, of_texts,
        )
        for artefact in family()
    ]  # fmt: skip
