"""gptforge export: writes a model as other programs read it; where it is goes to stdout."""

import contextlib
import sys
from pathlib import Path

from gptforge.checkpoint import Loaded, load_model
from gptforge.config import ExportConfig
from gptforge.errors import CheckpointError
from gptforge.interop import export, gguf_export, onnx_export, plain
from gptforge.jsonfile import read_json
from gptforge.logs.screen import Screen
from gptforge.notices import say
from gptforge.runs import Call, Run

ENDINGS = {"hf": "", "gguf": ".gguf", "onnx": "-onnx", "safetensors": "-safetensors"}


def run(cfg: ExportConfig, call: Call) -> int:
    """Exports the model, tokenizer and, if there is one, the template of conversations."""
    loaded = load_model(cfg.ckpt)
    for warning in loaded.warnings:
        say(f"gptforge: warning: {warning}")
    owner = Run(loaded.path.parent.parent)
    out = Path(cfg.out).expanduser() if cfg.out else Path("export", owner.path.resolve().name + ENDINGS[cfg.format])
    write(cfg, loaded, owner, out)
    Screen(sys.stdout).line(str(out))
    return 0


def write(cfg: ExportConfig, loaded: Loaded, owner: Run, out: Path) -> None:
    if cfg.format == "gguf":
        gguf_export.to_file(loaded, cfg.dtype, out)
    elif cfg.format == "onnx":
        onnx_export.to_directory(loaded, out)
    elif cfg.format == "safetensors":
        plain.to_directory(loaded, cfg.dtype, out)
    else:
        summary = {}
        with contextlib.suppress(CheckpointError):
            summary = read_json(owner.summary, "the summary")
        export.to_directory(loaded, cfg.dtype, summary if summary.get("steps") == loaded.step else {}, out)
