"""GGUF files: what transformers makes of them, and what happens to those that are no such thing."""

import contextlib
import json
import random
from pathlib import Path

import pytest
import torch

gguf_package = pytest.importorskip("gguf")

import numpy as np  # noqa: E402

from gptforge.checkpoint import Loaded  # noqa: E402
from gptforge.config import TrainConfig  # noqa: E402
from gptforge.errors import CheckpointError, ConfigError, UserError  # noqa: E402
from gptforge.interop import gguf, gguf_export  # noqa: E402
from gptforge.interop.families import FAMILIES, links_of  # noqa: E402
from gptforge.interop.sources import load  # noqa: E402
from gptforge.model import Transformer  # noqa: E402
from gptforge.tokenizers.byte_level import ALPHABET  # noqa: E402
from gptforge.tokenizers.hf import of_stored  # noqa: E402

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


NEOX = {"intermediate_size": 96, "rotary_pct": 0.25, "tie_word_embeddings": False}
GPT2 = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": 32, "n_inner": 256}


def pairs(x: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of a rotated matrix as llama.cpp has them."""
    return x.view(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def converted(name: str, theirs: str, part: torch.Tensor, cfg) -> torch.Tensor:
    """What llama.cpp's own converter does to a tensor of transformers."""
    if name == "llama" and (".q_proj" in theirs or ".k_proj" in theirs):
        return pairs(part, cfg.n_head if ".q_proj" in theirs else cfg.n_kv_head)
    if name == "gpt2" and theirs.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return part.t()
    if name == "gpt_neox" and "query_key_value" in theirs:
        parts = part.reshape(cfg.n_head, 3, cfg.n_embd // cfg.n_head, -1)
        return torch.cat([parts[:, n].reshape(cfg.n_embd, -1) for n in range(3)]).reshape(part.shape)
    return part


def write(path, model: Transformer, name: str, kind=gguf_package.GGMLQuantizationType.F32) -> None:
    """As llama.cpp's own converter writes it, by the table of names of the package."""
    arch = {"gpt_neox": "gptneox"}.get(name, name)
    writer, cfg = gguf_package.GGUFWriter(path, arch), model.cfg
    writer.add_block_count(cfg.n_layer)
    writer.add_context_length(cfg.block_size)
    writer.add_embedding_length(cfg.n_embd)
    writer.add_feed_forward_length(cfg.mlp_width)
    writer.add_head_count(cfg.n_head)
    if name in ("gpt2", "gpt_neox"):
        writer.add_layer_norm_eps(cfg.norm.eps)
    else:
        writer.add_head_count_kv(cfg.n_kv_head)
        writer.add_key_length(cfg.head_dim)
        writer.add_layer_norm_rms_eps(cfg.norm.eps)
        writer.add_rope_freq_base(cfg.rope.theta)
    if name == "gpt_neox":
        writer.add_rope_dimension_count(int(cfg.rope.fraction * (cfg.n_embd // cfg.n_head)))
        writer.add_parallel_residual(cfg.parallel_residual)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (VOCAB - 2) + [3, 3])
    writer.add_token_merges(["t h"])
    writer.add_chat_template("{{ messages }}")
    table = gguf_package.get_tensor_name_map(
        next(key for key, value in gguf_package.MODEL_ARCH_NAMES.items() if value == arch), cfg.n_layer
    )
    own = model.state_dict()
    for link in links_of(FAMILIES[name], cfg):
        for theirs, part in zip(link.names, link.parted(own[link.ours]), strict=True):
            stored = table.get_name(theirs, try_suffixes=(".weight", ".bias"))
            assert stored, theirs
            array = np.ascontiguousarray(converted(name, theirs, part, cfg).numpy())
            if array.ndim == 1 or kind == gguf_package.GGMLQuantizationType.F32:
                writer.add_tensor(stored, array)
            else:
                writer.add_tensor(stored, gguf_package.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


EACH = [
    ("gpt2", GPT2), ("gpt_neox", NEOX), ("llama", {}), ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("qwen2", {"tie_word_embeddings": True}), ("qwen3", {"head_dim": 24}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), EACH)
@torch.no_grad()
def test_a_file_gives_the_model_that_it_was_made_of(tmp_path, name, options):
    model = model_of(name, **options)
    write(tmp_path / "a.gguf", model, name)
    found = gguf.read(tmp_path / "a.gguf")
    again = found.model()
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
    again = found.model()
    for (name, a), b in zip(again.state_dict().items(), model.state_dict().values(), strict=True):
        assert (a - b).abs().max() <= b.abs().max() * (0.13 if kind.startswith("Q4") else 0.07), name


def exported(path: Path, model: Transformer, dtype: str = "float32") -> Path:
    """As `gptforge export format=gguf` writes it, of a tokenizer whose last ids stand for nothing."""
    stored = {
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(TOKENS[:-4])}, "merges": ["t h"]},
        "pre_tokenizer": gguf.WORDS["smollm"],
        "added_tokens": [{"content": "<|endoftext|>", "id": VOCAB - 4, "special": True}],
    }
    tokenizer = of_stored(stored).padded(VOCAB)
    made = path / "run" / "checkpoints" / "step-000001"
    gguf_export.to_file(Loaded(model, tokenizer, TrainConfig(model=model.cfg), made, 1, []), dtype, path / "ours.gguf")
    return path / "ours.gguf"


@pytest.mark.parametrize(
    ("name", "options"), [*EACH, ("gpt_neox", NEOX | {"tie_word_embeddings": True, "use_parallel_residual": False})]
)
@torch.no_grad()
def test_the_package_reads_of_ours_what_llama_cpps_converter_would_have_written(tmp_path, name, options):
    model = model_of(name, **options)
    write(tmp_path / "a.gguf", model, name)
    files = [gguf_package.GGUFReader(path) for path in (exported(tmp_path, model), tmp_path / "a.gguf")]
    ours, theirs = ({t.name: (t.tensor_type, t.data) for t in file.tensors} for file in files)
    if name == "gpt_neox" and model.cfg.tie_embeddings:
        theirs["output.weight"] = theirs["token_embd.weight"]  # llama.cpp wants it twice
    assert ours.keys() == theirs.keys()
    for tensor, (kind, data) in theirs.items():
        assert ours[tensor][0] == kind and np.array_equal(ours[tensor][1], data), tensor
    ours, theirs = ({key: field.contents() for key, field in file.fields.items()} for file in files)
    of_model = {key for key in theirs if key.partition(".")[0] not in ("GGUF", "tokenizer")}
    assert {key: ours[key] for key in of_model} == {key: theirs[key] for key in of_model}
    assert ours["tokenizer.ggml.token_type"][-5:] == [1, 3, 5, 5, 5]
    found = load(str(tmp_path / "ours.gguf"))
    assert found.model.cfg == model.cfg and found.tokenizer.vocab_size == VOCAB
    assert all(torch.equal(found.model.state_dict()[n], tensor) for n, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("gpt2", GPT2 | {"activation_function": "gelu"}, r"no gpt2 of llama.cpp has model.mlp.kind=gelu_erf"),
        ("gpt_neox", NEOX | {"hidden_act": "gelu_new"}, r"no gptneox of llama.cpp has model.mlp.kind=gelu\b"),
        ("mistral", {"sliding_window": 9}, "no llama of llama.cpp has model.attention.window=9"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 16, "rope_theta": 1e4}},
            "no llama of llama.cpp has model.rope.scaling=llama3",
        ),
    ],
)  # fmt: skip
def test_parts_that_llama_cpp_has_not_are_named(tmp_path, name, options, part):
    with pytest.raises(ConfigError, match=part):
        exported(tmp_path, model_of(name, **options))
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_has_no_place_is_not_passed_over(tmp_path):
    """Such as biases where the keys tell of none: without them it would be another model."""
    write(tmp_path / "a.gguf", model_of("llama", attention_bias=True, mlp_bias=True), "llama")
    content = (tmp_path / "a.gguf").read_bytes()
    (tmp_path / "a.gguf").write_bytes(content.replace(b"blk.1.ffn_up.bias", b"blk.1.ffn_up.bios"))
    with pytest.raises(CheckpointError, match=r"tensor blk\.1\.ffn_up\.bios has no place in a llama"):
        gguf.read(tmp_path / "a.gguf").model()


@pytest.mark.parametrize(("name", "options"), [("llama", {}), ("gpt2", GPT2 | {"n_positions": 1024})])
def test_transformers_makes_the_same_of_it(tmp_path, name, options):
    """Of a GPT-2 it reads no context but 1,024."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = model_of(name, **options)
    write(tmp_path / "a.gguf", model, name, gguf_package.GGMLQuantizationType.Q8_0)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="a.gguf").eval()
    tokens = torch.arange(30)[None]
    found = gguf.read(tmp_path / "a.gguf")
    with torch.no_grad():
        ours, theirs = found.model()(tokens), other(tokens).logits
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
    with pytest.raises(CheckpointError, match="architecture is lamma, known are gpt2, gptneox, llama"):
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


def test_a_length_that_the_file_has_not_is_not_believed(tmp_path):
    """The package would go through each of so many values."""
    write(tmp_path / "a.gguf", model_of("llama"), "llama")
    content = (tmp_path / "a.gguf").read_bytes()
    begin = content.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 8
    for place in (16, begin):  # how many values there are, and how many kinds of tokens
        (tmp_path / "a.gguf").write_bytes(content[:place] + b"\xff" * 7 + b"\x7f" + content[place + 8 :])
        with pytest.raises(CheckpointError, match="cannot be read: it ends within its head"):
            gguf.read(tmp_path / "a.gguf")


@pytest.mark.parametrize("seed", range(8))
def test_bytes_that_were_changed_are_read_or_told(tmp_path, seed):
    write(tmp_path / "a.gguf", model_of("gpt_neox", **NEOX), "gpt_neox")
    whole, draw = (tmp_path / "a.gguf").read_bytes(), random.Random(seed)
    for _ in range(6):
        content = bytearray(whole)
        content[draw.randrange(draw.choice((60, 400, len(whole))))] ^= draw.randrange(1, 256)
        (tmp_path / "a.gguf").write_bytes(content)
        with contextlib.suppress(UserError):
            load(str(tmp_path / "a.gguf"))


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
    assert small.gptforge("export", "latest", "out=theirs") == 0  # another one is taken instead
    assert small.gptforge("import", "c.gguf", "tokenizer_path=theirs") == 0
    assert small.gptforge("import", "b.gguf") == 4 and small.gptforge("import") == 2
    assert not list((tmp_path / "runs").glob("*_b"))
