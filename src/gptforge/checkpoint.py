"""Checkpoints on disk: committed as a whole or not at all, checked before use, free of pickle.

A checkpoint is a directory checkpoints/step-000500/ that appears by one rename, after every file
and a manifest with their SHA-256 have been flushed to the disk. Knows files and bytes, and how
to rebuild a model for use; what a training state consists of is train/state.py's business.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptforge.config import TrainConfig
from gptforge.config.saved import load_config
from gptforge.durable import LITTER, sync_directory, write_text
from gptforge.errors import CheckpointError, ResourceError, from_os_error
from gptforge.jsonfile import DIGEST, digest_of, read_json, sealed
from gptforge.model import Transformer
from gptforge.runs import MANIFEST, Run, candidates
from gptforge.tensors import announced, read_tensors
from gptforge.tokenizers import Tokenizer, load_tokenizer

FORMAT = 1
MODEL = "model.safetensors"
SPARE = 16 * 2**20  # bytes that a disk should have left after a save


def commit(run: Run, step: int, files: Mapping[str, bytes]) -> Path:
    """Writes a checkpoint so that it is there completely or not at all. Returns its directory.

    Raises ResourceError when the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    target = run.checkpoint(step)
    temporary = target.with_name(f".tmp-{target.name}-{os.getpid()}")
    try:
        run.checkpoints.mkdir(exist_ok=True)
        if not run.steps():
            sync_directory(run.path)  # checkpoints/ itself, and the metrics that the checkpoint counts on
        _check_space(run.checkpoints, sum(map(len, files.values())))
        temporary.mkdir()
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _write_synced(temporary / MANIFEST, manifest(step, files))
        sync_directory(temporary)
        os.rename(temporary, target)
        sync_directory(run.checkpoints)
    except OSError as e:
        raise from_os_error(e, f"checkpoint step {step} cannot be written") from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def point(run: Run, name: str, step: int) -> None:
    """Moves checkpoints/latest or checkpoints/best to a committed step, before the one it named may be removed."""
    try:
        write_text(run.checkpoints / name, run.checkpoint(step).name + "\n")
        sync_directory(run.checkpoints)
    except OSError as e:
        raise from_os_error(e, f"the pointer to the {name} checkpoint cannot be written") from e


def rotate(run: Run, keep: int, also: int | None = None) -> None:
    """Removes all but the newest `keep` checkpoints, the best one, and that of the step `also`."""
    spared = {*run.steps()[-keep:], run.pointer("best"), also}
    for step in run.steps():
        if step not in spared:
            remove(run.checkpoint(step))


def remove(checkpoint: Path) -> None:
    """Removes a checkpoint: first its name, so that half a one is never seen."""
    trash = checkpoint.with_name(f".trash-{checkpoint.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        os.rename(checkpoint, trash)
        shutil.rmtree(trash, ignore_errors=True)


def sweep_litter(run: Run) -> None:
    """Removes what writes that were killed have left. Only for the holder of the run's lock."""
    for path in [*run.checkpoints.glob(".trash-*"), *run.checkpoints.glob(LITTER), *run.path.glob(LITTER)]:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def set_aside(run: Run, after: int) -> Path | None:
    """Moves checkpoints beyond a step away, when a run goes on from an earlier one; returns where to."""
    later = [step for step in run.steps() if step > after]
    taken = [int(p.name[10:]) for p in run.checkpoints.glob("set-aside-*") if p.name[10:].isdigit()]
    aside = run.checkpoints / f"set-aside-{max(taken, default=0) + 1}"
    try:
        if (best := run.pointer("best")) is not None and best > after:
            (run.checkpoints / "best").unlink()  # first, so that it never names what is not there
        if not later:
            return None
        aside.mkdir()
        for step in later:
            os.rename(run.checkpoint(step), aside / run.checkpoint(step).name)
    except OSError as e:
        raise from_os_error(e, "later checkpoints cannot be moved aside") from e
    return aside


# Reading ---------------------------------------------------------------------


def verify(checkpoint: Path) -> None:
    """Raises CheckpointError unless every byte of a checkpoint is what was written."""
    _refuse_strangers(checkpoint)
    for name, expected in digests(checkpoint).items():
        path = checkpoint / name
        try:
            with open(path, "rb") as f:
                found = hashlib.file_digest(f, "sha256").hexdigest()
        except FileNotFoundError:
            raise CheckpointError("a file of the checkpoint is missing", where=str(path)) from None
        except (OSError, ValueError) as e:  # ValueError: a name with a NUL
            reason = getattr(e, "strerror", None) or e
            raise CheckpointError(f"a file of the checkpoint cannot be read: {reason}", where=str(path)) from None
        if found != expected:
            raise _damaged("a file of the checkpoint", found, expected, path)


def digests(checkpoint: Path) -> dict[str, str]:
    """The SHA-256 of each file by a checkpoint's manifest. Raises CheckpointError unless that is what was written."""
    path = checkpoint / MANIFEST
    held = read_json(path, "the checkpoint's manifest")
    if held.get("format") != FORMAT:
        raise CheckpointError(
            f"its format is {held.get('format')!r}, this gptforge reads {FORMAT}",
            where=str(path),
            fix="use the gptforge that wrote it (its version is in the run's env.json)",
        )
    if held.get(DIGEST) != (digest := digest_of(held)):
        raise _damaged("its manifest", digest, str(held.get(DIGEST)), path)
    found, written = (hashlib.sha256(b).hexdigest() for b in (path.read_bytes(), json_bytes(held)))
    if found != written:  # in white space, which its digest is blind to
        raise _damaged("its manifest", found, written, path)
    try:
        step, files = held["step"], {Path(name).name: str(e["sha256"]) for name, e in held["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError("its manifest is not complete", where=str(path)) from None
    if not isinstance(step, int):
        raise CheckpointError("its manifest has no step", where=str(path))
    if f"step-{step:06d}" != checkpoint.name:
        raise CheckpointError(f"it holds step {step}, which is not its name", where=str(path))
    return files


def _damaged(what: str, found: str, written: str, path: Path) -> CheckpointError:
    return CheckpointError(f"{what} is damaged: sha256 {found[:16]}…, written was {written[:16]}…", where=str(path))


def _refuse_strangers(checkpoint: Path) -> None:
    """Raises CheckpointError where a name is a link, which may lead anywhere, or a pipe or device, which has no end."""
    try:
        with os.scandir(checkpoint) as entries:
            strange = next((e.name for e in entries if e.is_symlink() or not (e.is_file() or e.is_dir())), None)
    except OSError as e:
        raise CheckpointError(f"the checkpoint cannot be read: {e.strerror}", where=str(checkpoint)) from None
    if strange is not None:
        raise CheckpointError(f"{strange} in it is a link or no plain file", where=str(checkpoint))


def first_sound(paths: list[Path]) -> tuple[Path, list[str]]:
    """The first checkpoint that verifies, and a warning for each that did not. Raises CheckpointError if none does."""
    warnings: list[str] = []
    for path in paths:
        try:
            verify(path)
        except CheckpointError as e:
            if len(paths) == 1:
                raise
            warnings.append(f"{e.what} ({e.where}); passed over for the one before")
            continue
        return path, warnings
    raise CheckpointError("no checkpoint is sound", where=warnings[-1], fix="train anew")


def newest_sound(run: Run, last: int) -> Path | None:
    """The newest checkpoint up to step `last` that verifies; None if there is none."""
    for step in reversed([step for step in run.steps() if step <= last]):
        with contextlib.suppress(CheckpointError):
            verify(run.checkpoint(step))
            return run.checkpoint(step)
    return None


def to_go_on_from(text: str) -> tuple[Run, Path | None, list[str]]:
    """The run that resume=`text` means, the checkpoint it goes on from, and warnings. Raises CheckpointError."""
    run = Run.find(text)
    with run.locked():
        pass  # a run that still trains is refused before its checkpoints are looked at
    if not run.steps():
        return run, None, ["it has no checkpoint yet and begins anew"]
    return run, *first_sound(candidates(text))


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over names, shapes, types and values of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A trained model ready for use. `warnings` tells of damaged checkpoints that were passed over."""

    model: Transformer
    tokenizer: Tokenizer
    config: TrainConfig
    path: Path
    step: int
    warnings: list[str]


def load_model(text: str, device: torch.device | None = None, unknown: str = "error") -> Loaded:
    """The model, tokenizer and config of `latest`, `best`, a run or a checkpoint. Raises CheckpointError."""
    path, warnings = first_sound(candidates(text))
    config = load_config(TrainConfig, path / "config.json")
    tokenizer = load_tokenizer(path, unknown)
    weights = path / MODEL
    if (count := len(announced(weights))) < config.model.n_layer:  # before so many layers are made
        what = f"{count} tensors are too few for the {config.model.n_layer} layers of its config"
        raise CheckpointError(what, where=str(weights))
    with torch.device("meta"):
        model = Transformer(config.model, tokenizer.vocab_size)
    load_weights(model, path)
    model.to(device or torch.device("cpu")).eval()
    return Loaded(model, tokenizer, config, path, int(path.name.removeprefix("step-")), warnings)


def same_tokens(one: Loaded, other: Loaded) -> None:
    """Raises CheckpointError unless a token means the same to both models."""
    if one.tokenizer.fingerprint != other.tokenizer.fingerprint:
        told = [f"{each.tokenizer.kind}, {each.tokenizer.vocab_size:,} tokens" for each in (one, other)]
        what = f"its tokenizer ({told[0]}) is not that of the other model ({told[1]})"
        raise CheckpointError(what, where=str(one.path), fix="a model that was trained with the same tokenizer")


def load_weights(model: nn.Module, checkpoint: Path, file: str = MODEL) -> None:
    """Puts a checkpoint's weights into a model, which may be on the meta device."""
    load_tensors(model, read_tensors(checkpoint / file), str(checkpoint / file))


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """The same of tensors by name. Raises CheckpointError unless they are those of the model, in shape and type."""
    # The dtype too, without torch's prefix: in a model on the meta device a tensor stays what it is
    expected = {name: (tuple(t.shape), str(t.dtype)[6:]) for name, t in model.state_dict().items()}
    found = {name: (tuple(t.shape), str(t.dtype)[6:]) for name, t in tensors.items()}
    if expected != found:
        names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        name = names[0]
        raise CheckpointError(
            f"{len(names)} tensors do not fit the model, such as {name}: "
            f"{_named(found.get(name), 'missing')}, the model has {_named(expected.get(name), 'none')}",
            where=where,
        )
    assign = any(p.is_meta for p in model.parameters())
    model.load_state_dict(tensors, assign=assign)


def _named(tensor: tuple[tuple[int, ...], str] | None, otherwise: str) -> str:
    return f"{tensor[0]} of {tensor[1]}" if tensor else otherwise


# Parts -----------------------------------------------------------------------


def manifest(step: int, files: Mapping[str, bytes]) -> bytes:
    """MANIFEST.json: size and SHA-256 of each file, and a digest of itself."""
    held: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "files": {name: {"size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in files.items()},
    }
    return json_bytes(sealed(held))


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "xb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise ResourceError(
            f"the disk has {free // 2**20} MB left, a checkpoint needs {(size + SPARE) // 2**20} MB",
            where=str(folder),
            fix=["free some space; earlier checkpoints are sound", "checkpoint.keep=1 keeps fewer"],
        )
