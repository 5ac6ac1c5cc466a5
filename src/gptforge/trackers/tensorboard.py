"""TensorBoard: event files in RUN/tensorboard, which `tensorboard --logdir runs` shows. Its numbers have 32 bits."""

# What its protocol buffers have is made when they are imported
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import json
import textwrap
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from gptforge.trackers import TrackedRun, Tracker

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    def start(self, run: TrackedRun) -> str | None:
        self._writer = EventFileWriter(str(run.run_dir / FOLDER))
        if not run.id:
            self.text("config", json.dumps(dict(run.config), indent=2), 0)
        return FOLDER

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._add(step, [Summary.Value(tag=name, simple_value=value) for name, value in values.items()])

    def text(self, name: str, text: str, step: int) -> None:
        verbatim = textwrap.indent(text, "    ", lambda line: True)  # it is shown as Markdown
        tensor = TensorProto(dtype=DT_STRING, string_val=[verbatim.encode("utf-8", "replace")])
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._add(step, [Summary.Value(tag=name, metadata=plugin, tensor=tensor)])

    def back(self, step: int) -> bool:
        """Its readers leave out what files had of these steps before a session began."""
        self._write(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))
        return True

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.close()

    def _add(self, step: int, values: list[Summary.Value]) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        self._writer.add_event(event)
        self._writer.flush()  # a killed run has what it told
