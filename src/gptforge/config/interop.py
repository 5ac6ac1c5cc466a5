"""What a user can set about models of other programs."""

from dataclasses import dataclass

from gptforge.config.schema import Resume, key

FREE = Resume.FREE


@dataclass(kw_only=True, slots=True)
class ImportConfig:
    """gptforge import"""

    source: str = key(
        "", "a directory of transformers, a .gguf file, or smollm2, which is fetched", resume=FREE, free_text=True
    )
    tokenizer: str | None = key(
        None, "a tokenizer.json, or a folder with one; null: what comes with the model", resume=FREE, free_text=True
    )
    json: bool = key(False, "print JSON", resume=FREE)


@dataclass(kw_only=True, slots=True)
class ExportConfig:
    """gptforge export"""

    ckpt: str = key("latest", "latest, best, RUN or CHECKPOINT", resume=FREE, free_text=True)
    format: str = key("hf", "hf: a directory that transformers loads", resume=FREE, choices=("hf",))
    dtype: str = key("float32", "number format of the weights", resume=FREE, choices=("float32", "bfloat16", "float16"))
    out: str | None = key(None, "where it goes; null: export/NAME of the run", resume=FREE, free_text=True)
