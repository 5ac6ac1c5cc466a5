"""nanoGPT's checkpoints: the model that it computes, and pickles that would do something else."""

import os
import pickle

import pytest
import torch
import torch.nn.functional as F

import small
from gptforge.checkpoint import load_model
from gptforge.errors import CheckpointError, UsageError
from gptforge.interop import directory, nanogpt

ARGUMENTS = {"n_layer": 2, "n_head": 3, "n_embd": 24, "block_size": 16, "vocab_size": 29, "dropout": 0.0}
CHARACTERS = "".join(map(chr, range(97, 97 + 26))) + "\u00e9\u6f22\U0001f642"


def checkpoint_of(bias: bool, prefix: str = "") -> dict:
    """As train.py writes it; every weight is drawn."""
    draws = torch.Generator().manual_seed(0)
    d, state = ARGUMENTS["n_embd"], {}

    def draw(name: str, *shape: int, around: float = 0.0) -> None:
        state[f"{prefix}transformer.{name}"] = around + 0.2 * torch.randn(shape, generator=draws)

    draw("wte.weight", ARGUMENTS["vocab_size"], d)
    draw("wpe.weight", ARGUMENTS["block_size"], d)
    shapes = {"attn.c_attn": (3 * d, d), "attn.c_proj": (d, d), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d)}
    for n in range(2):
        for name, shape in shapes.items():
            draw(f"h.{n}.{name}.weight", *shape)
            if bias:
                draw(f"h.{n}.{name}.bias", shape[0])
    for name in ("h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"):
        draw(f"{name}.weight", d, around=1.0)
        if bias:
            draw(f"{name}.bias", d)
    state[f"{prefix}lm_head.weight"] = state[f"{prefix}transformer.wte.weight"]
    return {"model": state, "model_args": ARGUMENTS | {"bias": bias}, "iter_num": 7, "config": {"dataset": "x"}}


def computed(state: dict, tokens: torch.Tensor) -> torch.Tensor:
    """nanoGPT's forward pass, written out."""

    def norm(x, name):
        return F.layer_norm(x, (24,), state[f"transformer.{name}.weight"], state.get(f"transformer.{name}.bias"), 1e-5)

    def linear(x, name):
        return F.linear(x, state[f"transformer.{name}.weight"], state.get(f"transformer.{name}.bias"))

    x = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][: tokens.size(1)]
    for n in range(2):
        q, k, v = linear(norm(x, f"h.{n}.ln_1"), f"h.{n}.attn.c_attn").split(24, dim=2)
        q, k, v = (t.view(*t.shape[:2], 3, 8).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + linear(y, f"h.{n}.attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc")), f"h.{n}.mlp.c_proj")
    return F.linear(norm(x, "ln_f"), state["transformer.wte.weight"])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@torch.no_grad()
def test_logits_are_nanogpts(tmp_path, bias, prefix):
    held = checkpoint_of(bias, prefix)
    torch.save(held, tmp_path / "ckpt.pt")
    found = nanogpt.read(tmp_path / "ckpt.pt", trust=True)
    tokens = torch.randint(29, (2, 16), generator=torch.Generator().manual_seed(1))
    wanted = computed({name.removeprefix(prefix): tensor for name, tensor in held["model"].items()}, tokens)
    model = directory.assembled(found.config, found)
    torch.testing.assert_close(model(tokens), wanted, rtol=1e-5, atol=1e-5)


def test_the_command_with_the_characters_of_meta_pkl(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint_of(True), "ckpt.pt")
    meta = {"vocab_size": 29, "itos": dict(enumerate(CHARACTERS)), "stoi": {c: i for i, c in enumerate(CHARACTERS)}}
    with open("meta.pkl", "wb") as file:
        pickle.dump(meta, file)
    assert small.gptforge("import", "ckpt.pt", "tokenizer_path=meta.pkl") == 2
    assert "--trust opens it" in capsys.readouterr().err and not os.path.exists("runs")
    assert small.gptforge("import", "ckpt.pt", "--trust") == 3 and "meta.pkl" in capsys.readouterr().err
    assert small.gptforge("import", "ckpt.pt", "tokenizer_path=meta.pkl", "--trust") == 0
    loaded = load_model("latest")
    assert loaded.tokenizer.to_dict()["characters"] == CHARACTERS and loaded.model.cfg.mlp.kind == "gelu_erf"


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("save", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))])
def test_a_pickle_that_does_something_does_nothing(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"model": {"a": torch.ones(2)}, "model_args": Harm()}, tmp_path / "ckpt.pt")
    with pytest.raises(UsageError):
        nanogpt.read(tmp_path / "ckpt.pt", trust=False)
    with pytest.raises(CheckpointError, match="is not one of weights alone"):
        nanogpt.read(tmp_path / "ckpt.pt", trust=True)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"x" * 100, pickle.dumps([1]), pickle.dumps({"model_args": {}, "model": {}})]
)
def test_files_that_are_no_checkpoints(tmp_path, content):
    (tmp_path / "ckpt.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        nanogpt.read(tmp_path / "ckpt.pt", trust=True)
    with pytest.raises(CheckpointError, match="there is no file"):
        nanogpt.read(tmp_path / "other.pt", trust=True)
