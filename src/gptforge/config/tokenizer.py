"""What a user can set about looking at a tokenizer."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gptforge.config.clean import CleanConfig
from gptforge.config.data import DataConfig, TokenizerConfig
from gptforge.config.schema import Problem, Resume, key

FREE = Resume.FREE


@dataclass(kw_only=True, slots=True)
class TokenizerReportConfig:
    """gptforge tokenizer report"""

    ckpt: str | None = key(
        None, "the tokenizer of latest, best, RUN or CHECKPOINT; null: that of tokenizer=…", resume=FREE, free_text=True
    )
    data: DataConfig = field(default_factory=DataConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    text: str | None = key(
        None, "a text to show cut into tokens; null: where the validation part begins", resume=FREE, free_text=True
    )
    top: int = key(10, "how many of the longest and the most frequent tokens to show", resume=FREE, ge=0, le=1000)
    gpt2: bool = key(True, "compare with GPT-2's vocabulary, which is fetched once (0.6 MB)", resume=FREE)
    json: bool = key(False, "print JSON", resume=FREE)

    def problems(self) -> Iterator[Problem]:
        if self.ckpt and replace(self.tokenizer, unknown="error") != TokenizerConfig():
            what = f"with ckpt={self.ckpt} the tokenizer is the checkpoint's, not tokenizer={self.tokenizer.kind}"
            yield Problem("tokenizer.kind", what, "leave out ckpt=… or tokenizer=…")
