"""gptforge import: makes a run of a model of another program, whose only checkpoint is the model as it came."""

import json
import sys

from gptforge import checkpoint
from gptforge.config import ImportConfig, ObjectiveConfig, TokenizerConfig, TrainConfig
from gptforge.config.objective import MLM
from gptforge.config.saved import as_saved
from gptforge.interop.sources import TEMPLATE, Source, load
from gptforge.jsonfile import write_json
from gptforge.logs.screen import Screen
from gptforge.runs import Call, Run, run_name
from gptforge.tensors import tensor_bytes


def run(cfg: ImportConfig, call: Call) -> int:
    """Reads the model whole before anything is written."""
    source = load(cfg.source, cfg.tokenizer_path, cfg.trust)
    made, summary = write(source, call)
    if cfg.json:
        print(json.dumps({"run": made.pointer_name, **summary}, indent=2))
        return 0
    screen = Screen(sys.stdout)
    for note in source.notes:
        screen.line(f"note: {note}")
    screen.line(f"{summary['parameters']:,} parameters, {source.model.vocab_size:,} tokens, from {source.path}")
    verb = "sample" if source.model.cfg.attention.causal else "eval"
    screen.line(f"next:   gptforge {verb} ckpt={made.pointer_name}")
    return 0


def write(source: Source, call: Call) -> tuple[Run, dict[str, object]]:
    """The run, and what its summary says. Raises ResourceError."""
    model = source.model.float()
    kind = source.tokenizer.kind
    path = str(source.path.absolute()) if kind == "hf" else None
    objective = ObjectiveConfig(kind="next_token" if model.cfg.attention.causal else MLM)
    config = TrainConfig(model=model.cfg, tokenizer=TokenizerConfig(kind=kind, path=path), objective=objective)
    saved = as_saved(config, {"tokenizer": kind})
    made = Run.create(saved, run_name("import", source.path.stem), call)
    files = {
        "config.json": checkpoint.json_bytes(saved),
        "tokenizer.json": checkpoint.json_bytes(source.tokenizer.stored()),
        checkpoint.MODEL: tensor_bytes(model.state_dict()),
    }
    if source.chat_template is not None:
        files[TEMPLATE] = source.chat_template.encode()
    summary: dict[str, object] = {
        "status": "done", "steps": 0, "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": checkpoint.weights_sha256(model),
    }  # fmt: skip
    checkpoint.commit(made, 0, files)
    for name in ("latest", "best"):
        checkpoint.point(made, name, 0)
    write_json(made.summary, summary)
    return made, summary
