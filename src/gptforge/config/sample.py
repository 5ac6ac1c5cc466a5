"""What a user can set about writing text."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptforge.config.schema import Problem, Resume, key

FREE = Resume.FREE


@dataclass(kw_only=True, slots=True)
class SamplingConfig:
    """How text is drawn from the model."""

    max_new_tokens: int = key(500, "tokens to write", resume=FREE, ge=1)
    temperature: float = key(0.8, "randomness; 0: always the likeliest token", resume=FREE, ge=0)
    top_k: int | None = key(None, "draw among the k likeliest only", resume=FREE, ge=1)
    top_p: float | None = key(None, "draw among the likeliest that make up this probability", resume=FREE, gt=0, le=1)
    min_p: float | None = key(
        None, "leave out what is less likely than this share of the likeliest", resume=FREE, ge=0, le=1
    )
    repetition_penalty: float = key(1.0, "above 1: tokens already there become less likely", resume=FREE, gt=0)
    stop: list[str] = key([], "texts that end a sample, such as ['\\n\\n']", resume=FREE)
    num_samples: int = key(1, "samples of each prompt, computed in one batch", resume=FREE, ge=1)
    stream: bool | None = key(None, "show text as it is written; null: for a single sample", resume=FREE)
    lookup: int | None = key(
        None,
        "guess up to so many tokens from the text so far, and check them at once: the same text",
        resume=FREE,
        ge=1,
    )

    def problems(self) -> Iterator[Problem]:
        if "" in self.stop:
            yield Problem(
                "sample.stop", "sample.stop has an empty text, which would end every sample", "sample.stop=[]"
            )
        if self.stream and self.num_samples > 1:
            yield Problem("sample.stream", "sample.stream=true shows one sample only", "sample.num_samples=1")
        if self.lookup and self.num_samples > 1:
            yield Problem("sample.lookup", "sample.lookup guesses for one sample only", "sample.num_samples=1")


@dataclass(kw_only=True, slots=True)
class SampleTokenizerConfig:
    """The tokenizer is the checkpoint's."""

    unknown: str = key(
        "error",
        "a character that the vocabulary lacks: stop, leave it out, or put a stand-in",
        resume=FREE,
        choices=("error", "skip", "replace"),
    )
