"""An imported model as a run, whose only checkpoint is the model as it came: whole, or none at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptforge import checkpoint, durable
from gptforge.config import ObjectiveConfig, TokenizerConfig, TrainConfig
from gptforge.config.objective import MLM
from gptforge.config.saved import as_saved
from gptforge.errors import from_os_error
from gptforge.interop.directory import TEMPLATE
from gptforge.interop.sources import Source
from gptforge.jsonfile import write_json
from gptforge.runs import RUNS, Call, Run, run_name
from gptforge.tensors import tensor_bytes

ORIGIN = "imported_from"  # of summary.json: which files they were
FILES = (".json", ".safetensors", ".jinja")  # of a directory, what is read


def write(source: Source, call: Call) -> tuple[Run, dict[str, Any]]:
    """The run, and what its summary says. Raises ResourceError; then there is none, and `latest` is as it was."""
    model = source.model.float()
    kind = source.tokenizer.kind
    path = str(source.path.absolute()) if kind == "hf" else None
    objective = ObjectiveConfig(kind="next_token" if model.cfg.attention.causal else MLM)
    config = TrainConfig(model=model.cfg, tokenizer=TokenizerConfig(kind=kind, path=path), objective=objective)
    saved = as_saved(config, {"model": source.name, "tokenizer": kind})
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
    with _whole_or_none(call) as made_by:
        made = made_by(saved, run_name("import", source.name))
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


@contextlib.contextmanager
def _whole_or_none(call: Call) -> Iterator["_Maker"]:
    """Makes a run, and after an error nothing of it is left. Raises ResourceError for what cannot be written."""
    maker = _Maker(call)
    try:
        yield maker
    except BaseException as e:
        maker.undo()
        if isinstance(e, OSError):
            raise from_os_error(e, "the imported model cannot be written") from e
        raise


class _Maker:
    """Knows what was there before the run: the files of its folder, and which run was the latest."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._made: Run | None = None
        self._before = set(os.listdir(call.directory)) if call.directory and call.directory.is_dir() else None
        self._latest = (RUNS / "latest").read_bytes() if (RUNS / "latest").is_file() else None

    def __call__(self, saved: dict[str, object], name: str) -> Run:
        self._made = Run.create(saved, name, self._call)
        return self._made

    def undo(self) -> None:
        if self._made is None:
            return
        for path in list(self._made.path.iterdir()):
            if path.name not in (self._before or ()):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            if self._before is None:
                self._made.path.rmdir()
            _restore(RUNS / "latest", self._latest)


def _restore(path: Path, content: bytes | None) -> None:
    path.unlink(missing_ok=True) if content is None else durable.write(path, content)
