"""What a user can set about the report of a run or a sweep."""

from dataclasses import dataclass

from gptforge.config.schema import Resume, key


@dataclass(kw_only=True, slots=True)
class ReportConfig:
    """gptforge report"""

    run: str = key("latest", "latest, a run or a sweep", resume=Resume.FREE, free_text=True)
    out: str | None = key(
        None,
        "where the page goes, a file or a folder; null: report.html in its directory",
        resume=Resume.FREE,
        free_text=True,
    )
    png: str | None = key(
        None, "draw the curves into this file too, as PNG (extra plot)", resume=Resume.FREE, free_text=True
    )
