"""The number formats in which a model is handed on, and whether its weights fit into them."""

import math

import torch

from gptforge.errors import CheckpointError, UsageError
from gptforge.model import Transformer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SCALES = {"q8_0": torch.float16}  # of formats that store blocks: a scale for each, 127 times smaller than a value
SHOWN = 3


def check_range(model: Transformer, dtype: str) -> None:
    """Raises UsageError with the tensors that have values beyond what a format can tell, CheckpointError with those
    that have any that are no numbers.

    float16 ends at 65,504; the scale of a block of q8_0 is one, too.
    """
    most = torch.finfo(DTYPES[dtype] if dtype in DTYPES else SCALES[dtype]).max * (1 if dtype in DTYPES else 127)
    largest = {name: float(tensor.detach().abs().max()) for name, tensor in model.state_dict().items()}
    broken = [name for name, value in largest.items() if not math.isfinite(value)]
    if broken:
        raise CheckpointError(f"{_listed(broken)}: there are values that are no numbers")
    found = [name for name, value in largest.items() if value > most]
    if found:
        what = f"{_listed(found)}: there are values beyond {most:,.0f}, the largest of {dtype}"
        raise UsageError(what, where=f"dtype={dtype}", fix="dtype=bfloat16, which has the range of float32")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
