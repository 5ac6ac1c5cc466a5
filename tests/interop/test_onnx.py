"""ONNX files: onnxruntime gives our logits at every length, of every part; what cannot be written down is named."""

import json
from pathlib import Path

import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from gptforge.checkpoint import Loaded  # noqa: E402
from gptforge.config import ModelConfig, TrainConfig  # noqa: E402
from gptforge.config.schema import build  # noqa: E402
from gptforge.errors import CheckpointError, ConfigError  # noqa: E402
from gptforge.interop import onnx_export  # noqa: E402
from gptforge.model import Transformer  # noqa: E402
from gptforge.model.parts import MLP  # noqa: E402
from gptforge.tokenizers.byte import ByteTokenizer  # noqa: E402

SIZE = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 80}
FIRST = {
    "norm": {"kind": "rmsnorm"}, "mlp": {"kind": "swiglu"}, "logit_softcap": 5.0, "rope": {"fraction": 0.5},
    "attention": {"qk_norm": True, "qk_gain": True, "n_kv_head": 2, "window": 75, "dense_every": 2},
}  # fmt: skip
OTHERS = {
    "the default": {},
    "relu2": {"mlp": {"kind": "relu2"}, "attention": {"qk_norm": True, "window": 9}},
    "gpt-1": {"bias": True, "position": "learned", "norm": {"place": "post"}},
    "neox": {
        "bias": True, "parallel_residual": True, "norm": {"shared": False}, "rope": {"fraction": 0.25},
        "mlp": {"kind": "gelu_erf"}, "tie_embeddings": False,
    },
    "gpt-j": {"parallel_residual": True, "attention": {"head_dim": 6, "n_kv_head": 1}},
    "llama 3.1": {"rope": {"scaling": "llama3", "original": 16, "factor": 8.0}, "norm": {"kind": "rmsnorm"}},
    "linear": {"rope": {"scaling": "linear", "factor": 3.0}},
    "none": {"position": "none", "attention": {"qkv_bias": True}},
}  # fmt: skip


def loaded_of(tree: dict, path: Path) -> Loaded:
    model = Transformer(build(ModelConfig, SIZE | tree), 256)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    config = TrainConfig(model=model.cfg)
    return Loaded(model.eval(), ByteTokenizer(), config, path / "run/checkpoints/step-000001", 1, [])


def compared(loaded: Loaded, path: Path) -> None:
    session = onnxruntime.InferenceSession(str(path / "model.onnx"), providers=["CPUExecutionProvider"])
    for batch, length in ((1, 1), (3, 2), (2, 19), (1, 80)):
        tokens = torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(length))
        with torch.no_grad():
            wanted = loaded.model(tokens)
        (found,) = session.run(None, {"input_ids": tokens.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


def test_onnxruntime_gives_our_logits_or_the_file_is_not_given_its_name(tmp_path, monkeypatch):
    loaded = loaded_of(FIRST, tmp_path)
    program = onnx_export.traced(loaded.model)
    monkeypatch.setattr(onnx_export, "traced", lambda model: program)
    onnx_export.to_directory(loaded, tmp_path / "out")
    compared(loaded, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", "tokenizer.json"]
    assert json.loads((tmp_path / "out/tokenizer.json").read_text(encoding="utf-8"))["model"]["type"] == "BPE"
    loaded.model.cfg.attention.window = 70  # the same for shorter texts, and for that which was traced
    with pytest.raises(CheckpointError, match="onnxruntime computes other logits for 80 tokens"):
        onnx_export.to_directory(loaded, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_part_can_be_exported(tmp_path, name):
    loaded = loaded_of(OTHERS[name], tmp_path)
    onnx_export.to_directory(loaded, tmp_path / "out")
    compared(loaded, tmp_path / "out")


@pytest.mark.slow
def test_weights_that_one_file_cannot_hold_are_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 1000)
    loaded = loaded_of(FIRST, tmp_path)
    onnx_export.to_directory(loaded, tmp_path / "out")
    assert (tmp_path / "out/model.onnx.data").stat().st_size > 100_000
    compared(loaded, tmp_path / "out")


def test_a_part_that_cannot_be_written_down_is_named(tmp_path, monkeypatch):
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x: forward(self, x if float(x.sum()) > 0 else -x))
    with pytest.raises(ConfigError, match="ONNX cannot express this model's MLP: "):
        onnx_export.to_directory(loaded_of({}, tmp_path), tmp_path / "out")
    assert not list(tmp_path.iterdir())
