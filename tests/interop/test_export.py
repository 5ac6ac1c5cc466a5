"""Exports: transformers reads them as the same model and the same tokens; what cannot be one is refused."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import small
from gptforge.checkpoint import load_model
from gptforge.config import ModelConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError
from gptforge.interop import directory, tokenizer_json
from gptforge.interop.express import family_of
from gptforge.tokenizers import CharTokenizer
from gptforge.tokenizers.byte import ByteTokenizer
from gptforge.tokenizers.mask import mask_of

TEXT = "to be or not to be: that is the question,\n  éè 漢字 1234 <|endoftext|>\n"
LLAMA = {"bias": False, "position": "rope", "norm": {"kind": "rmsnorm"}, "mlp": {"kind": "swiglu"}}
MIXTRAL = {"n_expert": 4, "score": "softmax", "bias": False}
GPT2 = {"bias": True, "position": "learned"}


ENCODER = {
    "bias": True, "position": "learned", "segments": 2, "head_transform": True, "head_bias": True,
    "attention": {"causal": False}, "norm": {"place": "post", "embeddings": True},
}  # fmt: skip


def cfg(**tree) -> ModelConfig:
    return build(ModelConfig, tree)


@pytest.mark.parametrize(
    ("tree", "family"),
    [
        (GPT2, "gpt2"),
        (ENCODER, "bert"),
        (LLAMA, "llama"),
        (LLAMA | {"attention": {"window": 9, "n_kv_head": 2}}, "mistral"),
        (LLAMA | {"attention": {"qkv_bias": True}, "dropout": 0.1, "init_std": 0.1}, "qwen2"),
        (LLAMA | {"attention": {"qk_norm": True, "qk_gain": True, "head_dim": 8}}, "qwen3"),
        (LLAMA | {"moe": MIXTRAL}, "mixtral"),
        (LLAMA | {"moe": MIXTRAL | {"normalize": False}, "attention": {"qk_norm": True, "qk_gain": True}}, "qwen3_moe"),
        (LLAMA | {"moe": {"n_expert": 4, "n_shared": 1, "bias_rate": 0.5}, "rope": {"fraction": 0.5}}, "glm4_moe"),
        (
            {"bias": True, "parallel_residual": True, "norm": {"shared": False}, "rope": {"fraction": 0.25},
             "mlp": {"kind": "gelu_erf"}, "tie_embeddings": False},
            "gpt_neox",
        ),
    ],
)  # fmt: skip
def test_the_family_of_a_model(tree, family):
    assert family_of(cfg(**tree)).model_type == family


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        (LLAMA | {"logit_softcap": 5.0}, "model.logit_softcap=5"),
        (LLAMA | {"rope": {"fraction": 0.5}}, r"model.rope.fraction=0\.5"),
        (LLAMA | {"mlp": {"kind": "relu2"}}, "model.mlp.kind=relu2"),
        (GPT2 | {"norm": {"place": "post"}}, "model.norm.place=post"),
        (GPT2 | {"attention": {"window": 7, "dense_every": 2}}, "model.attention.window=7"),
        (LLAMA | {"attention": {"qk_norm": True}}, "model.attention.qk_norm=true"),
        (LLAMA | {"moe": {"n_expert": 4}}, "glm4_moe, lacks model.moe.n_shared=0"),
        (LLAMA | {"moe": {"n_expert": 4, "n_shared": 1}, "mlp": {"kind": "gelu"}}, "model.mlp.kind=gelu"),
        (ENCODER | {"segments": 0}, r"the nearest, bert, lacks model\.segments=0"),
        (LLAMA | {"attention": {"causal": False}}, r"the nearest, bert, lacks [\s\S]*model\.mlp\.kind=swiglu"),
    ],
)
def test_parts_that_no_family_has_are_named(tree, part):
    with pytest.raises(ConfigError, match=part):
        family_of(cfg(**tree))


def test_the_small_model_with_experts_is_a_glm():
    tree = yaml.safe_load((Path(__file__).parents[2] / "conf/model/moe_small.yaml").read_text())
    assert family_of(cfg(**tree)).architecture == "Glm4MoeForCausalLM"


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_text()
    Path("runs").mkdir()
    changes = {"bias": True, "position": "learned", "mlp__kind": "gelu", "attention__qk_norm": False}
    config = small.config(**{f"model__{key}": value for key, value in changes.items()})
    assert small.gptforge(*small.typed(config, "runs/one")) == 0
    return load_model("runs/one")


def test_the_command_writes_a_directory_that_transformers_loads(trained, capsys):
    transformers = pytest.importorskip("transformers")
    assert small.gptforge("export", "runs/one") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "export/one"
    other = transformers.AutoModelForCausalLM.from_pretrained("export/one").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("export/one")
    text = Path("text.txt").read_text()[: trained.model.cfg.block_size - 1]
    ids = tokenizer(text).input_ids
    assert ids == trained.tokenizer.encode(text).tolist() and tokenizer.decode(ids) == text
    with torch.no_grad():
        wanted = trained.model(torch.tensor([ids]))
        torch.testing.assert_close(other(torch.tensor([ids])).logits, wanted, rtol=1e-5, atol=1e-5)
    card = Path("export/one/README.md").read_text()
    assert "GPT2LMHeadModel" in card and "bits per byte" in card
    assert small.gptforge("export", "runs/one") == 2 and "is there already" in capsys.readouterr().err


def test_a_smaller_format_and_a_disk_that_fails(trained, monkeypatch):
    assert small.gptforge("export", "runs/one", "dtype=bfloat16", "out=half") == 0
    assert directory.load(Path("half")).tok_emb.weight.dtype == torch.bfloat16
    monkeypatch.setattr(directory, "write_tensors", lambda *a, **b: (_ for _ in ()).throw(OSError(28, "full")))
    assert small.gptforge("export", "runs/one", "out=other") == 5
    assert sorted(path.name for path in Path().iterdir() if "other" in path.name) == []


def test_what_differs_is_not_given_its_name(trained, monkeypatch, capsys):
    whole = directory.save

    def wrong(model, family, path):
        with torch.no_grad():
            model.tok_emb.weight[0, 0] += 1
        whole(model, family, path)
        with torch.no_grad():
            model.tok_emb.weight[0, 0] -= 1

    monkeypatch.setattr(directory, "save", wrong)
    assert small.gptforge("export", "runs/one", "out=other") == 4 and not Path("other").exists()
    assert "another model than the one in memory" in capsys.readouterr().err


BERT = {
    "objective.kind": "mlm", "model.attention.causal": False, "model.bias": True, "model.position": "learned",
    "model.segments": 2, "model.head_transform": True, "model.head_bias": True, "model.norm.place": "post",
    "model.norm.embeddings": True, "model.mlp.kind": "gelu_erf", "tokenizer.kind": "byte",
}  # fmt: skip


@pytest.mark.usefixtures("own_folder")
def test_an_encoder_goes_out_as_a_bert_and_comes_back(capsys):
    transformers = pytest.importorskip("transformers")
    small.write_text()
    Path("runs").mkdir()
    config = small.config(**{key.replace(".", "__"): value for key, value in BERT.items()}, train__steps=4)
    assert small.gptforge(*small.typed(config, "runs/one")) == 0
    assert small.gptforge("export", "runs/one") == 0
    other = transformers.AutoModelForMaskedLM.from_pretrained("export/one").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("export/one")
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == ("[MASK]", 256)
    ids = tokenizer("to be [MASK]r not").input_ids
    model = load_model("runs/one").model
    with torch.no_grad():
        torch.testing.assert_close(other(torch.tensor([ids])).logits, model(torch.tensor([ids])), rtol=1e-5, atol=1e-5)
    assert 256 in ids and not Path("export/one/generation_config.json").exists()
    card = Path("export/one/README.md").read_text()
    assert "fill-mask" in card and "continues texts" not in card and "loss of hidden tokens" in card
    capsys.readouterr()
    weights = Path("export/one", directory.WEIGHTS)
    save_file(load_file(weights) | {"bert.pooler.dense.bias": torch.ones(32)}, weights)
    assert small.gptforge("import", "export/one") == 0
    said = capsys.readouterr().out
    assert "note: left out, for other objectives use it: bert.pooler" in said and "next:   gptforge eval ckpt=" in said
    again = load_model("latest")
    assert again.config.objective.kind == "mlm" and mask_of(again.tokenizer) == 256
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), model.parameters(), strict=True))


def test_a_bert_with_its_own_tokenizer_is_refused_with_what_to_do(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 8}
    config = transformers.AutoConfig.for_model("bert", **sizes, vocab_size=9, max_position_embeddings=8)
    transformers.BertForPreTraining(config).save_pretrained(tmp_path)
    pieces = {"type": "WordPiece", "vocab": {"[MASK]": 0, "a": 1}}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": pieces, "added_tokens": []}))
    assert small.gptforge("import", str(tmp_path)) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "holds a WordPiece model, as BERT's is" in said and "tokenizer_path=PATH" in said
    assert "directory.load(PATH)" in said
    assert directory.load(tmp_path).cfg.segments == 2 and "seq_relationship" in directory.left_out(tmp_path)[0]


@pytest.mark.parametrize("tokenizer", [CharTokenizer(TEXT), ByteTokenizer()], ids=lambda t: t.kind)
def test_tokenizers_give_the_same_ids(tokenizer):
    library = pytest.importorskip("tokenizers")
    other = library.Tokenizer.from_str(json.dumps(tokenizer_json.of(tokenizer)))
    assert other.encode(TEXT).ids == tokenizer.encode(TEXT).tolist()
    assert other.decode(other.encode(TEXT).ids) == TEXT
    assert other.get_vocab_size() == tokenizer.vocab_size


def test_training_says_at_its_start_what_cannot_be_handed_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small.write_text()
    told = {}
    for name, changes in (
        ("not", {"mlp__kind": "relu2", "norm__kind": "rmsnorm"}),
        ("gpt2", {"bias": True, "position": "learned"}),
    ):
        config = small.config(**{f"model__{key}": value for key, value in changes.items()}, ui="plain")
        assert small.gptforge(*small.typed(config, f"{name}"), "dry_run=true") == 0
        told[name] = " ".join(capsys.readouterr().err.split())
    row = "export not as hf or gguf (no family of transformers has model.mlp.kind=relu2; llama has"
    assert f"{row} model.mlp.kind=swiglu)" in told["not"] and "export" not in told["gpt2"]


def test_shapes_that_a_family_cannot_have_at_all_are_no_parts_of_it():
    """Heads whose number does not divide the width, as GPT-2 cannot have, and one more part that nobody has."""
    with pytest.raises(ConfigError, match=r"the nearest, llama, lacks model.logit_softcap=5\n"):
        family_of(cfg(**LLAMA, n_embd=30, n_head=4, attention={"head_dim": 8}, logit_softcap=5.0))
