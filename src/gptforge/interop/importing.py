"""Which words name a model of another program, and the run that one is: imported when it is first asked for."""

import contextlib
import json
from pathlib import Path

from gptforge import durable
from gptforge.checkpoint import newest_sound
from gptforge.errors import CheckpointError, UserError
from gptforge.interop import hub
from gptforge.interop.as_run import ORIGIN, origin_of, write
from gptforge.interop.directory import CONFIG
from gptforge.interop.sources import NAMES, PICKLES, Source, load, path_of
from gptforge.jsonfile import read_json
from gptforge.runs import RUNS, Call, Run


def is_source(text: str) -> bool:
    """Whether a text names what can be imported: a known name, a file of a model, or a directory of transformers."""
    path = Path(text).expanduser()
    if text in NAMES or hub.is_name(text) or (path.suffix in (".gguf", ".bin", *PICKLES) and path.is_file()):
        return True
    with contextlib.suppress(OSError, ValueError):
        return "model_type" in json.loads((path / CONFIG).read_bytes())
    return False


def imported(text: str, call: Call) -> tuple[Run, bool]:
    """The run that a model of another program is, and whether it is a new one. Raises what `sources.load` raises."""
    origin = origin_of(path_of(text))
    for path in sorted(RUNS.glob("*_import_*"), reverse=True):
        run = Run(path)
        with contextlib.suppress(CheckpointError):
            if read_json(run.summary, "the summary").get(ORIGIN) == origin and newest_sound(run, 0):
                return run, False
    latest = RUNS / "latest"
    before = latest.read_bytes() if latest.is_file() else None
    run = write(_loaded(text), call)[0]
    if before is not None:  # what was asked for is another run
        durable.write(latest, before)
    return run, True


def _loaded(text: str) -> Source:
    """Raises UserError; of what cannot be imported on the way with how it can."""
    try:
        return load(text)
    except UserError as e:
        if Path(text).suffix not in (".bin", *PICKLES):
            raise
        fix = f"gptforge import {text} tokenizer_path=… (pickles with --trust), then the same init= once more"
        raise type(e)(e.what, where=e.where, fix=fix) from None
