"""S2: files from anyone run no code, read and write nothing they should not, and cost little time and memory.

The files are made in artefacts.py.
"""

import os
import tempfile
from dataclasses import dataclass

from faults.artefacts import COMMANDS, SECRET, all_artefacts, canary, victim
from faults.ground import Ended, Ground, ended, prepared
from faults.leaks import holders
from faults.suite import Draw, Fault

MORE_MEMORY = 500_000_000  # bytes beyond what the command needs for a sound file
MORE_SECONDS = 5.0  # of computing, likewise
TOLD = "sesame-41877"  # the secret


@dataclass(frozen=True, slots=True)
class Measured(Ground):
    """The ground, and the memory and the time that each command needs for what is sound."""

    memory: dict[str, int]
    seconds: dict[str, float]


def measured() -> Measured:
    """Tries every command on the sound run."""
    ground = prepared()
    needed: dict[str, Ended] = {}
    for kind in ("sample", "eval", "resume", "cached"):
        with tempfile.TemporaryDirectory(dir=ground.place) as folder:
            os.chdir(folder)
            ground.lay_out()
            done = ended(COMMANDS[kind])
            os.chdir(ground.place)
        assert done.code == 0, f"{COMMANDS[kind]}: {done.err}"
        needed[kind] = done
    needed |= {"config": needed["resume"], "tokenizer": needed["cached"]}
    memory, seconds = ({kind: getattr(done, of) for kind, done in needed.items()} for of in ("memory", "seconds"))
    return Measured(ground.place, memory, seconds)


def inert(draw: Draw, ground: Measured) -> None:
    """One bad file is met by the command that reads it."""
    artefact = draw.in_turn(all_artefacts())
    words = list(artefact.words) or COMMANDS[artefact.kind]
    ground.lay_out()
    victim().parent.mkdir()
    victim().write_text("precious\n")
    artefact.make()
    outside = {path: path.stat().st_mtime_ns for path in victim().parent.rglob("*")}
    done = ended(words, **{SECRET: TOLD})
    said = done.out + done.err
    told = f"\n{artefact.name}, met by {words}\nexit code {done.code}: {done.err[-2000:]}"
    assert not canary().exists(), "code out of a file has run" + told
    assert victim().read_text() == "precious\n", "a file outside of the run was changed" + told
    assert {p: p.stat().st_mtime_ns for p in victim().parent.rglob("*")} == outside, "it wrote out of the run" + told
    assert TOLD not in said and not holders(TOLD.encode()), "the secret was told or kept" + told
    assert "Traceback" not in said and "internal error" not in said, "a bug came to the surface" + told
    assert done.code in artefact.codes, f"not one of the exit codes {artefact.codes}" + told
    assert not done.code or "gptforge: " in done.err, "no message" + told
    assert not {"\x1b", "\x07", "\0"} & set(said), "control characters reach the terminal" + told
    longer = done.seconds - ground.seconds[artefact.kind]
    assert longer <= MORE_SECONDS, f"it computed {longer:.1f} s longer than for a sound file" + told
    more = done.memory - ground.memory[artefact.kind]
    assert more <= MORE_MEMORY, f"{more / 1e6:.0f} MB more than for a sound file" + told


N = len(all_artefacts())
FAULTS = [
    Fault("S2", "a malicious file is refused, and cheaply", inert, N // 3, N, measured),
]
