"""S3: files of checkpoints and of the cache, and tokenizers of others, changed at random, with hashes that fit again.

What artefacts.py does on purpose is drawn here: nobody thought of these files. All that is asked is that the command
which reads one does its work or tells what is wrong, and that no bug of ours comes to the surface.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tokenizers
from faults import artefacts, ground
from faults.artefacts import COMMANDS, folder, header, stored
from faults.forks import done
from faults.suite import Draw, Fault
from faults.wrong_files import VALUES
from gptforge import checkpoint
from gptforge.errors import EXIT_BUG, MAX_LINES
from gptforge.jsonfile import sealed
from tokenizers import decoders, models, pre_tokenizers, trainers

PATIENCE = 60.0  # seconds
RESUME = [*COMMANDS["resume"], f"train.stop_after={ground.STEP + 1}"]
FOREIGN = "bad.json"
# A file, and the commands that read it
TARGETS = [
    ("MANIFEST.json", COMMANDS["sample"]), ("config.json", COMMANDS["sample"]), ("config.json", RESUME),
    ("state.json", RESUME), ("tokenizer.json", COMMANDS["sample"]), ("tokenizer.json", RESUME),
    ("model.safetensors", COMMANDS["sample"]), ("optimizer.safetensors", RESUME), ("rng.safetensors", RESUME),
    ("dataset.json", COMMANDS["cached"]), ("recipe", COMMANDS["cached"]), (FOREIGN, COMMANDS["tokenizer"]),
]  # fmt: skip


def prepared() -> ground.Ground:
    """A small run, and beside it a tokenizer as the tokenizers library writes it."""
    made = ground.prepared()
    foreign = tokenizers.Tokenizer(models.BPE())
    foreign.pre_tokenizer = pre_tokenizers.ByteLevel()  # type: ignore[assignment]
    foreign.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)  # type: ignore[call-arg]
    foreign.train_from_iterator([Path("text.txt").read_text()], trainer)
    foreign.save(str(made.place / FOREIGN))
    return made


def survived(draw: Draw, made: ground.Ground) -> None:
    """One file with one to three changes is met by a command that reads it."""
    target, words = draw.in_turn(TARGETS, shuffled=False)
    made.lay_out()
    Path(FOREIGN).write_bytes((made.place / FOREIGN).read_bytes())
    what = change(draw, target)
    code, said = done(*words, patience=PATIENCE, environment={"GPTFORGE_CACHE": str(Path("cache").absolute())})
    told = f"\n{target}, {what}, met by {words}\nexit code {code}: {said[-3000:]}"
    assert code >= 0, "the process was ended" + told
    assert code != EXIT_BUG and "Traceback" not in said, "a bug came to the surface" + told
    message = [line for line in said.partition("gptforge: ")[2].splitlines() if line.strip()]
    assert code in (0, 75) or 0 < len(message) <= MAX_LINES, "no message, or a long one" + told


def change(draw: random.Random, target: str) -> str:
    """Changes a file in its bytes or in its structure. Returns what was done."""
    if target.endswith(".safetensors"):
        held, data = header(target)
        content, what = changed(draw, held)
        artefacts.tensors(target, content, data, None if draw.random() < 0.9 else draw.choice([0, 7, 1 << 20, 1 << 62]))
        return what
    path = place(target)
    content, what = changed(draw, json.loads(path.read_bytes()), signed if target == "MANIFEST.json" else dumped)
    path.write_bytes(content)
    if target == "config.json":
        Path("run", target).write_bytes(content)
    if path.parent == folder() and target != "MANIFEST.json":
        artefacts.seal()
    return what


def place(target: str) -> Path:
    match target:
        case "dataset.json":
            return stored() / target
        case "recipe":
            return next(Path("cache", "recipes").iterdir())
        case "bad.json":
            return Path(target)
    return folder() / target


def changed(draw: random.Random, held: Any, written: Callable[[Any], bytes] | None = None) -> tuple[bytes, str]:
    """The bytes of a JSON value after a few changes, and which."""
    made = []
    for _ in range(draw.randint(1, 3)):
        if not (there := list(places(held))):
            break  # the change before has left nothing
        node, key = draw.choice(there)
        made.append(f"{key!r:.40}: {turned(draw, node, key)}")
    content = (written or dumped)(held)
    if draw.random() < 0.2:
        at, other = draw.randrange(len(content)), draw.randrange(len(content))
        content, how = draw.choice(
            [
                (content[:at], "cut"),
                (content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :], "a bit"),
                (content[: min(at, other)] + content[max(at, other) :], "a part left out"),
                (content[:at] + content[other : other + 40] + content[at:], "a part repeated"),
                (content[:at] + draw.randbytes(8) + content[at:], "bytes put in"),
            ]
        )
        made.append(how)
    return content, "; ".join(made)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value within a JSON value, as what holds it and its key there; of long lists the first ones."""
    keys = list(node) if isinstance(node, dict) else range(min(len(node), 20))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


def turned(draw: random.Random, node: Any, key: Any) -> str:
    """Changes the value at one place, and says how."""
    was = node[key]
    how = draw.choice(["another", "another", "near", "gone", "wrapped", "twice", "renamed"])
    if how == "another":
        node[key] = draw.choice(VALUES)
    elif how == "near" and isinstance(was, int | float) and not isinstance(was, bool):
        node[key] = draw.choice([was + 1, was - 1, -was, was * 2, was * 10**9, was / 3, str(was)])
    elif how == "near" and isinstance(was, str):
        node[key] = draw.choice([was[:-1], was + "x", was.upper(), "../" + was, was + "\0", was * 50])
    elif how == "gone":
        del node[key]
    elif how == "wrapped":
        node[key] = draw.choice([[was], {"a": was}, {str(key): was}])
    elif isinstance(node, list):
        node.append(was)
    else:
        node[f"{key}{draw.choice(['2', '.', '/..', ' '])}"] = was if how == "twice" else node.pop(key)
    return f"{how} {node[key]!r:.60}" if isinstance(node, dict) and key in node else how


def dumped(held: Any) -> bytes:
    return json.dumps(held).encode()


def signed(held: Any) -> bytes:
    """A checkpoint's manifest with the right digest."""
    return checkpoint.json_bytes(sealed(held))


FAULTS = [Fault("S3", "a file changed at random is read or refused, never a bug", survived, 120, 2000, prepared)]
