"""Which words name a model of another program, and the run that one is: imported when it is first asked for."""

import contextlib
import json
from pathlib import Path

from gptforge.errors import CheckpointError
from gptforge.interop import hub
from gptforge.interop.as_run import ORIGIN, origin_of, write
from gptforge.interop.directory import CONFIG
from gptforge.interop.sources import NAMES, PICKLES, load, path_of
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
            if read_json(run.summary, "the summary").get(ORIGIN) == origin and run.steps():
                return run, False
    return write(load(text), call)[0], True
