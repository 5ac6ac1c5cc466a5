"""C6: disks that are full, or do not do what they are asked to, while a model is exported."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import small
from faults.disk import CODES, Refusal, check_message, told
from faults.storage import watched
from faults.suite import Draw, Fault
from gptforge.checkpoint import load_model
from gptforge.interop import onnx_export

CALLS = 150  # at least as many as there are calls to refuse, so that the quick set refuses each of them once
FORMATS = ("hf", "gguf", "onnx", "safetensors", "onnx in two files")
OUT = Path("made", "by", "export")


@dataclass(frozen=True, slots=True)
class Ground:
    """A run, every call of an export of it that may fail, and the one export that takes long."""

    folder: Path
    calls: list[tuple[str, int]]
    program: Any


def trained_run() -> Ground:
    """Of a GPT-2 with a BPE, which every format can express."""
    small.write_text()
    changes = {"bias": True, "position": "learned", "mlp__kind": "gelu", "attention__qk_norm": False}
    config = small.config(
        **{f"model__{key}": value for key, value in changes.items()},
        tokenizer__kind="bpe", tokenizer__vocab_size=300, train__steps=1,
    )  # fmt: skip
    assert small.gptforge(*small.typed(config, "run")) == 0
    program = onnx_export.traced(load_model("run").model)
    calls = []
    for name in FORMATS:
        with exporting(name, program), watched(Path.cwd(), count := Refusal(None, 0, False)):
            count.armed = True
            assert small.gptforge(*words(name)) == 0
        shutil.rmtree(OUT.parts[0])
        calls += [(name, number) for number in range(count.seen)]
    assert len(calls) <= CALLS, f"{len(calls)} calls may fail: CALLS is too small to refuse each of them once"
    return Ground(Path.cwd(), calls, program)


def words(name: str) -> list[str]:
    return ["export", "run", f"format={name.partition(' ')[0]}", f"out={OUT}"]


@contextlib.contextmanager
def exporting(name: str, program: Any) -> Iterator[None]:
    """What torch's exporter makes is made once; a small model is taken for a large one where that is meant."""
    most = 0 if name.endswith("two files") else onnx_export.MOST_BYTES
    traced = mock.patch.object(onnx_export, "traced", lambda model: program)
    with traced, mock.patch.object(onnx_export, "MOST_BYTES", most):
        yield


def refused_export(draw: Draw, ground: Ground) -> None:
    """Each call of an export fails in turn: one message, and nothing is there; then it can be made."""
    turn, case = divmod(draw.number, len(ground.calls))
    name, number = ground.calls[case]
    code = CODES[(case + turn) % len(CODES)]
    refusal = Refusal(code, number, lasting=draw.random() < 0.5, half=draw.random() < 0.5)
    shutil.copytree(ground.folder / "run", "run")
    with exporting(name, ground.program):
        with watched(Path.cwd(), refusal):
            refusal.armed = True
            exit_code, said = told(*words(name))
        what = f"{name}: {refusal.refused}"
        assert refusal.refused, "nothing was refused"
        assert exit_code == 5, f"{what}: exit {exit_code}: {said}"
        check_message(what, said, os.strerror(code))
        assert "out=PATH" in said and "hydra.run.dir" not in said, f"{what}: {said}"
        assert os.listdir() == ["run"], f"{what}: {list(Path().rglob('*'))}"
        exit_code, said = told(*words(name))
        assert exit_code == 0 and OUT.exists() and not small.litter(Path("made")), f"{what}: {said}"


FAULTS = [
    Fault(
        "C6",
        "an export whose write, sync, rename or mkdir fails leaves nothing, and can be made again",
        refused_export,
        quick=CALLS,
        full=3 * CALLS,
        prepared=trained_run,
    ),
]
