"""Each family against transformers' own model of it: the same logits both ways, and back to the same bits."""

import contextlib
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from gptforge.errors import CheckpointError, ConfigError, DataError  # noqa: E402
from gptforge.interop import sources  # noqa: E402
from gptforge.interop.directory import WEIGHTS, Shards, assembled, left_out, load, save, shards  # noqa: E402
from gptforge.interop.families import FAMILIES, model_config, of  # noqa: E402

VOCAB = 61
LLAMA = {
    "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 48,
    "intermediate_size": 52, "max_position_embeddings": 24, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
}  # fmt: skip
NEOX = {
    "num_hidden_layers": 3, "num_attention_heads": 3, "hidden_size": 48, "intermediate_size": 100,
    "max_position_embeddings": 24, "vocab_size": VOCAB, "rotary_pct": 0.25, "layer_norm_eps": 1e-4,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 20}
WINDOW = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
BERT = {
    "num_hidden_layers": 3, "num_attention_heads": 3, "hidden_size": 30, "intermediate_size": 77,
    "max_position_embeddings": 24, "vocab_size": VOCAB,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict]] = {
    "gpt2": ("gpt2", {"n_layer": 3, "n_head": 3, "n_embd": 30, "n_positions": 24, "vocab_size": VOCAB}),
    "gpt2, odd": (
        "gpt2",
        {"n_layer": 2, "n_head": 5, "n_embd": 25, "n_positions": 24, "vocab_size": VOCAB, "n_inner": 33,
         "activation_function": "gelu", "tie_word_embeddings": False},
    ),
    "pythia": ("gpt_neox", NEOX),
    "neox, in turn, tied": ("gpt_neox", NEOX | {"use_parallel_residual": False, "tie_word_embeddings": True}),
    "llama": ("llama", LLAMA),
    "llama 3.1, tied": ("llama", LLAMA | {"tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "llama, biases": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama, linear": ("llama", LLAMA | {"rope_parameters": LINEAR}),
    "mistral": ("mistral", LLAMA | {"sliding_window": 5, "head_dim": 10}),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 12}),
    "qwen3, window": ("qwen3", LLAMA | {"head_dim": 12} | WINDOW),
    "qwen3, heads that do not divide the width": ("qwen3", LLAMA | {"num_attention_heads": 10, "head_dim": 12}),
    "mixtral": ("mixtral", LLAMA | {"num_local_experts": 5, "num_experts_per_tok": 3}),
    "mixtral, window": ("mixtral", LLAMA | {"num_local_experts": 3, "sliding_window": 5, "head_dim": 10}),
    "qwen3 moe": ("qwen3_moe", LLAMA | EXPERTS | {"head_dim": 12, "num_experts": 7, "norm_topk_prob": True}),
    "qwen3 moe, odd": (
        "qwen3_moe",
        LLAMA | EXPERTS | {"head_dim": 12, "num_experts": 5, "mlp_only_layers": [0], "moe_intermediate_size": 19},
    ),
    "glm 4.5": ("glm4_moe", LLAMA | EXPERTS | {"n_routed_experts": 6, "routed_scaling_factor": 2.5}),
    "glm 4.5, all its parts": (
        "glm4_moe",
        LLAMA | EXPERTS
        | {"n_routed_experts": 5, "n_shared_experts": 2, "first_k_dense_replace": 0, "use_qk_norm": True,
           "head_dim": 16, "attention_bias": True, "norm_topk_prob": False, "tie_word_embeddings": True,
           "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25}},
    ),
    "bert": ("bert", BERT),
    "bert, odd": (
        "bert",
        BERT | {"num_attention_heads": 5, "type_vocab_size": 3, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    ),
}  # fmt: skip
each = pytest.mark.parametrize("name", MODELS)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def theirs_class(name: str):
    return transformers.AutoModelForMaskedLM if name.startswith("bert") else transformers.AutoModelForCausalLM


def theirs(kind: tuple[str, dict], seed: int):
    """A model of theirs whose weights, biases and gains are all drawn."""
    model_type, options = kind
    config = transformers.AutoConfig.for_model(model_type, **options)
    config._attn_implementation, config._experts_implementation = "eager", "eager"  # the other takes no odd widths
    torch.manual_seed(seed)
    model = theirs_class(model_type).from_config(config).eval().float()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for name, buffer in model.named_buffers():
        if "bias" in name:
            torch.nn.init.normal_(buffer, std=0.2)
    for name, parameter in model.named_parameters():
        if "norm" in name.lower() or ".ln_" in name:
            parameter.data += 1
    return model


@each
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_logits_are_theirs(name, seed, tmp_path):
    other = theirs(MODELS[name], seed)
    other.save_pretrained(tmp_path)
    model = load(tmp_path)
    tokens = torch.randint(VOCAB, (2, 23), generator=torch.Generator().manual_seed(seed))
    close(model(tokens), other(tokens).logits)


@each
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_padding_is_theirs(name, seed, tmp_path):
    """Rows of other lengths, filled up on one side: where theirs has a mask, ours has a document of what fills."""
    other = theirs(MODELS[name], seed)
    other.save_pretrained(tmp_path)
    model = load(tmp_path)
    tokens = torch.randint(VOCAB, (2, 20), generator=torch.Generator().manual_seed(seed))
    for side in ("left", "right"):
        seen = torch.ones(2, 20, dtype=torch.long)
        for row, filled in enumerate((5, 11)):
            seen[row, slice(filled) if side == "left" else slice(-filled, None)] = 0
        positions = (seen.cumsum(1) - 1).clamp(min=0)  # both count from a row's first token
        wanted = other(tokens, attention_mask=seen, position_ids=positions).logits
        found = model(tokens, documents=seen)
        for row, there in enumerate(seen.bool()):
            close(found[row, there], wanted[row, there])
            close(model(tokens[row, there][None])[0], wanted[row, there])


@each
@torch.no_grad()
def test_there_and_back_are_the_same_bits_and_the_same_model(name, tmp_path):
    other = theirs(MODELS[name], 4)
    other.save_pretrained(tmp_path / "theirs")
    model = load(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    save(model, FAMILIES[MODELS[name][0]], tmp_path / "ours")
    before, after = (load_file(tmp_path / place / WEIGHTS) for place in ("theirs", "ours"))
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert load(tmp_path / "ours").cfg == model.cfg
    options = {} if name.startswith("bert") else {"experts_implementation": "eager"}
    again = theirs_class(name).from_pretrained(tmp_path / "ours", **options).eval()
    tokens = torch.randint(VOCAB, (2, 23), generator=torch.Generator().manual_seed(5))
    close(again(tokens).logits, model(tokens))


@torch.no_grad()
def test_a_model_in_several_files(tmp_path):
    other = theirs(MODELS["llama"], 1)
    other.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    tokens = torch.arange(20)[None]
    close(load(tmp_path)(tokens), other(tokens).logits)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name} is missing, which has model.layers"):
        load(tmp_path)


def test_a_bare_gpt2_has_no_prefix(tmp_path):
    other = theirs(MODELS["gpt2"], 1)
    other.transformer.save_pretrained(tmp_path)
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        close(load(tmp_path)(tokens), other(tokens).logits)


@torch.no_grad()
def test_a_bert_of_the_first_years_and_of_two_objectives(tmp_path):
    """bert-base-uncased has norms with gamma and beta, a pooler, and the head of the next sentence."""
    other = theirs(MODELS["bert"], 1)
    other.save_pretrained(tmp_path)
    assert left_out(tmp_path) == []
    state = load_file(tmp_path / WEIGHTS)
    for new, old in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    state |= {"bert.pooler.dense.weight": torch.ones(30, 30), "cls.seq_relationship.bias": torch.ones(2)}
    save_file(state, tmp_path / WEIGHTS)
    tokens = torch.arange(20)[None]
    close(load(tmp_path)(tokens), other(tokens).logits)
    (told,) = left_out(tmp_path)
    assert told == "left out, for other objectives use it: bert.pooler, cls.seq_relationship"


def test_a_bert_without_its_head_is_refused(tmp_path):
    theirs(MODELS["bert"], 1).bert.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no tensor cls\.predictions"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda state: state.pop("model.norm.weight"), "there is no tensor model.norm.weight"),
        (lambda state: state.update({"model.norm.weight": torch.ones(7)}), r"shape \(7,\) where \(48,\) is wanted"),
        (lambda state: state["model.norm.weight"].fill_(float("nan")), "model.norm.weight has values that are no num"),
    ],
)
def test_tensors_that_are_not_as_they_should_be(harm, what, tmp_path):
    theirs(MODELS["llama"], 1).save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    harm(state)
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=what):
        load(tmp_path)


def test_a_glm_that_says_nothing_of_it_rotates_half_of_a_head():
    held = {"model_type": "glm4_moe", **LLAMA, **EXPERTS, "n_routed_experts": 4, "head_dim": 16}
    assert (
        model_config(held).rope.fraction
        == transformers.AutoConfig.for_model(**held).rope_parameters["partial_rotary_factor"]
        == 0.5
    )
    assert model_config(held | {"partial_rotary_factor": 0.25}).rope.fraction == 0.25


def test_an_expert_that_is_missing_or_of_another_shape(tmp_path):
    theirs(MODELS["mixtral"], 1).save_pretrained(tmp_path)
    state, name = load_file(tmp_path / WEIGHTS), "model.layers.1.block_sparse_moe.experts.4.w3.weight"
    held = state.pop(name)
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=f"there is no tensor {name}"):
        load(tmp_path)
    save_file(state | {name: held[:-1].contiguous()}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"experts.0.w3.weight \+ .* is of shape"):
        load(tmp_path)


@torch.no_grad()
def test_a_routers_bias_stays_float32_in_a_smaller_format(tmp_path):
    other = theirs(MODELS["glm 4.5"], 1).bfloat16()
    other.save_pretrained(tmp_path)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    model = load(tmp_path).bfloat16()
    (tmp_path / "ours").mkdir()
    save(model, FAMILIES["glm4_moe"], tmp_path / "ours")
    written = load_file(tmp_path / "ours" / WEIGHTS)
    assert written[name].dtype == torch.float32 and torch.equal(
        written[name], load_file(tmp_path / WEIGHTS)[name].float()
    )
    assert written["lm_head.weight"].dtype == torch.bfloat16
    assert model.float().blocks[1].mlp.router.choice_bias.dtype == torch.float32


@pytest.mark.parametrize(
    ("model_type", "name", "shape"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.weight", (48, 31)),
        ("gpt_neox", "gpt_neox.layers.0.attention.query_key_value.weight", (13, 48)),
        ("gpt2", "transformer.h.0.attn.c_attn.weight", (2, 3, 4)),
    ],
)
def test_shapes_that_cannot_be_put_together(model_type, name, shape, tmp_path):
    options = {"llama": LLAMA, "gpt_neox": NEOX, "gpt2": MODELS["gpt2"][1]}[model_type]
    theirs((model_type, options), 1).save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    save_file(state | {name: torch.ones(shape)}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=rf"{name} \({shape[0]}, .*can be made of that"):
        load(tmp_path)


def test_pickles_code_and_torn_files_are_refused(tmp_path):
    theirs(MODELS["llama"], 1).save_pretrained(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"is a pickle[\s\S]*save_pretrained"):
        load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"there is no model\.safetensors"):
        load(tmp_path)
    for more in ("", '"model_type": "llama", '):
        (tmp_path / "config.json").write_text(f'{{{more}"auto_map": {{"AutoModel": "modeling.Mine"}}}}')
        with pytest.raises(CheckpointError, match=r"is code \(auto_map\), which gptforge does not run"):
            load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')
    with pytest.raises(CheckpointError, match="names no files"):
        shards(tmp_path)


def test_a_family_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match=r"no model_type 'lama'[\s\S]*llama is known"):
        of({"model_type": "lama"})
    assert set(FAMILIES) >= {"gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "bert"}


@pytest.mark.parametrize(
    ("model_type", "changes", "what"),
    [
        ("llama", {"hidden_act": "relu"}, "hidden_act=relu cannot be expressed"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type=yarn"),
        ("llama", {"attention_bias": True}, "without mlp_bias"),
        ("gpt_neox", {"hidden_act": "swish"}, "activation swish"),
        ("gpt_neox", {"attention_bias": False}, "attention_bias=False"),
        ("qwen3_moe", EXPERTS | {"num_experts": 4, "mlp_only_layers": [1]}, "mlp_only_layers"),
        ("qwen3_moe", EXPERTS | {"num_experts": 4, "decoder_sparse_step": 2}, "decoder_sparse_step=2"),
        ("glm4_moe", EXPERTS | {"n_routed_experts": 4, "n_group": 2}, "n_group=2"),
        ("mixtral", {}, "there is no num_local_experts"),
        ("qwen3_moe", EXPERTS, "there is no num_local_experts"),
        ("glm4_moe", EXPERTS, "there is no num_local_experts"),
        ("bert", {"hidden_act": "relu"}, "activation relu"),
        ("bert", {"is_decoder": True}, "is_decoder=True"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type=relative_key"),
        ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size=0"),
    ],
)
def test_what_the_parts_cannot_express_is_refused(model_type, changes, what):
    with pytest.raises(ConfigError, match=what):
        model_config({"model_type": model_type, **{"gpt_neox": NEOX, "bert": BERT}.get(model_type, LLAMA), **changes})


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox"])
def test_values_of_any_kind_are_one_message(model_type):
    keys = ("vocab_size", "hidden_size", "num_attention_heads", "hidden_act", "rope_parameters", "rope_scaling")
    values = (None, -1, 0, "x", [], {"a": 1}, [1], 1e300, 10**300, {"rope_type": "linear", "factor": "x"})
    base = {"model_type": model_type, **(NEOX if model_type == "gpt_neox" else LLAMA)}
    for key in keys:
        for value in values:
            with contextlib.suppress(ConfigError, CheckpointError):
                assembled({**base, key: value}, Shards(Path("none"), {}))


def test_a_folder_called_gpt2_has_its_own_tokenizer(tmp_path, monkeypatch):
    """Though tokenizer_path=gpt2 is a name, not a folder."""
    monkeypatch.chdir(tmp_path)
    theirs(MODELS["gpt2"], 1).save_pretrained("gpt2")
    with pytest.raises(DataError, match="tokenizer"):
        sources.load("gpt2")
    Path("gpt2/tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"gpt2.tokenizer\.json cannot be used"):
        sources.load("gpt2")
