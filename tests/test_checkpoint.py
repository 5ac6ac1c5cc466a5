"""A checkpoint is what was written, bit for bit, or it is refused with the reason."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import small
from faults.power import Recorder, leave
from faults.storage import watched
from gptforge import checkpoint
from gptforge.checkpoint import load_model, verify
from gptforge.errors import CheckpointError
from gptforge.jsonfile import sealed
from gptforge.model import Transformer
from gptforge.optim import each
from gptforge.runs import MANIFEST, Call, Run
from gptforge.tensors import read_tensors, tensor_bytes
from gptforge.train import trainer as trainer_module
from gptforge.train.parts import build_parts
from gptforge.train.state import (
    TrainState,
    pack,
    python_rng,
    restore_python_rng,
    restore_torch_rng,
    seed_all,
    torch_rng,
    unpack,
)

FILES = [
    "model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json", "config.json", "decisions.json",
    "tokenizer.json", MANIFEST,
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run with checkpoints of steps 4 and 8; not to be changed."""
    path = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(trainer_module, "measured_peak", lambda runtime: 1e12)
        small.write_text()
        small.trainer(small.config(train__steps=8, checkpoint__every=4)).fit()
    return Run(path / "run")


@pytest.fixture
def run(trained, own_folder):
    """A copy that may be spoilt."""
    shutil.copytree(trained.path, own_folder / "run")
    return Run(own_folder / "run")


# Damage ------------------------------------------------------------------------------------------------------


def test_it_holds_these_files_and_is_sound(run):
    for path in run.newest_first():
        assert sorted(p.name for p in path.iterdir()) == sorted(FILES)
        verify(path)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40)
@given(data=st.data())
def test_every_flipped_bit_is_found(trained, name, data):
    held = trained.checkpoint(8)
    content = (held / name).read_bytes()
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    spoilt = bytearray(content)
    spoilt[bit // 8] ^= 1 << bit % 8
    with small.copied(held) as copy:
        (copy / name).write_bytes(spoilt)
        with pytest.raises(CheckpointError) as caught:
            verify(copy)
    assert name in str(caught.value) or "format" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "spoil",
    {
        "empty": lambda b: b"",
        "half": lambda b: b[: len(b) // 2],
        "one byte less": lambda b: b[:-1],
        "a line feed more": lambda b: b + b"\n",
        "one byte more": lambda b: b + b"x",
        "zeroed end": lambda b: b[:-100] + bytes(100),
        "another file": lambda b: b"something else",
    }.items(),
    ids=lambda item: item[0],
)
def test_other_damage_is_found(run, name, spoil):
    path = run.checkpoint(8) / name
    path.write_bytes(spoil[1](path.read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        verify(path.parent)
    assert caught.value.exit_code == 4
    assert name in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(run, name):
    (run.checkpoint(8) / name).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        verify(run.checkpoint(8))


def test_a_missing_manifest_makes_no_run_of_a_checkpoint(run):
    named = run.checkpoint(8)
    (named / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="manifest is missing"):
        load_model(str(named))
    with pytest.raises(CheckpointError, match="manifest is missing"):
        checkpoint.to_go_on_from(str(named))
    assert not (named / ".lock").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
def test_files_of_another_step_are_found(run, name):
    shutil.copy(run.checkpoint(4) / name, run.checkpoint(8) / name)
    with pytest.raises(CheckpointError, match="damaged: sha256") as caught:
        verify(run.checkpoint(8))
    assert str(caught.value.where).endswith(name)


def test_another_name_is_found(run):
    run.checkpoint(4).rename(run.checkpoint(5))
    with pytest.raises(CheckpointError, match="it holds step 4, which is not its name"):
        verify(run.checkpoint(5))


def test_a_manifest_of_another_step_is_named(run):
    shutil.copy(run.checkpoint(4) / MANIFEST, run.checkpoint(8) / MANIFEST)
    with pytest.raises(CheckpointError, match="it holds step 4") as caught:
        verify(run.checkpoint(8))
    assert str(caught.value.where).endswith(MANIFEST)


def forged(run: Run, **changes) -> Path:
    """A manifest with other content whose digest is right, as only somebody with intent would make it."""
    path = run.checkpoint(8) / MANIFEST
    held = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if k != "manifest_sha256" and v != ""}
    digest = hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
    path.write_bytes(checkpoint.json_bytes(held | {"manifest_sha256": digest}))
    return path.parent


@pytest.mark.parametrize("changes", [{"files": ""}, {"files": 3}, {"files": {"state.json": 1}}, {"step": ""}])
def test_a_manifest_without_what_it_needs_is_refused(run, changes):
    with pytest.raises(CheckpointError, match="manifest is not complete"):
        verify(forged(run, **changes))


def test_a_manifest_cannot_lead_elsewhere(run):
    with pytest.raises(CheckpointError, match="missing"):
        verify(forged(run, files={"../../../zero": {"size": 0, "sha256": "0"}}))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_says_which(run, version):
    with pytest.raises(CheckpointError, match=f"its format is {version!r}, this gptforge reads 1"):
        verify(forged(run, format=version))


# Which one is taken ------------------------------------------------------------------------------------------


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_one_before_is_taken_with_a_warning(run):
    whole = load_model(str(run.path))
    assert (whole.step, whole.warnings) == (8, [])
    spoil(run.checkpoint(8) / "model.safetensors")
    loaded = load_model(str(run.path))
    assert loaded.step == 4
    (warning,) = loaded.warnings
    found = hashlib.sha256((run.checkpoint(8) / "model.safetensors").read_bytes()).hexdigest()
    written = json.loads((run.checkpoint(8) / MANIFEST).read_text())["files"]["model.safetensors"]["sha256"]
    assert found[:16] in warning and written[:16] in warning
    assert str(run.checkpoint(8) / "model.safetensors") in warning


def test_none_that_is_sound(run):
    for path in run.newest_first():
        spoil(path / "state.json")
    with pytest.raises(CheckpointError, match="no checkpoint is sound") as caught:
        load_model(str(run.path))
    assert "state.json" in str(caught.value)


def test_one_that_was_asked_for_is_not_replaced(run):
    spoil(run.checkpoint(8) / "tokenizer.json")
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(str(run.checkpoint(8)))
    assert small.gptforge("sample", f"ckpt={run.checkpoint(8)}") == 4
    assert load_model(str(run.checkpoint(4))).step == 4


def test_a_directory_without_a_manifest_is_no_checkpoint(run):
    path = run.checkpoints / ".tmp-step-000009-1"
    shutil.copytree(run.checkpoint(8), path)
    assert run.steps() == [4, 8]
    checkpoint.sweep_litter(run)
    assert not path.exists()


def test_litter_of_killed_writes_is_swept(run):
    names = [".tmp-step-000001-77", ".trash-step-000002-77"]
    for name in names:
        (run.checkpoints / name).mkdir()
    for name in (".tmp-latest-77-1", "../.tmp-summary.json-77-1"):
        (run.checkpoints / name).write_text("x")
    checkpoint.sweep_litter(run)
    assert [p for p in run.path.rglob(".t*")] == []
    assert run.steps() == [4, 8] and run.pointer("latest") == 8


# Writing -----------------------------------------------------------------------------------------------------


def test_a_committed_step_is_never_overwritten(run):
    before = (run.checkpoint(8) / MANIFEST).read_bytes()
    with pytest.raises(checkpoint.ResourceError):
        checkpoint.commit(run, 8, {"state.json": b"{}"})
    assert (run.checkpoint(8) / MANIFEST).read_bytes() == before
    verify(run.checkpoint(8))


def test_rotation_spares_the_newest_and_the_best(run):
    for step in (10, 12, 14):
        checkpoint.commit(run, step, {"state.json": b"{}"})
    checkpoint.point(run, "best", 4)
    checkpoint.rotate(run, 2, also=10)
    assert run.steps() == [4, 10, 12, 14]
    checkpoint.rotate(run, 2)
    assert run.steps() == [4, 12, 14]
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []


def test_setting_aside_moves_the_best_pointer_with_it(run):
    assert run.pointer("best") == 8
    aside = checkpoint.set_aside(run, 4)
    assert aside is not None and (aside / "step-000008").is_dir()
    assert run.steps() == [4] and run.pointer("best") is None
    assert checkpoint.set_aside(run, 4) is None


def test_a_best_pointer_beyond_goes_even_if_what_it_named_was_moved_before(run):
    checkpoint.set_aside(run, 4)
    checkpoint.point(run, "best", 8)  # as a power cut may leave it
    assert checkpoint.set_aside(run, 4) is None
    assert run.pointer("best") is None


def test_the_best_pointer_goes_before_what_it_names(run, monkeypatch):
    def refused(*_):
        raise OSError(5, "broken")

    monkeypatch.setattr(checkpoint.os, "rename", refused)
    with pytest.raises(checkpoint.ResourceError, match="cannot be moved aside"):
        checkpoint.set_aside(run, 4)
    assert run.steps() == [4, 8] and run.pointer("best") is None


def test_names_survive_a_power_cut(own_folder):
    disk = Recorder(own_folder)
    with watched(own_folder, disk):
        run = Run.create({}, "test", Call(directory=Path("sweeps/first/run")))
        checkpoint.commit(run, 3, {"state.json": b"{}"})
        checkpoint.point(run, "best", 3)
        checkpoint.commit(run, 6, {"state.json": b"{ }"})
    for seed in range(20):
        left = own_folder / f"left-{seed}"
        leave(disk, len(disk.steps), random.Random(seed), left)
        found = Run(left / run.path)
        assert found.config.exists() and found.steps() == [3, 6] and found.pointer("best") == 3
        for path in found.newest_first():
            verify(path)


# Contents ----------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_the_saved_one(trained):
    loaded = load_model(str(trained.path))
    assert not loaded.model.training
    assert checkpoint.weights_sha256(loaded.model) == small.summary(trained.path)["weights_sha256"]
    assert loaded.config.model == small.config().model
    saved = checkpoint.read_tensors(trained.checkpoint(8) / "model.safetensors")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, saved[name])


def test_weights_of_another_shape_are_refused(trained):
    for cfg in (small.config(model__n_embd=64), small.config(model__n_layer=2), small.config(model__bias=True)):
        with pytest.raises(CheckpointError, match="tensors do not fit the model"):
            checkpoint.load_weights(Transformer(cfg.model, 29), trained.checkpoint(8))


def test_the_hash_of_weights_sees_every_bit_and_name():
    model = Transformer(small.config().model, 29)
    model.init_weights(torch.Generator().manual_seed(0))
    before = checkpoint.weights_sha256(model)
    with torch.no_grad():
        model.blocks[0].mlp.proj.weight.view(torch.int32)[0, 0] ^= 1
    assert checkpoint.weights_sha256(model) != before
    assert checkpoint.weights_sha256(model.double()) != before
    a, b = torch.nn.Module(), torch.nn.Module()
    a.register_buffer("one", torch.ones(2))
    b.register_buffer("two", torch.ones(2))
    assert checkpoint.weights_sha256(a) != checkpoint.weights_sha256(b)


def draw() -> tuple:
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


HELD = {"adamw": [{"step", "exp_avg", "exp_avg_sq"}], "muon": [{"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"}]}


@pytest.mark.parametrize("kind, decay", [("adamw", None), ("muon", 0.9)])
def test_state_comes_back_as_it_was(own_folder, kind, decay):
    small.write_text()
    changes = {"optimizer__kind": kind, "optimizer__ema_decay": decay}
    parts, _ = build_parts(small.config(**changes))
    for parameter in parts.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    parts.optimizer.step()
    if parts.average:
        parts.average.update(1)
    seed_all(3)
    random.gauss(0, 1)  # these generators keep the second number of a pair
    np.random.randn()
    state = TrainState(step=7, tokens=3, progress=0.1 + 0.2, loss_sum=1 / 3, best_val_loss=2 / 3, best_step=4)
    files = pack(state, parts.model, parts.optimizer, parts.average, {"data": "x"})
    expected = draw()
    for name, content in files.items():
        (own_folder / name).write_bytes(content)
    other, _ = build_parts(small.config(seed=5, **changes))
    seed_all(99)
    again, fingerprint = unpack(own_folder, other.model, other.optimizer, other.average)
    assert again == state and fingerprint == {"data": "x"}
    assert draw() == expected
    assert checkpoint.weights_sha256(other.model) == checkpoint.weights_sha256(parts.model)
    for mine, theirs, keys in zip(each(parts.optimizer), each(other.optimizer), HELD[kind], strict=True):
        for a, b in zip(all_of(mine), all_of(theirs), strict=True):
            held, found = mine.state[a], theirs.state[b]
            assert held.keys() == found.keys() == keys
            assert all(torch.equal(held[key], found[key]) for key in held)
    if parts.average:
        with parts.average.in_place(), other.average.in_place():
            assert checkpoint.weights_sha256(other.model) == checkpoint.weights_sha256(parts.model)
    packed = pack(again, other.model, other.optimizer, other.average, fingerprint)
    assert packed.keys() == files.keys()
    assert all(packed[name] == files[name] for name in files if name not in ("rng.safetensors", "state.json"))


def all_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_what_is_loaded_from_a_checkpoint_is_the_average(own_folder):
    small.write_text()
    trainer = small.trainer(small.config(optimizer__ema_decay=0.9), "run")
    trainer.fit()
    loaded = checkpoint.load_model("run")
    held = trainer.parts.average.weights
    assert all(torch.equal(p, held[name]) for name, p in loaded.model.named_parameters())
    assert checkpoint.weights_sha256(loaded.model) == small.summary("run")["weights_sha256"]
    own = checkpoint.read_tensors(loaded.path / "unaveraged.safetensors")
    assert all(torch.equal(p, own[name]) for name, p in trainer.parts.model.named_parameters())
    assert not any(torch.equal(own[name], held[name]) for name in own)


def test_an_average_can_begin_and_end_at_a_resume(own_folder):
    small.write_text()
    allowed = "resume_allow=[optimizer.ema_decay]"
    assert small.gptforge(*small.typed(small.config(train__stop_after="4"), "run")) == 75
    assert small.gptforge("train", "resume=run", "optimizer.ema_decay=0.9", "train.stop_after=4", allowed) == 75
    averaged = checkpoint.load_model("run").path
    own = checkpoint.read_tensors(averaged / "unaveraged.safetensors")
    assert small.gptforge("train", "resume=run", "optimizer.ema_decay=null", "train.stop_after=1", allowed) == 75
    after = checkpoint.read_tensors(checkpoint.load_model("run").path / "model.safetensors")
    moved = max(float((after[name] - own[name]).abs().max()) for name in own)
    assert moved < 3 * 3e-3  # one step on from the weights that were trained, not from their average


@given(st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_generators_go_on_from_any_point(seed, drawn):
    seed_all(seed)
    for _ in range(drawn):
        draw()
    held = json.loads(json.dumps(python_rng())), torch_rng()
    expected = draw()
    seed_all(0)
    restore_python_rng(held[0])
    restore_torch_rng(held[1])
    assert draw() == expected


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda held: held.pop("rng"),
        lambda held: held["rng"]["python"].pop(),
        lambda held: held["rng"].update(numpy=[[1, 2], 0, 0, 0.0]),
        lambda held: held["state"].update(unknown=1),
        lambda held: held.pop("state"),
        lambda held: held.pop("fingerprint"),
    ],
)
def test_a_state_that_does_not_fit_is_an_error(own_folder, spoilt):
    small.write_text()
    parts, _ = build_parts(small.config())
    files = pack(TrainState(), parts.model, parts.optimizer, None, {})
    held = json.loads(files["state.json"])
    spoilt(held)
    for name, content in (files | {"state.json": json.dumps(held).encode()}).items():
        (own_folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="the training state does not fit"):
        unpack(own_folder, parts.model, parts.optimizer, None)


def test_tensors_that_cannot_be_read(own_folder):
    (own_folder / "x.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="tensors cannot be read"):
        checkpoint.read_tensors(own_folder / "x.safetensors")
    with pytest.raises(CheckpointError, match="tensors cannot be read"):
        checkpoint.read_tensors(own_folder / "missing.safetensors")


def test_nothing_is_pickled(trained):
    for path in trained.path.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:4]
            assert not head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"PK"))


# From anyone: the hashes are right, for whoever made the files made them too ----------------------------------------


def remade(run: Run, name: str, content: bytes) -> None:
    """Another file in the newest checkpoint, and a manifest that goes with it."""
    path = run.newest_first()[0]
    (path / name).write_bytes(content)
    held = {p.name: p.read_bytes() for p in path.iterdir() if p.name != MANIFEST}
    (path / MANIFEST).write_bytes(checkpoint.manifest(int(path.name[5:]), held))


def on_resume(run: Run) -> str:
    small.write_text()
    parts, _ = build_parts(small.config())
    with pytest.raises(CheckpointError) as e:
        unpack(run.newest_first()[0], parts.model, parts.optimizer, parts.average)
    return str(e.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", "4"), ("step", -1), ("step", True), ("step", 1 << 70), ("loss_sum", [1]), ("best_val_loss", "0.1"),
        ("metrics_bytes", None), ("overfit_said", 1), ("tokens", 1.5), ("__class__", "x"),
    ],
)  # fmt: skip
def test_a_state_that_no_run_can_have(run, key, value):
    held = json.loads((run.newest_first()[0] / "state.json").read_bytes())
    held["state"][key] = value
    remade(run, "state.json", json.dumps(held).encode())
    assert f"{key}=" in on_resume(run)


@pytest.mark.parametrize("state", [[[0] * 624, 625, 0, 0.0], [[0] * 624, -1, 0, 0.0], [[0] * 3, 0, 0, 0.0], [], "abc"])
def test_a_generator_that_would_read_beyond_its_words(run, state):
    held = json.loads((run.newest_first()[0] / "state.json").read_bytes())
    held["rng"]["numpy"] = state
    remade(run, "state.json", json.dumps(held).encode())
    before = python_rng()
    assert "does not fit" in on_resume(run)
    restore_python_rng(before)


@pytest.mark.parametrize("tensor", [torch.zeros(3, 5), torch.zeros(1 << 4, dtype=torch.int32), torch.zeros(0)])
def test_moments_of_another_shape(run, tensor):
    path = run.newest_first()[0] / "optimizer.safetensors"
    held = read_tensors(path)
    name = next(name for name, value in held.items() if value.numel() > 1)
    remade(run, path.name, tensor_bytes(held | {name: tensor}))
    assert "does not fit the model" in on_resume(run)


def test_weights_of_another_type(run):
    path = run.newest_first()[0] / "model.safetensors"
    held = read_tensors(path)
    for dtype, said in ((torch.int64, "int64"), (torch.float16, "float16"), (torch.float8_e4m3fn, "float8_e4m3fn")):
        remade(run, path.name, tensor_bytes({name: value.to(dtype) for name, value in held.items()}))
        with pytest.raises(CheckpointError, match=f"of {said}, the model has .* of float32"):
            load_model(str(run.newest_first()[0]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_links_and_pipes_are_not_read(run):
    path = run.newest_first()[0]
    inside = path / "model.safetensors"
    inside.rename(path.parent / "elsewhere")
    inside.symlink_to(path.parent / "elsewhere")
    with pytest.raises(CheckpointError, match=r"model\.safetensors in it is a link"):
        verify(path)
    inside.unlink()
    os.mkfifo(inside)
    with pytest.raises(CheckpointError, match=r"model\.safetensors in it is a link or no plain file"):
        verify(path)


@pytest.mark.parametrize("step", ["4", None, [8], 1.5])
def test_a_manifest_without_a_step(run, step):
    path = run.newest_first()[0] / MANIFEST
    held = json.loads(path.read_bytes()) | {"step": step}
    path.write_bytes(checkpoint.json_bytes(sealed(held)))
    with pytest.raises(CheckpointError, match="no step"):
        verify(path.parent)
