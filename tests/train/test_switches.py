"""Every switch of the runtime changes how fast a run is, not what it learns; a failed compilation changes nothing."""

import json
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.exc import CppCompileError

import small
from gptforge import compiling
from gptforge.errors import Stopped
from gptforge.runs import Run
from gptforge.train.parts import build_parts
from gptforge.train.trainer import Trainer

IMPORTING = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, in its compiler
KEYS = {"train__steps": 20, "train__grad_accum": 1, "eval__every": 20, "checkpoint__every": 20}


@pytest.fixture(autouse=True)
def text(own_folder):
    small.write_text()
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch._dynamo.reset()


def losses(name, **keys):
    small.trainer(small.config(**(KEYS | keys)), name).fit()
    return torch.tensor([r["train_loss"] for r in small.records(name) if "train_loss" in r])


def test_the_allocator_changes_no_bit():
    assert torch.equal(losses("kept", runtime__allocator=True), losses("returned", runtime__allocator=False))
    assert small.course("kept") == small.course("returned")


def test_threads_change_rounding_alone():
    one = losses("one", runtime__dtype="float32", runtime__threads=1)
    two = losses("two", runtime__dtype="float32", runtime__threads=2)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_bfloat16_learns_as_float32_does():
    """8 bits of mantissa: single losses within 1 %, and the same way down."""
    full = losses("full", runtime__dtype="float32", model__dropout=0.0)
    half = losses("half", runtime__dtype="bfloat16", model__dropout=0.0)
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0.01, atol=0.0)
    assert full[-1] < full[0] - 0.05


@pytest.mark.slow
@IMPORTING
def test_compiling_changes_rounding_alone():
    keys = {"runtime__dtype": "float32", "model__dropout": 0.0}  # dropout is drawn from another generator
    eager = losses("eager", runtime__compile=False, **keys)
    compiled = losses("compiled", runtime__compile=True, **keys)
    torch.testing.assert_close(eager, compiled, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@IMPORTING
def test_a_compiled_run_goes_on_bit_for_bit():
    """Also with dropout: compiled code draws its seeds from torch's generator, whose state is saved."""
    keys = {"runtime__compile": True, "model__dropout": 0.1, "checkpoint__every": 7}
    losses("whole", **keys)
    with pytest.raises(Stopped):
        losses("parted", **keys, train__stop_after="9")
    torch._dynamo.reset()  # as in a new process
    assert small.gptforge("train", "resume=parted", "ui=quiet") == 0
    assert small.course("whole") == small.course("parted")


# A compiler that fails ---------------------------------------------------------


def broken(graph, inputs):
    raise CppCompileError(["g++"], "a.cpp:1: fatal error: no room")


FAILING = {"forward": broken, "backward": aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=broken)}


def failing(name, where, **keys):
    parts, _ = build_parts(small.config(**(KEYS | keys)))
    parts.model.compile(backend=FAILING[where], dynamic=False)
    return small.trainer(small.config(**(KEYS | keys)), name, parts)


@pytest.mark.parametrize("where", FAILING)
@pytest.mark.parametrize("accum", [1, 2])
def test_a_run_goes_on_uncompiled_and_loses_nothing(where, accum):
    keys = {"train__grad_accum": accum, "model__dropout": 0.1}
    losses("eager", **keys)
    trainer = failing("run", where, **keys)
    trainer.fit()
    assert small.course("run") == small.course("eager")
    assert not compiling.is_compiled(trainer.parts.model)
    said = [line for line in small.log("run").splitlines() if "torch.compile failed" in line]
    assert len(said) == 1 and "no room" in said[0]
    for file in ("run/decisions.json", "run/checkpoints/step-000020/decisions.json"):
        chosen = json.loads(Path(file).read_text())["compile"]
        assert chosen["value"] is False and "compiling failed" in chosen["reason"]
    assert trainer.keeper.fingerprint["compile"] is False


def test_one_that_went_on_uncompiled_says_that_it_was_compiled_before():
    keys, run = KEYS | {"runtime__compile": True, "train__context_warmup": 0}, Run(Path("run"))
    parts, _ = build_parts(small.config(**keys))
    parts.model.compile(backend="eager", dynamic=False)
    with pytest.raises(Stopped):
        small.trainer(small.config(**keys, train__stop_after="7"), "run", parts).fit()
    parts, _ = build_parts(small.config(**keys))
    parts.model.compile(backend=broken, dynamic=False)
    Trainer(small.config(**keys), run, parts=parts).fit(run.newest_first()[0])
    assert small.summary("run")["changed_on_the_way"] == ["runtime.compile true -> false after step 7"]
    assert small.summary("run")["status"] == "done"


def test_a_signal_that_also_ends_the_compiler_stops_the_run_and_changes_no_decision():
    trainer = failing("run", "forward")

    def interrupted(graph, inputs):
        trainer.signals.asked = "Ctrl-C"
        broken(graph, inputs)

    trainer.parts.model.compile(backend=interrupted, dynamic=False)
    with pytest.raises(Stopped, match="Ctrl-C"):
        trainer.fit()
    assert "torch.compile failed" not in small.log("run")
    assert "compiling failed" not in Path("run/decisions.json").read_text()


def test_other_errors_of_a_compiled_model_end_the_run():
    parts, _ = build_parts(small.config(**KEYS))
    parts.model.compile(backend="eager", dynamic=False)

    def objective(model, batch):
        model(batch.inputs, targets=batch.labels)
        raise ValueError("a bug")

    parts.objective = objective
    with pytest.raises(ValueError, match="a bug"):
        small.trainer(small.config(**KEYS), "run", parts).fit()
    assert "torch.compile failed" not in small.log("run")


def test_evaluations_leave_the_compiler_out():
    parts, _ = build_parts(small.config(**KEYS))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    parts.model.compile(backend=count, dynamic=False)
    trainer = small.trainer(small.config(**KEYS), "run", parts)
    trainer.evaluator.losses()
    assert not graphs and compiling.is_compiled(parts.model)
