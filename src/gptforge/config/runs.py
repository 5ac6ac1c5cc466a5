"""What a user can set about looking at runs."""

from dataclasses import dataclass

from gptforge.config.schema import Resume, key

FREE = Resume.FREE


@dataclass(kw_only=True, slots=True)
class RunsConfig:
    """gptforge runs"""

    path: str = key("runs", "the folder that the runs are in", resume=FREE, free_text=True)
    sort: str = key("-began", "the column or key to sort by, such as val_bpb; -NAME: the largest first", resume=FREE)
    filter: str = key(
        "",
        "only runs of which this holds: status=done val_loss<1.6 model.n_layer>=4 name~play",
        resume=FREE,
        free_text=True,
    )
    limit: int | None = key(20, "how many to show; null: all", resume=FREE, ge=1)
    json: bool = key(False, "print JSON, without the limit", resume=FREE)


@dataclass(kw_only=True, slots=True)
class RunsExportConfig:
    """gptforge runs export"""

    run: str = key("latest", "latest or RUN", resume=FREE, free_text=True)
    to: str = key("tensorboard", "the tracker to send it to: tensorboard, wandb, mlflow, trackio", resume=FREE)
    json: bool = key(False, "print what was sent as JSON", resume=FREE)
