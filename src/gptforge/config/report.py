"""What a user can set about the report of a run."""

from dataclasses import dataclass

from gptforge.config.schema import Resume, key


@dataclass(kw_only=True, slots=True)
class ReportConfig:
    """gptforge report"""

    run: str = key("latest", "latest, or a run", resume=Resume.FREE, free_text=True)
    out: str | None = key(
        None,
        "where the page goes, a file or a folder; null: report.html in the run",
        resume=Resume.FREE,
        free_text=True,
    )
