"""What a user can set: one dataclass file per group of conf/, one root per command. No torch, no hydra.

A config is read-only by agreement; values that follow from others are properties or arguments,
and automatic ones stay null (what was decided is in a run's decisions.json).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.config.eval import EvalDataConfig, EvalTextConfig
from gptforge.config.interop import ExportConfig, ImportConfig
from gptforge.config.loop import CheckpointConfig, EvalConfig, LogConfig, LoopConfig
from gptforge.config.model import ModelConfig
from gptforge.config.objective import MLM, ObjectiveConfig
from gptforge.config.optim import OptimizerConfig, ScheduleConfig
from gptforge.config.parallel import ParallelConfig
from gptforge.config.report import ReportConfig
from gptforge.config.runs import (
    CompareConfig,
    RunsConfig,
    RunsExportConfig,
    RunsPruneConfig,
    RunsRmConfig,
    RunsTagConfig,
    ShowConfig,
)
from gptforge.config.runtime import RuntimeConfig
from gptforge.config.sample import SampleTokenizerConfig, SamplingConfig
from gptforge.config.schema import MISSING, Problem, Resume, key, shown
from gptforge.config.sweep import SweepConfig
from gptforge.config.tokenizer import TokenizerReportConfig

SCHEMA_VERSION = 1
UI = ("auto", "rich", "plain", "json", "quiet")


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """gptforge train"""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    sample: SamplingConfig = field(default_factory=SamplingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    seed: int = key(
        1337, "of initial weights, data order, dropout and samples", resume=Resume.REFUSE, ge=0, le=2**63 - 1
    )
    init: str | None = key(
        None,
        "begin with the weights and tokenizer of: latest, best, RUN, CHECKPOINT, or what gptforge import takes",
        resume=Resume.REFUSE,
        free_text=True,
    )
    resume: str | None = key(None, "go on with a run: latest, RUN or CHECKPOINT", resume=Resume.FREE, free_text=True)
    resume_allow: list[str] = key([], "keys that may differ from the run that is continued", resume=Resume.FREE)
    prompt: str = key("\n", "how the samples of a run begin", resume=Resume.FREE, free_text=True)
    ui: str = key(
        "auto", "what the terminal shows; auto: rich on a terminal, else plain", resume=Resume.FREE, choices=UI
    )
    tracker: list[str] = key(
        [], "where numbers and samples go too: tensorboard, wandb, mlflow, trackio", resume=Resume.FREE
    )
    dry_run: bool = key(False, "show what would run and why, then stop", resume=Resume.FREE)

    def problems(self) -> Iterator[Problem]:
        yield from self.clean.split_problems(self.data.split)
        causal, masked = self.model.attention.causal, self.objective.kind == MLM
        if causal and masked:
            what = "objective=mlm finds tokens by those on both sides, of which model.attention.causal=true sees one"
            yield Problem("model.attention.causal", what, "model.attention.causal=false")
        if not causal and not masked:
            what = "model.attention.causal=false sees the next token, so there is nothing to learn of it"
            yield Problem("model.attention.causal", what, "objective=mlm, or model.attention.causal=true")
        if self.resume_allow and not self.resume:
            yield Problem("resume_allow", "resume_allow is used only with resume=…", "resume=latest")
        if self.parallel.kind == "ddp" and self.runtime.device == "mps":
            yield Problem("runtime.device", "several processes cannot share the GPU of a Mac", "runtime.device=cpu")
        if processes := self.parallel.processes:
            yield from self.train.share_problems(processes)


@dataclass(kw_only=True, slots=True)
class InfoConfig(TrainConfig):
    """gptforge info"""

    vocab_size: int | None = key(None, "count with this vocabulary; null: the data's own", resume=Resume.FREE, ge=1)
    json: bool = key(False, "print JSON", resume=Resume.FREE)


REPORTS = ("report.html", "report.json")  # of data, in a folder


@dataclass(kw_only=True, slots=True)
class PrepareConfig:
    """gptforge prepare"""

    data: DataConfig = field(default_factory=DataConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    dry: bool = key(False, "show what cleaning would change and leave out, and store nothing", resume=Resume.FREE)
    out: str | None = key(
        None, "where the report goes too: FILE.html, FILE.json, or FOLDER/ for both", resume=Resume.FREE, free_text=True
    )
    json: bool = key(False, "print JSON", resume=Resume.FREE)
    ui: str = key("auto", "quiet or json: no progress", resume=Resume.FREE, choices=UI)

    @property
    def reports(self) -> list[Path]:
        """The files that `out` means; none where it is not given, or is no name of a report."""
        if not self.out:
            return []
        path = Path(self.out).expanduser()
        if not path.suffix or self.out.endswith(("/", os.sep)):
            return [path / name for name in REPORTS]
        return [path] if path.suffix.lower() in {Path(name).suffix for name in REPORTS} else []

    def problems(self) -> Iterator[Problem]:
        yield from self.clean.split_problems(self.data.split)
        if self.out and not self.reports:
            name = shown(self.out)
            message = f"out={name} is neither a page (.html), nor JSON (.json), nor a folder for both (FOLDER/)"
            yield Problem("out", message, f"out={shown(Path(self.out).with_suffix('.html').as_posix())} or out={name}/")


@dataclass(kw_only=True, slots=True)
class SampleConfig:
    """gptforge sample"""

    ckpt: str = key("latest", "latest, best, RUN or CHECKPOINT", resume=Resume.FREE, free_text=True)
    prompt: str | None = key(None, "how the text begins; null: a line break", resume=Resume.FREE, free_text=True)
    prompt_file: str | None = key(
        None, "a file with one prompt a line; - reads one prompt from stdin", resume=Resume.FREE, free_text=True
    )
    weights: str | None = key(
        None,
        "int8: round matrices to 8 bits a weight, which reads faster; null: as runtime.dtype says",
        resume=Resume.FREE,
        choices=("int8",),
    )
    draft: str | None = key(
        None,
        "a smaller model with the same tokenizer that guesses ahead, for the same text sooner: RUN or CHECKPOINT",
        resume=Resume.FREE,
        free_text=True,
    )
    draft_tokens: int = key(4, "how many tokens it guesses at once", resume=Resume.FREE, ge=1, le=64)
    sample: SamplingConfig = field(default_factory=SamplingConfig)
    tokenizer: SampleTokenizerConfig = field(default_factory=SampleTokenizerConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    seed: int = key(1337, "same seed, same text", resume=Resume.FREE, ge=0, le=2**63 - 1)
    json: bool = key(False, "print one JSON object a sample", resume=Resume.FREE)

    def problems(self) -> Iterator[Problem]:
        if self.prompt is not None and self.prompt_file is not None:
            yield Problem("prompt_file", "give prompt or prompt_file, not both", "prompt_file=null")
        if self.draft is not None and self.sample.num_samples > 1:
            yield Problem("draft", "a draft model guesses for one sample only", "sample.num_samples=1")
        if self.draft is not None and self.sample.lookup:
            yield Problem("draft", "draft and sample.lookup both guess ahead: give one of them", "sample.lookup=null")


@dataclass(kw_only=True, slots=True)
class DoctorConfig:
    """gptforge doctor"""

    json: bool = key(False, "print JSON", resume=Resume.FREE)


@dataclass(kw_only=True, slots=True)
class ReproduceConfig:
    """gptforge reproduce"""

    run: str = key("latest", "the run: latest, a name below runs/, or a path", resume=Resume.FREE, free_text=True)
    ui: str = key("auto", "what the terminal shows meanwhile, as in gptforge train", resume=Resume.FREE, choices=UI)
    json: bool = key(False, "print JSON", resume=Resume.FREE)


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "prepare": PrepareConfig,
    "sample": SampleConfig,
    "eval": EvalTextConfig,
    "info": InfoConfig,
    "tokenizer report": TokenizerReportConfig,
    "runs": RunsConfig,
    "runs rm": RunsRmConfig,
    "runs tag": RunsTagConfig,
    "runs prune": RunsPruneConfig,
    "show": ShowConfig,
    "compare": CompareConfig,
    "reproduce": ReproduceConfig,
    "report": ReportConfig,
    "runs export": RunsExportConfig,
    "import": ImportConfig,
    "export": ExportConfig,
    "doctor": DoctorConfig,
}

__all__ = [
    "MISSING", "SCHEMAS", "SCHEMA_VERSION", "CheckpointConfig", "CleanConfig", "CompareConfig", "DataConfig",
    "DoctorConfig", "EvalConfig", "EvalDataConfig", "EvalTextConfig", "ExportConfig", "ImportConfig", "InfoConfig",
    "LogConfig", "LoopConfig", "ModelConfig", "ObjectiveConfig", "OptimizerConfig", "ParallelConfig", "PrepareConfig",
    "ReportConfig", "ReproduceConfig", "RunsConfig", "RunsExportConfig", "RunsPruneConfig", "RunsRmConfig",
    "RunsTagConfig", "RuntimeConfig", "SampleConfig", "SampleTokenizerConfig", "SamplingConfig", "ScheduleConfig",
    "ShowConfig", "SweepConfig", "TokenizerConfig", "TokenizerReportConfig", "TrainConfig",
]  # fmt: skip
