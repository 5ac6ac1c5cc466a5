"""What is told about a run while it runs: files that keep it, a picture, and what the terminal shows.

`Sinks` is the trainer's only fan-out. Nothing here knows torch, the trainer or the model.
"""

from collections.abc import Iterable
from pathlib import Path

from gptforge.logs.console import make_console_sink
from gptforge.logs.events import Plan, Sink
from gptforge.logs.fanout import Sinks
from gptforge.logs.files import COLUMNS, MetricsFile, SampleFiles, TextLog, read_metrics
from gptforge.logs.picture import LossPicture, draw_loss

__all__ = [
    "COLUMNS", "LossPicture", "MetricsFile", "Plan", "SampleFiles", "Sink", "Sinks", "TextLog", "draw_loss",
    "make_console_sink", "open_sinks", "read_metrics",
]  # fmt: skip


def open_sinks(run_dir: Path, ui: str, more: Iterable[Sink] = ()) -> Sinks:
    """Everything that a training run writes to: the files of `run_dir`, the terminal, and `more`."""
    jsonl = run_dir / "metrics.jsonl"
    return Sinks(
        MetricsFile(jsonl, run_dir / "metrics.csv"),
        TextLog(run_dir / "train.log"),
        [
            SampleFiles(run_dir / "samples"),
            LossPicture(run_dir / "loss.svg", jsonl, title=run_dir.name),
            make_console_sink(ui, history=lambda: read_metrics(jsonl)),
            *more,
        ],
    )
