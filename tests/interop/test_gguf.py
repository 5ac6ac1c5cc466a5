"""GGUF files: what transformers makes of them, and what happens to those that are no such thing."""

import json
from pathlib import Path

import pytest
import torch

gguf_package = pytest.importorskip("gguf")

import numpy as np  # noqa: E402

from gptforge.errors import CheckpointError  # noqa: E402
from gptforge.interop import directory, gguf  # noqa: E402
from gptforge.interop.families import FAMILIES, links_of  # noqa: E402
from gptforge.interop.sources import load  # noqa: E402
from gptforge.model import Transformer  # noqa: E402
from gptforge.tokenizers.byte_level import ALPHABET  # noqa: E402

VOCAB = 300
CONFIG = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "intermediate_size": 96, "max_position_embeddings": 32, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
}  # fmt: skip
TOKENS = [*ALPHABET, "th", *(f"zz{n}" for n in range(VOCAB - 259)), "<|im_start|>", "<|endoftext|>"]


def model_of(name: str, **options) -> Transformer:
    from gptforge.interop.families import model_config

    model = Transformer(model_config({"model_type": name, **CONFIG, **options}), VOCAB)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model.eval()


def pairs(x: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of a rotated matrix as llama.cpp has them."""
    return x.view(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def write(path, model: Transformer, name: str, kind=gguf_package.GGMLQuantizationType.F32) -> None:
    """As llama.cpp's own converter writes it."""
    writer, cfg = gguf_package.GGUFWriter(path, name), model.cfg
    writer.add_block_count(cfg.n_layer)
    writer.add_context_length(cfg.block_size)
    writer.add_embedding_length(cfg.n_embd)
    writer.add_feed_forward_length(cfg.mlp_width)
    writer.add_head_count(cfg.n_head)
    writer.add_head_count_kv(cfg.n_kv_head)
    writer.add_key_length(cfg.head_dim)
    writer.add_layer_norm_rms_eps(cfg.norm.eps)
    writer.add_rope_freq_base(cfg.rope.theta)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (VOCAB - 2) + [3, 3])
    writer.add_token_merges(["t h"])
    writer.add_chat_template("{{ messages }}")
    known = {theirs: own for own, theirs in gguf.TOP.items()}
    in_block = {theirs: own for own, theirs in gguf.IN_BLOCK.items()}
    own = model.state_dict()
    for link in links_of(FAMILIES[name], cfg):
        for theirs, part in zip(link.names, link.parted(own[link.ours]), strict=True):
            module, _, leaf = theirs.rpartition(".")
            if module.startswith("model.layers."):
                _, _, n, part_name = module.split(".", 3)
                stored = f"blk.{n}.{in_block[part_name]}.{leaf}"
            else:
                stored = f"{known[module]}.{leaf}"
            if name == "llama" and ("attn_q." in stored or "attn_k." in stored):
                part = pairs(part, cfg.n_head if "attn_q." in stored else cfg.n_kv_head)
            array = part.numpy()
            if array.ndim == 1 or kind == gguf_package.GGMLQuantizationType.F32:
                writer.add_tensor(stored, np.ascontiguousarray(array))
            else:
                writer.add_tensor(stored, gguf_package.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("name", "options"), [("llama", {}), ("qwen2", {"tie_word_embeddings": True}), ("qwen3", {"head_dim": 24})]
)
@torch.no_grad()
def test_a_file_gives_the_model_that_it_was_made_of(tmp_path, name, options):
    model = model_of(name, **options)
    write(tmp_path / "a.gguf", model, name)
    found = gguf.read(tmp_path / "a.gguf")
    again = directory.assembled(found.config, found)
    assert again.cfg == model.cfg
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    source = load(str(tmp_path / "a.gguf"))
    assert source.tokenizer.decode(source.tokenizer.encode("ab 12\n")) == "ab 12\n"
    assert source.tokenizer.eos == VOCAB - 1 and source.chat_template == "{{ messages }}"


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@torch.no_grad()
def test_quantised_weights_are_unpacked(tmp_path, kind):
    model = model_of("llama")
    write(tmp_path / "a.gguf", model, "llama", gguf_package.GGMLQuantizationType[kind])
    found = gguf.read(tmp_path / "a.gguf")
    again = directory.assembled(found.config, found)
    for (name, a), b in zip(again.state_dict().items(), model.state_dict().values(), strict=True):
        assert (a - b).abs().max() <= b.abs().max() * (0.13 if kind.startswith("Q4") else 0.07), name


def test_transformers_makes_the_same_of_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = model_of("llama")
    write(tmp_path / "a.gguf", model, "llama", gguf_package.GGMLQuantizationType.Q8_0)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="a.gguf").eval()
    tokens = torch.arange(30)[None]
    found = gguf.read(tmp_path / "a.gguf")
    with torch.no_grad():
        ours, theirs = directory.assembled(found.config, found)(tokens), other(tokens).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_files_that_are_none_are_one_message(tmp_path):
    path = tmp_path / "a.gguf"
    write(path, model_of("llama"), "llama")
    whole = path.read_bytes()
    for content in (b"", b"GGUF", b"x" * 5000, whole[:100], whole[: len(whole) // 2], whole[:-1000]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            gguf.read(path)
    path.write_bytes(whole.replace(b"llama", b"lamma"))
    with pytest.raises(CheckpointError, match="architecture is lamma, known are llama"):
        gguf.read(path)


def test_experts_are_refused(tmp_path):
    """Mixtral's architecture is told as llama's, with experts."""
    model = model_of("llama")
    add = gguf_package.GGUFWriter.add_block_count

    def with_experts(writer, count):
        add(writer, count)
        writer.add_expert_count(8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_package.GGUFWriter, "add_block_count", with_experts)
        write(tmp_path / "a.gguf", model, "llama")
    with pytest.raises(CheckpointError, match="experts are not read from GGUF"):
        gguf.read(tmp_path / "a.gguf")


def test_the_command_makes_a_run_that_can_write(tmp_path, monkeypatch, capsys):
    import small

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.gguf", model_of("llama"), "llama")
    assert small.gptforge("import", "a.gguf", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 0 and told["run"].endswith("_import_a")
    assert small.gptforge("sample", "ckpt=latest", "prompt=ab", "sample.max_new_tokens=3") == 0
    assert small.gptforge("export", "latest", "format=gguf", "dtype=q8_0", "out=again.gguf") == 0
    assert gguf.read(Path("again.gguf")).chat_template == "{{ messages }}"
    monkeypatch.setitem(globals(), "TOKENS", ["strange", *TOKENS[1:]])  # a byte has no token
    write(tmp_path / "c.gguf", model_of("llama"), "llama")
    capsys.readouterr()
    assert small.gptforge("import", "c.gguf") == 3 and "the tokenizer in it cannot be used" in capsys.readouterr().err
    assert small.gptforge("import", "b.gguf") == 4 and small.gptforge("import") == 2
    assert not list((tmp_path / "runs").glob("*_b"))
