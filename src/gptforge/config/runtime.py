"""What a user can set about the machine. null means: chosen by what is found, and said."""

from dataclasses import dataclass

from gptforge.config.schema import Resume, key


@dataclass(kw_only=True, slots=True)
class RuntimeConfig:
    """The machine."""

    device: str | None = key(
        None, "where to compute; null: the best there is", resume=Resume.ALLOW, choices=("cpu", "cuda", "mps")
    )
    dtype: str | None = key(
        None,
        "number format of matrix products; null: bfloat16 where the hardware has it",
        resume=Resume.UNLESS_ALLOWED,
        choices=("float32", "bfloat16"),
    )
    compile: bool | None = key(
        None,
        "torch.compile, null: for trainings that are long enough; sample on a CPU: C code, null: where it compiles",
        resume=Resume.ALLOW,
    )
    threads: int | None = key(None, "CPU threads; null: one a core", resume=Resume.ALLOW, ge=1)
    allocator: bool | None = key(
        None, "keep freed memory instead of returning it; null: with glibc", resume=Resume.FREE
    )
    tf32: bool | None = key(None, "TF32 for float32 products on CUDA; null: beside bfloat16", resume=Resume.ALLOW)
    deterministic: bool = key(False, "refuse operations without a deterministic form", resume=Resume.ALLOW)
