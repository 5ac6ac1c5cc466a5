"""trackio: into its own database on this machine (TRACKIO_DIR), for `trackio show`, or where TRACKIO_SPACE_ID says."""

import contextlib
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

# Both are read when it is imported: it asks Hugging Face who is logged in, also for a run that stays on the machine
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if not (os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

import trackio  # pyright: ignore[reportMissingImports]

from gptforge.trackers import TrackedRun, Tracker

PROJECT = "gptforge"


class Trackio(Tracker):
    def start(self, run: TrackedRun) -> str | None:
        # It finds a run by its name, and two runs may well have the same
        name = run.id or f"{run.name}-{secrets.token_hex(2)}"
        with _silent():
            self._run = trackio.init(
                PROJECT,
                name,
                group=run.group,
                config=dict(run.config),
                resume="allow" if run.id else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return name

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        verbatim = "\n".join(f"    {line}" for line in text.split("\n"))
        self._run.log({name: trackio.Markdown(verbatim)}, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        with _silent():
            trackio.finish()  # also lets go of the run, which else is finished once more when the process ends


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """It prints, and stdout is for data."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
