"""format=safetensors: a model of any parts comes back as it was; what was changed meanwhile is told."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import small
from gptforge import checkpoint
from gptforge.checkpoint import load_model
from gptforge.errors import CheckpointError, UsageError
from gptforge.interop import plain
from gptforge.interop.place import placed
from gptforge.tensors import write_tensors


@pytest.fixture
def made(tmp_path, monkeypatch, capsys) -> Path:
    """An exported directory of a model that no family of transformers has, with a template of conversations."""
    monkeypatch.chdir(tmp_path)
    small.write_text()
    Path("runs").mkdir()
    config = small.config(model__mlp__kind="relu2", model__logit_softcap=9.0, model__norm__place="post")
    assert small.gptforge(*small.typed(config, "runs/one")) == 0
    path = load_model("runs/one").path
    (path / "chat_template.jinja").write_text("{{ messages }}")
    assert small.gptforge("export", "runs/one", "format=safetensors") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "export/one-safetensors"
    return Path("export/one-safetensors")


def test_what_is_imported_again_is_the_same(made, capsys):
    before = load_model("runs/one")
    assert small.gptforge("import", str(made)) == 0
    after = load_model("latest")
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])
    assert after.model.cfg == before.model.cfg and after.tokenizer.fingerprint == before.tokenizer.fingerprint
    assert (after.path / "chat_template.jinja").read_text() == "{{ messages }}"
    assert small.gptforge("export", "latest", "format=safetensors", "dtype=bfloat16", "out=half") == 0
    half = load_file("half/model.safetensors")
    assert all(torch.equal(half[n], t.bfloat16()) for n, t in before.model.state_dict().items())
    assert small.gptforge("import", "half") == 0
    assert small.gptforge("sample", "ckpt=latest", "prompt=a", "sample.max_new_tokens=3") == 0
    config = json.loads(Path("half/config.json").read_text())
    assert config["config"].keys() == {"model"}, "what it was trained on stays at home"


def test_what_was_changed_is_told(made):
    whole = load_file(made / "model.safetensors")
    config = (made / "config.json").read_text()
    for harm, what in (
        (lambda state: state.pop("final_norm.weight", state.pop("tok_emb.weight")), "tok_emb.weight is missing"),
        (lambda state: state.update(more=torch.ones(1)), "more is .*the model of its config has none"),
        (lambda state: state["tok_emb.weight"].fill_(float("nan")), "tok_emb.weight has values that are no numbers"),
    ):
        state = {name: tensor.clone() for name, tensor in whole.items()}
        harm(state)
        save_file(state, made / "model.safetensors")
        with pytest.raises(CheckpointError, match=what):
            plain.load(made)
    (made / "config.json").write_text(config.replace('"n_layer": 1', '"n_layer": 9999'))
    with pytest.raises(CheckpointError, match="too few for the 9999 layers"):
        plain.load(made)
    (made / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        plain.load(made)


def test_what_the_other_formats_cannot_is_told(made, capsys):
    for words, told in (
        (["format=hf"], ("model.mlp.kind=relu2", "format=safetensors")),
        (["format=gguf", "dtype=q8_0"], ("model.mlp.kind=relu2", "format=safetensors")),
        (["format=onnx", "dtype=bfloat16"], ("format=onnx is written in float32, not in bfloat16",)),
        (["format=safetensors", "dtype=q8_0"], ("format=safetensors has no q8_0",)),
    ):
        assert small.gptforge("export", "runs/one", *words, "out=other") == 2
        said = capsys.readouterr().err
        assert all(part in said for part in told) and not Path("other").exists(), said


def test_what_differs_or_is_there_meanwhile_is_not_replaced(made, monkeypatch):
    loaded, whole = load_model("runs/one"), plain.write_tensors

    def wrong(path, tensors, metadata):
        whole(path, {name: tensor + 1 for name, tensor in tensors.items()}, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(plain, "write_tensors", wrong)
        with pytest.raises(CheckpointError, match="another model than the one in memory"):
            plain.to_directory(loaded, "float32", Path("other"))
    assert not Path("other").exists() and not small.litter(Path())
    with pytest.raises(UsageError, match="mine is there already"), placed(Path("mine"), folder=False) as path:
        path.write_text("new")
        Path("mine").write_text("of somebody else")
    assert Path("mine").read_text() == "of somebody else" and not small.litter(Path())


def test_values_beyond_float16(made, capsys):
    """Which it would turn into infinities: the tensors are named."""
    loaded = load_model("runs/one")
    with torch.no_grad():
        loaded.model.get_parameter("blocks.0.mlp.fc.weight")[3, 3] = 70_000.0
    what = r"blocks\.0\.mlp\.fc\.weight: there are values beyond 65,504[\s\S]*dtype=bfloat16"
    with pytest.raises(UsageError, match=what):
        plain.to_directory(loaded, "float16", Path("float16"))
    plain.to_directory(loaded, "bfloat16", Path("bfloat16"))
    assert Path("bfloat16").exists() and not Path("float16").exists()
    with torch.no_grad():
        loaded.model.get_parameter("blocks.0.mlp.fc.weight")[3, 3] = float("nan")
    with pytest.raises(CheckpointError, match=r"blocks\.0\.mlp\.fc\.weight: there are values that are no numbers"):
        plain.to_directory(loaded, "float32", Path("float32"))
    assert not Path("float32").exists()


@pytest.mark.parametrize("words", [[], ["hydra.run.dir=mine"], ["hydra.run.dir=new"]])
def test_an_import_that_cannot_be_written_leaves_nothing(made, monkeypatch, capsys, words):
    Path("mine").mkdir()
    Path("mine/notes").write_text("kept")
    before = sorted(path for path in Path().rglob("*") if path.name != ".lock")
    latest = Path("runs/latest").read_text()
    for step in ("commit", "point"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, step, lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            assert small.gptforge("import", str(made), *words) == 5
        assert "cannot be written: No space left on device" in capsys.readouterr().err
        assert sorted(path for path in Path().rglob("*") if path.name != ".lock") == before
        assert Path("runs/latest").read_text() == latest
    assert small.gptforge("import", str(made), *words) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_are_written_as_the_library_writes_them(tmp_path, dtype):
    draw = torch.Generator().manual_seed(1)
    shapes = {"b": (3, 5), "a": (7,), "é": (1,), "none": (0, 4), "turned": (4, 3)}
    tensors = {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()}
    tensors["turned"] = tensors["turned"].t()
    write_tensors(tmp_path / "a", tensors, {"format": "pt"})
    wanted = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
    assert (tmp_path / "a").read_bytes() == wanted
