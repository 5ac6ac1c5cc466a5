"""A trained model as an ONNX file for onnxruntime and others, run there before it gets its name.

torch's exporter writes down what the model does (extra `onnx`); knows which lengths it must then be right at.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptforge.checkpoint import Loaded
from gptforge.durable import write, write_text
from gptforge.errors import CheckpointError, ConfigError, missing_extra
from gptforge.interop import tokenizer_json
from gptforge.interop.directory import TEMPLATE
from gptforge.interop.place import placed, refuse_existing
from gptforge.interop.precision import check_range
from gptforge.model import Transformer

FILE, DATA = "model.onnx", "model.onnx.data"
OPSET = 18  # of onnxruntime 1.14 (2023) and later
MOST_BYTES = 2**31 - 2**24  # of weights in one file, which is a protobuf; those of larger models are in one beside it
LENGTHS = (1, 2, 7, 64, 255)  # at which both must agree, and one past a window
TOLERANCE = 1e-4  # of the largest logit


class _Logits(nn.Module):
    """The model with one input alone, whose shape may be any."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids)


def to_directory(loaded: Loaded, out: Path) -> None:
    """Writes model.onnx, of token ids (batch, length) to logits (batch, length, vocabulary), and tokenizer.json.

    Raises UsageError for a directory that is there, ConfigError for a model that ONNX cannot express, ResourceError,
    CheckpointError if onnxruntime computes something else.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise missing_extra("onnx", "format=onnx") from None
    refuse_existing(out, folder=True)
    check_range(loaded.model, "float32")
    program = traced(loaded.model)
    with placed(out, folder=True) as path:
        if sum(tensor.nbytes for tensor in loaded.model.state_dict().values()) < MOST_BYTES:
            write(path / FILE, program.model_proto.SerializeToString())
        else:
            program.save(path / FILE, external_data=True)
        write_text(path / "tokenizer.json", json.dumps(tokenizer_json.of(loaded.tokenizer), ensure_ascii=False) + "\n")
        if (template := loaded.path / TEMPLATE).exists():
            write(path / TEMPLATE, template.read_bytes())
        _check(loaded.model, path / FILE)


def traced(model: Transformer) -> Any:
    """What the model does, as an ONNXProgram. Raises ConfigError with the part that cannot be written down."""
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.cfg.block_size)}
    example = torch.zeros(2, min(7, model.cfg.block_size), dtype=torch.int64)
    logging.disable(logging.WARNING)  # the exporter speaks of packages that it does not need
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Logits(model).eval(), (example,), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=["input_ids"], output_names=["logits"], dynamic_shapes={"input_ids": shape},
            )  # fmt: skip
    except Exception as e:  # it fails in as many ways as there are operations
        first = next(iter(str(_cause(e)).strip().splitlines()), type(e).__name__)
        part = _part(e)
        raise ConfigError(f"ONNX cannot express this model's {part}: {first}", fix="format=safetensors") from e
    finally:
        logging.disable(logging.NOTSET)
    assert program is not None
    return program


def _check(model: Transformer, file: Path) -> None:
    """Raises CheckpointError unless onnxruntime gives the model's logits, also at lengths that it was not traced at."""
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    window = model.cfg.attention.window
    generator = torch.Generator().manual_seed(0)
    for n, length in enumerate(sorted({min(x, model.cfg.block_size) for x in (*LENGTHS, 2 * (window or 1))})):
        tokens = torch.randint(model.vocab_size, (1 + n % 3, length), generator=generator)
        with torch.inference_mode():
            wanted = model(tokens)
        found = torch.from_numpy(session.run(None, {"input_ids": tokens.numpy()})[0])
        if not float((found - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max()):
            what = f"onnxruntime computes other logits for {length} tokens than the model in memory"
            raise CheckpointError(what, where=str(file))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came of, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _cause(error: BaseException) -> BaseException:
    return list(_causes(error))[-1]


def _part(error: BaseException) -> str:
    """The kind of the innermost module of ours in which it happened."""
    found = "graph"
    for cause in _causes(error):
        trace = cause.__traceback__
        while trace is not None:
            module = trace.tb_frame.f_locals.get("self")
            if isinstance(module, nn.Module) and type(module).__module__.startswith("gptforge.model"):
                found = type(module).__name__
            trace = trace.tb_next
    return found
