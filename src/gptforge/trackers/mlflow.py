"""MLflow: files in RUN/mlruns, or where MLFLOW_TRACKING_URI says; the experiment is gptforge (MLFLOW_EXPERIMENT_NAME).

Its client is used, which knows nothing of the process: no user, command line or git state is sent.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

# Both are read when it is imported: it reports its use to its makers, and wants to be asked for files
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from mlflow.entities import Metric, Param, RunTag  # pyright: ignore[reportMissingImports]
from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

from gptforge.trackers import TrackedRun, Tracker

LONGEST = 500  # characters of a parameter's value, which not all of its stores exceed
AT_ONCE = 100  # parameters in one call
STATUSES = {"done": "FINISHED", "failed": "FAILED"}  # others are KILLED


class MLflow(Tracker):
    def start(self, run: TrackedRun) -> str | None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (run.run_dir.resolve() / "mlruns").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        if run.id:
            self._id = run.id
            self._client.update_run(run.id, status="RUNNING")
            return run.id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "gptforge")
        experiment = self._experiment(name)
        tags = {"group": run.group} if run.group else {}
        self._id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(key, _shown(value)[:LONGEST]) for key, value in run.config.items()]
        for first in range(0, len(params), AT_ONCE):
            self._client.log_batch(self._id, params=params[first : first + AT_ONCE])
        return self._id

    def _experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is made if there is none."""
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self._client.create_experiment(name)
        except Exception:  # another process that uses the same store may have made it in between
            if found := self._client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(key, value, now, step) for key, value in values.items()])

    def text(self, name: str, text: str, step: int) -> None:
        self._client.log_text(self._id, text, f"{name}s/step-{step:06}.txt")

    def finish(self, summary: Mapping[str, Any]) -> None:
        tags = [RunTag(key, _shown(value)) for key, value in summary.items() if value is not None]
        self._client.log_batch(self._id, tags=tags)
        self._client.set_terminated(self._id, STATUSES.get(str(summary.get("status")), "KILLED"))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
