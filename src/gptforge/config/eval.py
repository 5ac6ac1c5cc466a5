"""What a user can set about evaluating a trained model on a text."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from gptforge.config.data import PACKS, SOURCES, DataConfig
from gptforge.config.runtime import RuntimeConfig
from gptforge.config.sample import SampleTokenizerConfig
from gptforge.config.schema import Problem, Resume, default_of, key

FREE = Resume.FREE
FOR_TASKS = ("num_fewshot", "limit")
FOR_TEXTS = ("data", "split", "stride", "passages", "confidence", "baselines", "ngram_order", "baseline_tokens")


@dataclass(kw_only=True, slots=True)
class EvalDataConfig(DataConfig):
    """The text that is predicted; without data=… the text that the checkpoint was trained on."""

    # Unlike in training these may be null; `as_learnt` fills them in before anything is read.
    source: str | None = key(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, "a built-in text, or files; null: the checkpoint's own text", resume=FREE, choices=SOURCES
    )
    val_fraction: float | None = key(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, "share of the text, at its end, that split=val is; null: as in training", resume=FREE, gt=0, lt=1
    )
    pack: str | None = key(  # pyright: ignore[reportIncompatibleVariableOverride]
        None,
        "what a token sees: the text before it, or its own document; null: as in training",
        resume=FREE,
        choices=PACKS,
    )

    def problems(self) -> Iterator[Problem]:
        if self.source is not None:
            yield from DataConfig.problems(self)
            return
        for f in fields(self):
            if getattr(self, f.name) != default_of(f):
                what = f"data.{f.name} is used only with data=…: without it the text is the checkpoint's own"
                yield Problem(f"data.{f.name}", what, "data=PATH")


@dataclass(kw_only=True, slots=True)
class EvalTextConfig:
    """gptforge eval"""

    ckpt: str = key("latest", "latest, best, RUN or CHECKPOINT", resume=FREE, free_text=True)
    weights: str | None = key(
        None,
        "int8: round matrices to 8 bits a weight, and on a text say what that costs; null: as they are",
        resume=FREE,
        choices=("int8",),
    )
    tasks: list[str] = key(
        [],
        "in place of a text: tasks of the lm-evaluation-harness, by name, or YAML files and folders of them",
        resume=FREE,
    )
    num_fewshot: int | None = key(
        None, "solved examples before each question of a task; null: as the task has it", resume=FREE, ge=0
    )
    limit: int | None = key(None, "so many examples of each task; null: all", resume=FREE, ge=1)
    data: EvalDataConfig = field(default_factory=EvalDataConfig)
    split: str | None = key(
        None,
        "which part of the text; null: val of the checkpoint's own text, all of another",
        resume=FREE,
        choices=("val", "train", "all"),
    )
    stride: int | None = key(
        None, "tokens from window to window: fewer give each token more context; null: block_size", resume=FREE, ge=1
    )
    batch_size: int | None = key(
        None,
        "windows, or requests of tasks, at once; changes speed and memory, not the numbers; null: what fits",
        resume=FREE,
        ge=1,
    )
    passages: int = key(3, "how many of the worst and of the best passages to show", resume=FREE, ge=0, le=100)
    resamples: int = key(
        1000,
        "how often documents are drawn for the intervals, or a task's examples (bootstrap); 0: none",
        resume=FREE,
        ge=0,
        le=100_000,
    )
    confidence: float = key(0.95, "how often such an interval holds the true number", resume=FREE, gt=0, lt=1)
    seed: int = key(1337, "of the intervals, and of texts that are drawn for tasks", resume=FREE, ge=0, le=2**63 - 1)
    baselines: bool = key(True, "compare with simple predictors: uniform, unigram, n-gram, gzip, xz", resume=FREE)
    ngram_order: int | None = key(
        None, "tokens in an n-gram; null: 5, or 3 where tokens are longer than characters", resume=FREE, ge=1, le=12
    )
    baseline_tokens: int = key(
        5_000_000, "baselines learn from so many of the last training tokens; memory grows with it", resume=FREE, ge=1
    )
    out: str | None = key(
        None, "where the JSON goes, a file or a folder; null: into the run", resume=FREE, free_text=True
    )
    json: bool = key(False, "print JSON", resume=FREE)
    tokenizer: SampleTokenizerConfig = field(default_factory=SampleTokenizerConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def problems(self) -> Iterator[Problem]:
        if "" in self.tasks:
            yield Problem("tasks", "tasks has an empty name", "tasks=[NAME,path/to/task.yaml]")
        given = [name for name in (FOR_TASKS if not self.tasks else FOR_TEXTS) if _is_given(self, name)]
        for name in given:
            what = "without tasks=…" if self.tasks else "with tasks=…"
            why = "tasks bring their own texts" if self.tasks else "a text has no examples"
            yield Problem(name, f"{name} is used only {what}: {why}", "tasks=[NAME]" if not self.tasks else "")


def _is_given(cfg: EvalTextConfig, name: str) -> bool:
    if name == "data":
        return cfg.data.source is not None
    return getattr(cfg, name) != default_of(next(f for f in fields(cfg) if f.name == name))
