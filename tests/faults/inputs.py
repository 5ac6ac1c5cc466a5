"""D: texts as people have them, arbitrary bytes, and texts that change between two starts of a run.

D1 mixes the animals of tests/data_zoo with commands and settings; what each must lead to, tests/data_zoo/test_zoo.py
checks one by one.
"""

import contextlib
import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

import small
from data_zoo.animals import ZOO
from faults.suite import Fault
from gptforge.config import CleanConfig, DataConfig, TokenizerConfig
from gptforge.data.prepare import prepare
from gptforge.errors import MAX_LINES, DataError
from gptforge.train import trainer as trainer_module

CODES = (0, 2, 3, 5)  # of commands that read a text
QUICK = ["model=tiny", "model.block_size=16", "train.steps=2", "train.batch_size=2", "sample.max_new_tokens=1"]


def trained() -> Path:
    """A run whose checkpoint reads texts."""
    trainer_module.measured_peak = lambda runtime: 1e12
    small.write_text()
    small.trainer(small.config(train__steps=2, eval__every=2), "run").fit()
    return Path("run").resolve()


def command(words: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = small.gptforge(*words)
    return code, out.getvalue(), err.getvalue()


def animal(draw: random.Random, run: Path) -> None:
    """A nasty input is read or refused in one message, by every command that reads texts."""
    chosen = draw.choice(ZOO)
    Path("zoo").mkdir()
    typed = chosen.make(Path("zoo"))
    lines = {
        "train": ["train", f"data={typed}", *QUICK, "runtime.threads=1", "ui=plain", *chosen.words],
        "prepare": ["prepare", f"data={typed}", *[w for w in chosen.words if not w.startswith("model.")]],
        "eval": ["eval", str(run), f"data={typed}", "tokenizer.unknown=skip", "out=found.json"],
    }
    name = draw.choice(list(lines))
    code, _, said = command(lines[name])
    told = f"{name} {chosen.name}: exit {code}\n{said[-2000:]}"
    assert code in CODES, told
    assert "Traceback" not in said and "internal error" not in said, told
    if name != "eval":
        assert bool(code) == bool(chosen.fails) or os.access(typed, os.R_OK), told
    if code:
        message = said[said.index("gptforge: ") :]
        assert len(message.splitlines()) <= MAX_LINES and not Path("runs").exists(), told


def arbitrary(draw: random.Random, ground: Any) -> None:
    """Any bytes: refused as no text, or tokens that are in the vocabulary and whose text is the one that was read."""
    parts = [
        lambda: draw.randbytes(draw.randrange(200)),
        lambda: "".join(chr(draw.choice([draw.randrange(0xD800), draw.randrange(0xE000, 0x110000)])) for _ in range(80))
        .encode(),
        lambda: b"some words in a row, and a line feed\n" * draw.randrange(1, 9),
        lambda: draw.choice([b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\x0c", "\u2028".encode(), b""]),
        lambda: "春眠不覺曉，處處聞啼鳥。".encode(draw.choice(["utf-8", "gb18030", "utf-16"])),
    ]  # fmt: skip
    content = b"".join(draw.choice(parts)() for _ in range(draw.randint(1, 6)))
    Path("text.txt").write_bytes(content)
    kind = draw.choice(["char", "byte", "bpe"])
    cfg = DataConfig(source="files", path="text.txt", val_fraction=0.3)
    try:
        data = prepare(cfg, TokenizerConfig(kind=kind), clean=CleanConfig(line_ends=False, control_characters=False))
    except DataError:
        return
    ids = np.concatenate([data.train, data.val])
    assert not len(ids) or int(ids.max()) < data.tokenizer.vocab_size, content
    text = data.tokenizer.decode(ids)
    assert data.tokenizer.decode(data.tokenizer.encode(text)) == text, content
    with contextlib.suppress(UnicodeDecodeError):  # in another encoding the text is what that says
        if b"\x00" not in content and not content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            assert text == content.decode(), content


def edited(draw: random.Random, ground: Any) -> None:
    """A text that has changed since the run began is refused, and the run stays as it is."""
    trainer_module.measured_peak = lambda runtime: 1e12
    path = small.write_text()
    assert small.gptforge(*small.typed(small.config(), "run"), "train.stop_after=4") == 75
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file() and p.name != ".lock"}
    text = path.read_text(encoding="utf-8")
    at = draw.randrange(len(text) - 10)
    path.write_text(
        draw.choice([
            text[:at] + text[at + 1 :],
            text[:at] + "q" + text[at:],
            text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :],
            text + text[:50],
            text[:-9],
            text[len(text) // 2 :] + text[: len(text) // 2],
        ]),
        encoding="utf-8",
    )  # fmt: skip
    code, _, said = command(["train", "resume=run"])
    assert code == 4 and "the text is not the one" in said, f"exit {code}: {said}"
    after = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file() and p.name != ".lock"}
    changed = [str(p) for p in before if p.name not in ("train.log", "summary.json") and before[p] != after.get(p)]
    assert not changed, f"changed: {changed}"


FAULTS = [
    Fault("D1", "nasty inputs are read or refused in one message", animal, 40, 200, trained),
    Fault("D2", "any bytes give their text back or are refused", arbitrary, 200, 5000),
    Fault("D4", "a text that was changed is refused on resume", edited, 6, 40),
]
