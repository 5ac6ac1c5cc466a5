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
class ShowConfig:
    """gptforge show"""

    run: str = key("latest", "the run: latest, a name below runs/, or a path", resume=FREE, free_text=True)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class CompareConfig:
    """gptforge compare"""

    runs: list[str] = key([], "two runs or more, each a name below runs/ or a path", resume=FREE)
    svg: str | None = key(None, "draw the curves of val_loss into this file", resume=FREE, free_text=True)
    png: str | None = key(None, "the same as PNG (extra plot)", resume=FREE, free_text=True)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class RunsRmConfig:
    """gptforge runs rm"""

    runs: list[str] = key([], "the runs to remove, each a name below runs/ or a path", resume=FREE)
    yes: bool = key(False, "do not ask", resume=FREE)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class RunsTagConfig:
    """gptforge runs tag"""

    run: str = key("latest", "the run: latest, a name below runs/, or a path", resume=FREE, free_text=True)
    add: list[str] = key([], "tags to add, such as baseline", resume=FREE)
    remove: list[str] = key([], "tags to take away", resume=FREE)
    tags: list[str] | None = key(None, "all its tags from now on; []: none", resume=FREE)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class RunsPruneConfig:
    """gptforge runs prune"""

    path: str = key("runs", "the folder that the runs are in", resume=FREE, free_text=True)
    filter: str = key(
        "", "only runs of which this holds, as in gptforge runs: status=done val_loss>2", resume=FREE, free_text=True
    )
    keep: str = key(
        "best",
        "which checkpoint of a run stays; of one that can go on the latest stays too, but for none",
        resume=FREE,
        choices=("best", "latest", "none"),
    )
    dry: bool = key(False, "show what would go, and remove nothing", resume=FREE)
    yes: bool = key(False, "do not ask", resume=FREE)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class RunsExportConfig:
    """gptforge runs export"""

    run: str = key("latest", "latest or RUN", resume=FREE, free_text=True)
    to: str = key("tensorboard", "the tracker to send it to: tensorboard, wandb, mlflow, trackio", resume=FREE)
    json: bool = key(False, "print what was sent as JSON", resume=FREE)
