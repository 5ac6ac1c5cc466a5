"""A new file or folder that gets its name when it is whole and has been read back; until then there is none.

Knows nothing of what is in it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gptforge.durable import make_directories, sync_directory, unique
from gptforge.errors import UsageError, from_os_error


@contextlib.contextmanager
def placed(out: Path, *, folder: bool) -> Iterator[Path]:
    """Where to write: what is there at the end of the block becomes `out`; after an error nothing is left of it.

    Raises UsageError if `out` is there, ResourceError if it cannot be written.
    """
    refuse_existing(out, folder)
    temporary, above = out.with_name(f".tmp-{out.name}-{unique()}"), list(_missing(out.parent))
    written = temporary
    try:
        try:
            make_directories(out.parent)
            if folder:
                temporary.mkdir()
            yield temporary
            for path in (*temporary.iterdir(), temporary) if folder else ():
                sync_directory(path)
            refuse_existing(out, folder)  # somebody else's, meanwhile
            os.rename(temporary, out)
            written = out
            sync_directory(out.parent)
        except OSError as e:
            elsewhere = [
                f"out=PATH of a new {'folder' if folder else 'file'} elsewhere, where there is space and you may write"
            ]
            raise from_os_error(e, f"{out} cannot be written", elsewhere) from e
    except BaseException:
        _remove(written, above)
        raise


def refuse_existing(out: Path, folder: bool) -> None:
    """Raises UsageError if there is anything of that name, be it a link that leads nowhere."""
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", fix=f"out=PATH of a new {'folder' if folder else 'file'}")


def _missing(folder: Path) -> Iterator[Path]:
    """The folders that must be made for this one to be there, the innermost first."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            return
        yield path


def _remove(written: Path, above: list[Path]) -> None:
    shutil.rmtree(written, ignore_errors=True)
    for remove in (written.unlink, *(path.rmdir for path in above)):
        with contextlib.suppress(OSError):  # not there, or in use by somebody else by now
            remove()
