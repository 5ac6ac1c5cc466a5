"""What transformers 4.57 and 5 make of exported directories: the same logits, tokens and text.

Each has an environment of its own, made once below GPTFORGE_TRANSFORMERS (else in pytest's cache) by pip; torch is
that of this environment.
"""

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest
import torch

from gptforge.checkpoint import Loaded
from gptforge.config import TrainConfig
from gptforge.config.data import TokenizerConfig
from gptforge.interop import export, gguf
from gptforge.interop.families import model_config
from gptforge.model import Transformer
from gptforge.tokenizers import Tokenizer, build_tokenizer
from gptforge.tokenizers.bpe import BPETokenizer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VERSIONS = {"4.57": "transformers>=4.57,<4.58", "5": "transformers>=5,<6"}
NEW, CONTEXT = 24, 64
TEXT = "to be or not to be: that is the question,\n  éè 漢字 1234 it's I'LL <|endoftext|> x**2  # no\r\n\t\n"
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
LLAMA = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "intermediate_size": 96, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}
MODELS = {
    "gpt2": ("gpt2", {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": CONTEXT}),
    "gpt2, odd": (
        "gpt2",
        {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": CONTEXT, "n_inner": 100, "activation_function": "gelu",
         "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3},
    ),
    "pythia": ("gpt_neox", LLAMA | {"rotary_pct": 0.25, "rotary_emb_base": 700.0}),
    "neox, in turn, tied": (
        "gpt_neox",
        LLAMA
        | {"use_parallel_residual": False, "tie_word_embeddings": True, "rope_parameters": LINEAR, "rotary_pct": 0.5},
    ),
    "llama": ("llama", LLAMA | {"rope_theta": 333.0}),
    "llama 3.1, tied": ("llama", LLAMA | {"tie_word_embeddings": True, "rope_parameters": LLAMA3, "head_dim": 24}),
    "llama, biases": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama, linear": ("llama", LLAMA | {"rope_parameters": LINEAR}),
    "mistral": ("mistral", LLAMA | {"sliding_window": 9, "rope_theta": 333.0}),
    "qwen2": ("qwen2", LLAMA | {"rope_theta": 333.0}),
    "qwen2, window": ("qwen2", LLAMA | WINDOW),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 32, "rope_theta": 333.0}),
    "qwen3, window": ("qwen3", LLAMA | {"head_dim": 32} | WINDOW),
}  # fmt: skip


def environment(version: str, request: pytest.FixtureRequest) -> Path:
    """The Python of a version's environment."""
    place = os.environ.get("GPTFORGE_TRANSFORMERS")
    folder = Path(place) if place else request.config.cache.mkdir("transformers")
    python = folder / version / "bin" / "python"
    if not (folder / version / "done").exists():
        venv.create(folder / version, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", VERSIONS[version], "jinja2"]
        subprocess.run(command, check=True)
        (site,) = (folder / version / "lib").glob("python*/site-packages")
        (site / "torch_of_another.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # after what is its own
        (folder / version / "done").touch()
    return python


@pytest.fixture(scope="module", params=VERSIONS)
def python(request) -> Path:
    return environment(request.param, request)


def tokenizers() -> dict[str, Tokenizer]:
    files = ("README.md", "README.zh.md", "src/gptforge/interop/families.py")
    text = TEXT + "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    bpe = build_tokenizer(TokenizerConfig(kind="bpe", vocab_size=500), texts=lambda: iter([text]), n_bytes=len(text))
    assert isinstance(bpe, BPETokenizer)
    stored = bpe.vocabulary.to_dict() | {"kind": "hf", "words": gguf.WORDS["llama-bpe"], "ignore_merges": True}
    return {
        "bpe": bpe,
        "of llama 3": BPETokenizer.from_dict(stored, "error"),
        "char": build_tokenizer(TokenizerConfig(kind="char"), characters=TEXT),
        "byte": build_tokenizer(TokenizerConfig(kind="byte")),
    }


def exported(path: Path, name: str, tokenizer: Tokenizer, chat: bool = False, dtype: str = "float32") -> Loaded:
    model_type, options = MODELS[name]
    size = tokenizer.vocab_size
    model = Transformer(model_config({"model_type": model_type, "vocab_size": size, **options}), size)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    made = path / "run/checkpoints/step-000001"
    made.mkdir(parents=True)
    if chat:
        (made / "chat_template.jinja").write_text(CHAT)
    loaded = Loaded(model.eval(), tokenizer, TrainConfig(model=model.cfg), made, 1, [])
    export.to_directory(loaded, dtype, {}, path / "out")
    return loaded


def asked(python: Path, path: Path, loaded: Loaded, texts: list[str], prompt: list[int]) -> dict:
    tokens = torch.randint(loaded.model.vocab_size, (2, CONTEXT - 3), generator=torch.Generator().manual_seed(1))
    question = {"path": str(path / "out"), "texts": texts, "tokens": tokens.tolist(), "prompt": prompt, "new": NEW}
    script = Path(__file__).with_name("in_transformers.py")
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, script], input=json.dumps(question), capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert not answer["warnings"], answer["warnings"]
    assert "were not initialized" not in done.stderr and "not used when" not in done.stderr, done.stderr
    with torch.no_grad():
        wanted = loaded.model.float()(tokens)
    answer["far"] = float((torch.tensor(answer["logits"]) - wanted).abs().max()) / float(wanted.abs().max())
    return answer


def greedy(model: Transformer, prompt: list[int], eos: int | None) -> list[int]:
    """What transformers writes: it stops after the end of a text."""
    tokens = list(prompt)
    for _ in range(NEW):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        if tokens[-1] == eos:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", MODELS)
def test_every_family_gives_our_logits_and_text(python, name, tmp_path):
    tokenizer = tokenizers()["bpe"]
    loaded = exported(tmp_path, name, tokenizer)
    prompt = tokenizer.encode("to be or").tolist()
    answer = asked(python, tmp_path, loaded, [], prompt)
    assert python.parts[-3] in answer["version"][:4] and answer["dtype"] == "torch.float32"
    assert answer["far"] <= 1e-5
    assert answer["written"] == greedy(loaded.model, prompt, tokenizer.eos)


@pytest.mark.parametrize("kind", ["bpe", "of llama 3", "char", "byte"])
def test_every_tokenizer_gives_our_ids(python, kind, tmp_path):
    tokenizer = tokenizers()[kind]
    loaded = exported(tmp_path, "llama", tokenizer, chat=kind == "bpe")
    text = TEXT if kind == "char" else TEXT + "٣٤ ½²Ⅷ  \u00a0\u2029 e\u0301 \U0001f642\u200d नमस्ते   "
    # Markers in a text are special tokens to transformers, and to us plain text
    texts = [text.replace("<|endoftext|>", ""), "", " ", "\n\n", " to", "to "] if kind != "char" else [text, "", " to "]
    answer = asked(python, tmp_path, loaded, texts, [1, 2])
    assert answer["ids"] == [tokenizer.encode(each).tolist() for each in texts]
    assert answer["texts"] == texts
    assert answer["eos"] == answer["generation_eos"] == tokenizer.eos and answer["length"] == CONTEXT
    if kind == "bpe":
        assert answer["chat"] == "<|im_start|>user\nHi<|im_end|>\n"


def test_bfloat16_is_loaded(python, tmp_path):
    loaded = exported(tmp_path, "gpt2", tokenizers()["byte"], dtype="bfloat16")
    answer = asked(python, tmp_path, loaded, [], [1, 2])
    assert answer["far"] <= 0.02 and answer["dtype"] in ("torch.bfloat16", "torch.float32")
