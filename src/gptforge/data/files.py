"""Which files a text is made of: a file, a folder, a pattern, or several of these; and of what kind each file is.

Knows names and folders; opens no file.
"""

import difflib
import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gptforge import assets
from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig
from gptforge.errors import DataError

PROSE = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".tex")
CODE = (
    *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".java", ".kt", ".scala", ".js", ".mjs", ".ts", ".jsx"),
    *(".tsx", ".go", ".rs", ".rb", ".php", ".swift", ".cs", ".sh", ".pl", ".lua", ".r", ".jl", ".sql", ".hs", ".ml"),
    *(".clj", ".ex", ".erl", ".el", ".lisp", ".f90", ".css"),
)
KINDS = dict.fromkeys((*PROSE, *CODE), "text") | {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".html": "html", ".htm": "html", ".xhtml": "html",
}  # fmt: skip
PACKED = (".gz", ".zst")

_BUILT_IN = {
    "shakespeare": lambda: assets.shakespeare(full=False),
    "shakespeare_full": lambda: assets.shakespeare(full=True),
    "pydoc": assets.pydoc,
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of text: `kind` is text, jsonl, csv, tsv, parquet or html; `packed` is .gz, .zst or nothing."""

    path: Path
    kind: str
    packed: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Files that together are one text, in order; `label` is what a person calls it, `notes` what was decided.

    `parts` says with which file each of several texts begins that are learnt together, `val_from` with which file the
    text begins that is only validated on. `called` are the names of the files where they lie in several places.
    """

    files: tuple[File, ...]
    label: str
    notes: tuple[str, ...] = ()
    parts: tuple[int, ...] = (0,)
    val_from: int | None = None
    called: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """What each file is called: its path in the folder that all are in."""
        if self.called:
            return list(self.called)
        if len(self.files) == 1:
            return [self.label]
        top = os.path.commonpath([file.path.parent for file in self.files])
        return [file.path.relative_to(top).as_posix() for file in self.files]


def find(cfg: DataConfig) -> Source:
    """The files that a config means. Built-in texts are fetched when they are not in the cache yet.

    Raises DataError for a path that is missing, unreadable, neither file nor folder, or has no text files, and for a
    file that is in two of the texts, or is learnt and validated on.
    """
    if cfg.source == "mix":
        found = _together([_of_name(source.path, cfg) for source in cfg.sources])
    else:
        found = _of_name(cfg.path or "" if cfg.source == "files" else cfg.source, cfg)
    if cfg.val_path is None:
        return found
    kept = _of_name(cfg.val_path, cfg)
    if twice := _in_both(found.files, kept.files):
        raise DataError(
            f"{twice} is in the text that is learnt and in the one that is validated on",
            where=f"data.val_path={cfg.val_path}",
            fix=[f"data.exclude=['{twice.name}'], if it is in a folder", "data.val_path=PATH of another text"],
        )
    notes = (*found.notes, *kept.notes, f"validated on {kept.label}")
    files, called = (*found.files, *kept.files), (*_called(found), *_called(kept))
    return Source(files, found.label, notes, found.parts, len(found.files), called)


def _called(source: Source) -> Iterator[str]:
    """The names of a source's files among those of others."""
    several = len(source.files) > 1 and not source.called
    yield from (f"{source.label}/{name}" if several else name for name in source.names)


def withheld(cfg: DataConfig, clean: CleanConfig) -> list[Source]:
    """The texts that nothing may be learnt of. Raises DataError as `find` does."""
    return [_of_name(name, cfg) for name in clean.decontaminate]


def _of_name(name: str, cfg: DataConfig) -> Source:
    """The files of a built-in text or of a path."""
    if name in _BUILT_IN:
        return Source((File(_BUILT_IN[name](), "text"),), name)
    return of_path(name, cfg.include, cfg.exclude)


def _together(sources: list[Source]) -> Source:
    """Several texts as one."""
    files: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()
    parts: list[int] = []
    called: list[str] = []
    for source in sources:
        if twice := _in_both(files, source.files):
            raise DataError(
                f"{twice} is in two of the texts", where="data.sources", fix="name it once, with the weight that it has"
            )
        parts.append(len(files))
        called += _called(source)
        files += source.files
        notes += source.notes
    return Source(files, " + ".join(source.label for source in sources), notes, tuple(parts), None, tuple(called))


def _in_both(some: Iterable[File], others: Iterable[File]) -> Path | None:
    """A file of `others` that is one of `some`, whatever it is called there."""
    known = {(s.st_dev, s.st_ino) for s in (file.path.stat() for file in some)}
    return next((f.path for f in others if ((s := f.path.stat()).st_dev, s.st_ino) in known), None)


def of_path(given: str, include: list[str], exclude: list[str]) -> Source:
    """The files of a file, a folder or a pattern such as notes/**/*.md."""
    path = Path(given).expanduser()
    label = path.absolute().name or str(path)
    try:
        if path.is_dir():
            return _of_folder(path, label, include, exclude)
        if path.is_file():
            return Source((File(path, *kind_of(path)),), label)
        if os.path.lexists(path):
            what = "leads nowhere" if path.is_symlink() else "is neither a file nor a folder"
            raise DataError(f"{path} {what}", fix="data=PATH (a text file, or a folder of them)")
        if glob.has_magic(given):
            return _of_pattern(path, label, exclude)
    except OSError as e:
        raise unreadable(e, path) from None
    raise _missing(path)


def kind_of(path: Path) -> tuple[str, str]:
    """The kind of a file and how it is packed, by its name; one that is asked for by name is text if nothing else."""
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    return KINDS.get(suffixes[-1] if suffixes else "", "text"), packed


def known(name: str) -> bool:
    """Whether a file of a folder, not hidden, is read though nobody named it. `name` may have folders before it."""
    suffixes = ["." + part for part in name.rpartition("/")[2].lower().split(".")[1:][-2:]]
    if len(suffixes) == 2 and suffixes[-1] in PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in KINDS


def _of_folder(folder: Path, label: str, include: list[str], exclude: list[str]) -> Source:
    names: list[str] = []
    others: list[str] = []
    broken = 0
    wanted = _matcher(include) if include else known
    unwanted = _matcher(exclude)
    for name, is_file, exists in _walked(folder):
        broken += not exists
        if is_file:
            (names if wanted(name) and not unwanted(name) else others).append(name)
    if not names:
        raise _without_text(folder, others, include)
    found = [folder / name for name in sorted(names, key=lambda name: name.split("/"))]
    kinds = Counter("".join(path.suffixes[-2:] if path.suffix in PACKED else [path.suffix]).lower() for path in found)
    shown = ", ".join(f"{n:,} {suffix or 'without a suffix'}" for suffix, n in kinds.most_common(8))
    note = f"{len(found):,} text files ({shown})"
    if others:
        note += f"; {len(others):,} other files are not read"
    if broken:
        note += f"; {broken:,} links lead nowhere"
    return Source(tuple(File(path, *kind_of(path)) for path in found), label, (note,))


def _walked(folder: Path) -> Iterator[tuple[str, bool, bool]]:
    """Everything below a folder that is no folder and not hidden: its path there, whether it is a file, and exists.

    Links to folders are not followed, so there are no loops. The folders themselves say what is in them: to ask for
    each file would take most of the time of a second preparation.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = below + entry.name
                if entry.is_symlink():
                    path = Path(entry.path)
                    if not path.is_dir():
                        yield name, path.is_file(), path.exists()
                elif entry.is_dir():
                    waiting.append(name + "/")
                else:
                    yield name, entry.is_file(), True


def _of_pattern(pattern: Path, label: str, exclude: list[str]) -> Source:
    matched = (Path(name) for name in glob.glob(str(pattern), recursive=True))
    unwanted = _matcher(exclude)
    found = sorted(p for p in matched if p.is_file() and not unwanted(p.as_posix()))
    if not found:
        raise DataError(
            f"no file matches {pattern}", fix="data=FOLDER reads every text file in it; ** stands for any folders"
        )
    return Source(tuple(File(p, *kind_of(p)) for p in found), label, (f"{len(found):,} files match {pattern}",))


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path within a folder, or its last part, matches any of the patterns."""
    compiled = [re.compile(fnmatch.translate(os.path.normcase(pattern))).match for pattern in patterns]

    def matches(name: str) -> bool:
        last = os.path.normcase(name[name.rfind("/") + 1 :])
        name = os.path.normcase(name)
        return any(match(name) or match(last) for match in compiled)

    return matches


def _without_text(folder: Path, others: list[str], include: list[str]) -> DataError:
    example = min(others, key=lambda name: name.split("/")) if others else None
    if include:
        return DataError(
            f"{folder} has no file that matches data.include={','.join(include)}",
            where=f"there are {len(others):,} others, such as {example}" if example else "it has no files",
            fix="data.include=['*.txt'], or leave it out",
        )
    if not example:
        return DataError(f"{folder} has no files", fix="data=PATH")
    suffix = Path(example).suffix or "*"
    return DataError(
        f"{folder} has no text files ({' '.join(PROSE)} …), only {len(others):,} others",
        fix=[
            f"data.include=['*{suffix}'] to read them as text",
            f"one file, whatever its name: data={folder / example}",
        ],
    )


def _missing(path: Path) -> DataError:
    parent = next(p for p in path.absolute().parents if p.is_dir())
    wanted = path.absolute().relative_to(parent).parts[0]
    near = difflib.get_close_matches(wanted, sorted(os.listdir(parent)), 1, 0.5)
    beside = parent if path.is_absolute() else Path(os.path.relpath(parent))
    return DataError(
        f"there is no file or folder {path}",
        where=f"the folder {parent} exists, {wanted} in it does not",
        fix=f"data={beside / near[0]}" if near else "data=PATH (a text file, or a folder of them)",
    )


def unreadable(error: OSError, path: Path) -> DataError:
    """The error for a file or folder that the system does not let us read."""
    return DataError(
        f"{error.filename or path} cannot be read: {error.strerror or error}",
        fix=["a file or folder that you may read: data=PATH", "data.on_error=skip (leave such files out)"],
    )
