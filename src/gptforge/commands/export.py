"""gptforge export: writes a model as other programs read it; where it is goes to stdout."""

import contextlib
import sys
from pathlib import Path

from gptforge.checkpoint import load_model
from gptforge.config import ExportConfig
from gptforge.errors import CheckpointError
from gptforge.interop.export import to_directory
from gptforge.interop.gguf_export import to_file
from gptforge.jsonfile import read_json
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.runs import Call, Run


def run(cfg: ExportConfig, call: Call) -> int:
    """Exports the model, tokenizer and, if there is one, the template of conversations."""
    loaded = load_model(cfg.ckpt)
    for warning in loaded.warnings:
        say(f"gptforge: warning: {warning}")
    owner = Run(loaded.path.parent.parent)
    name = owner.path.resolve().name + (".gguf" if cfg.format == "gguf" else "")
    out = Path(cfg.out).expanduser() if cfg.out else Path("export", name)
    if cfg.format == "gguf":
        to_file(loaded, cfg.dtype, out)
        Screen(sys.stdout).line(str(out))
        return 0
    summary = {}
    with contextlib.suppress(CheckpointError):
        summary = read_json(owner.summary, "the summary")
    to_directory(loaded, cfg.dtype, summary if summary.get("steps") == loaded.step else {}, out)
    Screen(sys.stdout).line(str(out))
    return 0
