"""What llama.cpp itself makes of our GGUF files: the same text and the same tokens.

GPTFORGE_LLAMA_CPP names a Python that has llama-cpp-python. GPTFORGE_BUILD_LLAMA_CPP=1 builds it, which takes a C++
compiler and about ten minutes, into pytest's cache.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
import torch

from gptforge.checkpoint import Loaded
from gptforge.config import TrainConfig
from gptforge.config.data import TokenizerConfig
from gptforge.interop import gguf, gguf_export
from gptforge.interop.families import model_config
from gptforge.model import Transformer
from gptforge.tokenizers import build_tokenizer
from gptforge.tokenizers.bpe import BPETokenizer

pytestmark = pytest.mark.slow
pytest.importorskip("gguf")

ROOT = Path(__file__).parents[2]
NEW = 32
PROMPTS = ("The model", "def f(x):\n", "训练", "12 and 34 ", " a list of", "<|im_end|>\n\n")
TEXTS = (
    "  a  b\r\n\n\t c12345 \u00a0\u2029\u3000 e\u0301 \u00e9 \ufb01 \u6f22\u5b57 \u0e44\u0e17\u0e22 \U0001f642\u200d",
    "", " ", "   ", "\n\n\n  x", "it's IT'S don't we'll I'LL o'clock", "1 12 123 1234 12345 3.14159 1e-05",
    "def f(x):\n    return x**2  # no\n\t\tif a != b: c['d'] += 1.5e-3\n", "<|endoftext|> <|im_start|>user",
    "é" * 50 + " " * 20 + "end  ", "\x00\x01\x7f", "ﷺ½²Ⅷ१२३٣٤", "a\u0300\u0301 नमस्ते دنيا שלום", " leading",
    "trailing ", "tab\t\ttab", "x\r\ny\rz\r\n\r\n", "\u0085\u2028\u180e\ufeff", "don’t “quotes” —– …", "https://a.b/c?d=1&e",
)  # fmt: skip
LLAMA = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "intermediate_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
}  # fmt: skip
MODELS = {
    "llama": ("llama", LLAMA),
    "llama, tied, biases, linear": (
        "llama",
        LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True,
                 "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}},
    ),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 32}),
    "gpt2": ("gpt2", {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": 128}),
    "neox": ("gpt_neox", LLAMA | {"rotary_pct": 0.25}),
    "neox, in turn, tied": ("gpt_neox", LLAMA | {"tie_word_embeddings": True, "use_parallel_residual": False}),
}  # fmt: skip
# How far llama.cpp's logits may be from ours of the same file, whose weights we compute with in float32. It rounds
# the other factor of each product too, to float16 or to eight bits. Where our two best are closer, texts may part.
CLOSE = {"float32": 1e-4, "float16": 0.02, "q8_0": 0.5}
GELU = {"float32": 5e-3, "float16": 0.02, "q8_0": 0.5}  # which it looks up in a table of float16


@pytest.fixture(scope="module")
def llama_cpp(request) -> str:
    """A Python that has llama-cpp-python."""
    if found := os.environ.get("GPTFORGE_LLAMA_CPP"):
        return found
    if os.environ.get("GPTFORGE_BUILD_LLAMA_CPP") != "1":
        pytest.skip("llama.cpp: GPTFORGE_LLAMA_CPP=PYTHON that has it, or GPTFORGE_BUILD_LLAMA_CPP=1 to build it")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("llama.cpp cannot be built: there is no C++ compiler")
    folder = request.config.cache.mkdir("llama_cpp")
    python = folder / "bin" / "python"
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode if python.exists() else True:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "llama-cpp-python"], check=True)
    return str(python)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    """As `gptforge train tokenizer=bpe` makes it, of two languages and of code."""
    files = ("README.md", "README.zh.md", "src/gptforge/interop/families.py")
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    made = build_tokenizer(TokenizerConfig(kind="bpe", vocab_size=700), texts=lambda: iter([text]), n_bytes=len(text))
    assert isinstance(made, BPETokenizer)
    return made


def exported(path: Path, name: str, tokenizer: BPETokenizer, dtype: str = "float32") -> Path:
    model_type, options = MODELS[name]
    config = {"model_type": model_type, "vocab_size": tokenizer.vocab_size, **options}
    model = Transformer(model_config(config), tokenizer.vocab_size)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter += 0.15 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    loaded = Loaded(model.eval(), tokenizer, TrainConfig(model=model.cfg), path / "run/checkpoints/step-000001", 1, [])
    gguf_export.to_file(loaded, dtype, path / "a.gguf")
    return path / "a.gguf"


def asked(python: str, path: Path, texts=(), prompts=()) -> dict:
    question = json.dumps({"path": str(path), "texts": texts, "prompts": prompts, "new": NEW})
    script = Path(__file__).with_name("in_llama_cpp.py")
    done = subprocess.run([python, script], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_greedy_text_is_ours(llama_cpp, tokenizer, tmp_path, name, dtype):
    path = exported(tmp_path, name, tokenizer, dtype)
    prompts = [tokenizer.encode(text).tolist() for text in PROMPTS]
    answer = asked(llama_cpp, path, TEXTS, prompts)
    ours = gguf.read(path).model()
    bound = (GELU if MODELS[name][0] in ("gpt2", "gpt_neox") else CLOSE)[dtype]
    for prompt, written, logits in zip(prompts, answer["written"], answer["logits"], strict=True):
        wanted = ours(torch.tensor([prompt + written[:-1]]))[0, len(prompt) - 1 :]
        assert float((torch.tensor(logits) - wanted).abs().max()) <= bound
        lost = wanted.max(-1).values - wanted[range(NEW), written]  # by what llama.cpp chose instead of our best
        assert float(lost.max()) <= bound, (prompt, written)
        assert wanted.std(-1).min() > 0.5, "the logits are too close to each other to tell anything"
    assert answer["ids"] == [tokenizer.encode(text).tolist() for text in TEXTS] and answer["eos"] == tokenizer.eos


@pytest.mark.parametrize("words", gguf.WORDS)
def test_texts_are_cut_as_ours_are(llama_cpp, tokenizer, tmp_path, words):
    """Also of tokenizers that models came with. llama.cpp's `default` is none of them, and is never written."""
    vocabulary = dataclasses.replace(
        tokenizer.vocabulary, words=gguf.WORDS[words], ignore_merges=words in gguf.IGNORE_MERGES
    )
    other = BPETokenizer("hf", vocabulary)
    path = exported(tmp_path, "llama", other)
    answer = asked(llama_cpp, path, TEXTS)
    assert answer["ids"] == [other.encode(text).tolist() for text in TEXTS]
    again = gguf.read(path).tokenizer
    assert again is not None and gguf.same_words(again["pre_tokenizer"], vocabulary.words)
