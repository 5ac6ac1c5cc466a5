"""gptforge report: draws the page of a run anew from its files; where it is goes to stdout."""

from pathlib import Path

from gptforge.config import ReportConfig
from gptforge.errors import from_os_error
from gptforge.report import run_files, run_page
from gptforge.runs import Call


def run(cfg: ReportConfig, call: Call) -> int:
    """Draws the report of cfg.run, whatever state it is in."""
    found = run_files.find(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else found.path / run_page.NAME
    try:
        print(run_page.write(found, path))
    except OSError as e:
        raise from_os_error(e, "the report cannot be written") from e
    return 0
