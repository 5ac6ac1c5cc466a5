"""The child process that opens a pickle which somebody has said to trust: python -m gptforge.interop.unpickle IN OUT.

A pickle can name any function to be called. Here torch's reader of weights alone is used, which calls none but those
that make tensors; should there be a way around it, it is in a process with little memory and time, which leaves
tensors and JSON and nothing else. Knows neither models nor what is done with what it leaves.
"""

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SECONDS, SPARE_BYTES, FACTOR = 600, 2 << 30, 4  # of time; of memory, and so many times the file's size
TENSORS, VALUES = "tensors.safetensors", "values.json"


def main() -> int:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    limit(source.stat().st_size)
    try:
        held = read(source)
    except Exception as e:  # pickles fail in as many ways as there are
        print(f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:300], file=sys.stderr)
        return 1
    tensors: dict[str, Tensor] = {}
    values = plain(held, "", tensors)
    save_file(tensors, folder / TENSORS)
    (folder / VALUES).write_text(json.dumps(values), encoding="utf-8")
    return 0


def read(source: Path) -> Any:
    """What torch has saved, or a pickle of texts, numbers, lists and tables alone."""
    if zipfile.is_zipfile(source):
        return torch.load(source, map_location="cpu", weights_only=True)
    with source.open("rb") as file:
        return Plain(file).load()


class Plain(pickle.Unpickler):
    """A reader of pickles that finds no class and no function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def limit(size: int) -> None:
    """Bounds what this process may use; Windows has no such bounds."""
    try:
        import resource
    except ImportError:
        return
    most = SPARE_BYTES + FACTOR * size
    for kind, bound in ((resource.RLIMIT_DATA, most), (resource.RLIMIT_CPU, SECONDS)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (bound if hard < 0 else min(bound, hard), hard))


def plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON has it; tensors are put aside under their dotted names."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().clone().contiguous()
        return None
    if isinstance(value, dict):
        return {str(k): plain(v, f"{name}.{k}" if name else str(k), tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, f"{name}.{n}", tensors) for n, v in enumerate(value)]
    return value if isinstance(value, str | int | float | bool | None) else None


if __name__ == "__main__":
    sys.exit(main())
