"""Weights & Biases: offline into RUN/wandb, for `wandb sync`, unless WANDB_MODE says otherwise.

Nothing is sent but what a tracker is given: no console, code, packages, command line, git state or machine.
"""

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # which it reads when it is imported

import wandb  # pyright: ignore[reportMissingImports]

from gptforge.trackers import TrackedRun, Tracker


class WandB(Tracker):
    def start(self, run: TrackedRun) -> str | None:
        settings = wandb.Settings(
            mode=os.environ.get("WANDB_MODE", "offline"),
            silent=True,
            console="off",
            symlink=False,
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._folder = run.run_dir.resolve()
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "gptforge"),
            name=run.name,
            group=run.group,
            id=run.id,
            resume="allow",
            dir=str(self._folder),
            config=dict(run.config),
            allow_val_change=True,  # keys that a run may change when it goes on
            settings=settings,
        )
        _remove_links(self._folder / "wandb")
        return self._run.id

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        page = wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)
        self._run.log({name: page}, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=int(summary.get("status") == "failed"))
        _remove_links(self._folder / "wandb")


def _remove_links(folder: Path) -> None:
    """Removes its link to a log in the user's cache: a run with a link that leads out of it is refused."""
    for path in folder.glob("*/logs/*"):
        if path.is_symlink():
            path.unlink()
