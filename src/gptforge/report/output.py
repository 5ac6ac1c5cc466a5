"""A data report in files: a page or JSON, by their names. Knows nothing of what it says."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptforge.data.store import write_json
from gptforge.durable import make_directories, write_text
from gptforge.errors import ResourceError, from_os_error
from gptforge.report.data_page import data_page


def write(found: Mapping[str, Any], paths: Iterable[Path]) -> None:
    """Write a data report to files, .html as a page, others as JSON. Raises ResourceError where that cannot be."""
    for path in paths:
        try:
            make_directories(path.parent)
            if path.suffix.lower() == ".html":
                write_text(path, data_page(found))
            else:
                write_json(path, found)
        except OSError as e:
            raise from_os_error(e, f"writing {path}") from e


def keep(found: Mapping[str, Any], paths: Sequence[Path]) -> str:
    """Write a data report beside stored tokens, and say where the first of the files is.

    Tokens that were made before can be used where nothing may be written: then it says that, and it is no error.
    """
    try:
        write(found, paths)
    except ResourceError as e:
        return f"warning: the report is not stored: {e.what}"
    return f"the report with pictures is {paths[0]}"
