"""What a user can set about models of other programs."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key

FREE = Resume.FREE


@dataclass(kw_only=True, slots=True)
class ImportConfig:
    """gptforge import"""

    source: str = key(
        "",
        "a directory of transformers, a .gguf file, ckpt.pt of nanoGPT, .bin of llama2.c, OWNER/NAME, or smollm2",
        resume=FREE,
        free_text=True,
    )
    tokenizer_path: str | None = key(
        None,
        "a tokenizer.json, gpt2, or nanoGPT's meta.pkl; null: what comes with the model",
        resume=FREE,
        free_text=True,
    )
    trust: bool = key(False, "open pickles, such as nanoGPT's, in a process of their own with bounds", resume=FREE)
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    """gptforge export"""

    ckpt: str = key("latest", "latest, best, RUN or CHECKPOINT", resume=FREE, free_text=True)
    format: str = key(
        "hf",
        "hf (transformers), gguf (llama.cpp), onnx (onnxruntime) or safetensors (our own names)",
        resume=FREE,
        choices=("hf", "gguf", "onnx", "safetensors"),
    )
    dtype: str = key(
        "float32",
        "number format of the weights (onnx: float32 alone); q8_0: eight bits, gguf alone",
        resume=FREE,
        choices=("float32", "bfloat16", "float16", "q8_0"),
    )
    out: str | None = key(None, "where it goes; null: export/NAME of the run", resume=FREE, free_text=True)

    def problems(self) -> Iterator[Problem]:
        if self.dtype == "q8_0" and self.format != "gguf":
            yield Problem("dtype", f"format={self.format} has no q8_0", "format=gguf, or dtype=bfloat16")
        elif self.dtype != "float32" and self.format == "onnx":
            yield Problem("dtype", f"format=onnx is written in float32, not in {self.dtype}", "dtype=float32")
