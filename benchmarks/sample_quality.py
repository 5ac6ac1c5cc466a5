"""What a trained model writes: share of real words, speaker lines, and the longest passage copied from its text.

python benchmarks/sample_quality.py [RUN] [CHARACTERS]
"""

import json
import re
import subprocess
import sys

from gptforge import assets

WORD = re.compile(r"[A-Za-z']+")
SPEAKER = re.compile(r"^[A-Z][A-Za-z ]*:$", re.MULTILINE)


def longest_copied(sample: str, text: str) -> str:
    """The longest substring of `sample` that `text` has: grown while it is found, so linear in the sample."""
    best, start = "", 0
    for end in range(1, len(sample) + 1):
        while sample[start:end] not in text:
            start += 1
        best = max(best, sample[start:end], key=len)
    return best


def main() -> None:
    run = sys.argv[1] if len(sys.argv) > 1 else "latest"
    n = sys.argv[2] if len(sys.argv) > 2 else "2000"
    command = [sys.executable, "-m", "gptforge", "sample", f"ckpt={run}", f"max_new_tokens={n}", "json=true"]
    sample = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["text"]
    text = assets.shakespeare(full=False).read_text(encoding="utf-8")
    training = text[: int(len(text) * 0.9)]
    known = set(WORD.findall(training.lower()))
    words = WORD.findall(sample.lower())
    copied = longest_copied(sample, training)
    print(
        f"{len(sample)} characters, {len(words)} words, {sum(w in known for w in words) / len(words):.1%} of them known"
    )
    print(f"{len(SPEAKER.findall(sample))} speaker lines")
    print(f"longest copied passage: {len(copied)} characters: {copied!r}")


if __name__ == "__main__":
    main()
