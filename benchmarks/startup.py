"""How long one waits: for help, for an error, for the first step, for the first character.

    python benchmarks/startup.py [--quick] [--rounds N] [--out FILE]

Whole processes in turn, their start included; importing torch alone, and the model class of transformers, are the
yardsticks. The text is made up and its tokens are stored already, as in every run but the first.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import alternate, finish, median, options, ratios, row, say
from processes import gptforge, python, seconds, seconds_to_line, seconds_to_output
from text import write_text

TORCH = "import torch"
TRANSFORMERS = "import transformers' GPT2LMHeadModel"
PROMPT = "the "
SHORT = ["data=text.txt", "ui=quiet", "train.steps=1", "log.every=1", "sample.max_new_tokens=1"]


def first_step(words: list[str]) -> float:
    """Until the first step's record is in the run's metrics."""
    shutil.rmtree("step", ignore_errors=True)
    command = gptforge("train", *SHORT, "hydra.run.dir=step", *words)
    return seconds_to_line(command, Path("step", "metrics.jsonl"), "train_loss")


def first_character(run: str) -> float:
    """Until the first character after the prompt."""
    command = gptforge("sample", f"ckpt={run}", f"prompt={PROMPT}", "sample.max_new_tokens=4")
    return seconds_to_output(command, len(PROMPT) + 1)


def main() -> None:
    found = options("startup", __doc__ or "")
    small = ["model=tiny"] if found.quick else []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GPTFORGE_CACHE"] = str(Path(folder, "cache"))
        write_text(Path("text.txt"), 100_000)
        say("training the model that writes")
        seconds(gptforge("train", *SHORT, "hydra.run.dir=model", *small))
        tasks: dict[str, Callable[[], float]] = {
            TORCH: lambda: seconds(python("import torch")),
            TRANSFORMERS: lambda: seconds(python("from transformers import GPT2LMHeadModel")),
            "gptforge --help": lambda: seconds(gptforge("--help")),
            "gptforge train --help": lambda: seconds(gptforge("train", "--help")),
            "a config error": lambda: seconds(gptforge("train", "optimizer.lr=fast"), expected=2),
            "the first step": lambda: first_step(small),
            "the first character of a text": lambda: first_character("model"),
        }
        measured = alternate(tasks, found.rounds)
    rows = [row(name, "s", values) for name, values in measured.items()]
    for name in list(tasks)[2:]:
        detail = f"{median(measured[name]):.2f} s against {median(measured[TORCH]):.2f} s"
        rows.append(row(f"{name} / {TORCH}", "x", ratios(measured[name], measured[TORCH]), None, detail))
    finish("startup", "Waiting", rows, [], found)


if __name__ == "__main__":
    main()
