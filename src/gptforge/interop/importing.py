"""A model of another program as a run, whose only checkpoint is the model as it came; the same one once if asked so."""

import contextlib
import json
from pathlib import Path
from typing import Any

from gptforge import checkpoint
from gptforge.config import ObjectiveConfig, TokenizerConfig, TrainConfig
from gptforge.config.objective import MLM
from gptforge.config.saved import as_saved
from gptforge.errors import CheckpointError
from gptforge.interop import hub
from gptforge.interop.directory import CONFIG, TEMPLATE
from gptforge.interop.sources import NAMES, PICKLES, Source, load, path_of
from gptforge.jsonfile import read_json, write_json
from gptforge.runs import RUNS, Call, Run, run_name
from gptforge.tensors import tensor_bytes

ORIGIN = "imported_from"  # of summary.json: which files they were
FILES = (".json", ".safetensors", ".jinja")  # of a directory, what is read


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
    return as_run(load(text), call)[0], True


def as_run(source: Source, call: Call) -> tuple[Run, dict[str, Any]]:
    """The run, and what its summary says. Raises ResourceError."""
    model = source.model.float()
    kind = source.tokenizer.kind
    path = str(source.path.absolute()) if kind == "hf" else None
    objective = ObjectiveConfig(kind="next_token" if model.cfg.attention.causal else MLM)
    config = TrainConfig(model=model.cfg, tokenizer=TokenizerConfig(kind=kind, path=path), objective=objective)
    saved = as_saved(config, {"model": source.name, "tokenizer": kind})
    made = Run.create(saved, run_name("import", source.name), call)
    files = {
        "config.json": checkpoint.json_bytes(saved),
        "tokenizer.json": checkpoint.json_bytes(source.tokenizer.stored()),
        checkpoint.MODEL: tensor_bytes(model.state_dict()),
    }
    if source.chat_template is not None:
        files[TEMPLATE] = source.chat_template.encode()
    summary: dict[str, Any] = {
        "status": "done", "steps": 0, "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": checkpoint.weights_sha256(model), ORIGIN: origin_of(source.path),
    }  # fmt: skip
    checkpoint.commit(made, 0, files)
    for name in ("latest", "best"):
        checkpoint.point(made, name, 0)
    write_json(made.summary, summary)
    return made, summary


def origin_of(path: Path) -> dict[str, Any]:
    """A model's files as far as that is known without reading them: where, how large, when they were changed last."""
    files = [file for file in path.iterdir() if file.suffix in FILES] if path.is_dir() else [path]
    found = [file.stat() for file in files]
    newest = max((entry.st_mtime_ns for entry in found), default=0)
    return {"path": str(path.absolute()), "bytes": sum(entry.st_size for entry in found), "changed_ns": newest}
