"""A run is compiled when that repays itself, decided from the config alone, so that equal commands decide alike."""

import dataclasses

import pytest

import small
from gptforge.config import RuntimeConfig
from gptforge.config.schema import build
from gptforge.runtime import Choice, Machine, choose
from gptforge.train.decisions import as_before, decide, uncompiled
from gptforge.train.repay import compile_choice, cpu_cost, rough

CPU = Machine(("cpu",), "amx_bf16", None, 2, 8 * 10**9, "a CPU")
A100 = Machine(("cuda", "cpu"), "", (8, 0), 8, 8 * 10**9, "A100", 40 * 10**9)
SMALL = {"model__n_layer": 4, "model__n_embd": 128, "model__n_head": 4, "model__block_size": 256, "model__dropout": 0.0}
BABY = {"model__n_layer": 6, "model__n_embd": 384, "model__n_head": 6, "model__block_size": 256, "model__dropout": 0.0}


def decided(machine, steps=None, seconds=None, asked=None, **keys):
    cfg = small.config(**keys)
    return compile_choice(cfg, choose(build(RuntimeConfig, asked or {}), machine), machine, 65, steps, seconds)


@pytest.mark.parametrize(
    ("machine", "keys", "steps", "compiled"),
    [
        (CPU, {}, 12, False),
        (CPU, SMALL | {"train__batch_size": 8}, 2000, False),  # about 3 min
        (CPU, SMALL | {"train__batch_size": 16}, 20_000, True),
        (CPU, BABY | {"train__batch_size": 16}, 100, False),
        (CPU, SMALL | {"train__batch_size": 16, "model__dropout": 0.1}, 20_000, False),
        (CPU, BABY | {"train__batch_size": 64}, 5000, True),  # three hours, of which two per cent
        (CPU, BABY | {"train__batch_size": 64, "model__dropout": 0.2}, 5000, False),
        (A100, SMALL | {"train__batch_size": 16}, 2000, False),  # launching kernels: 12 s
        (A100, BABY | {"train__batch_size": 64}, 10_000, True),
    ],
)
def test_long_runs_are_compiled(machine, keys, steps, compiled):
    assert decided(machine, steps, **keys).value is compiled


def test_the_reason_gives_both_sides():
    assert decided(CPU, seconds=1800, **SMALL).reason == "saves about 6 min of 30 min, costs 35 s"
    assert decided(CPU, seconds=80, **SMALL).reason == "would cost 35 s and save about 15 s of 80 s"
    assert decided(CPU, seconds=1800, **BABY).reason == "would cost 45 s and save about 38 s of 30 min"
    assert decided(CPU, seconds=1800).reason == "saves nothing on a CPU when there is dropout"
    assert decided(A100, seconds=30).reason == "the run takes about 30 s: too short to repay it"
    assert decided(A100, seconds=600) == Choice(True, "the run takes about 10 min")
    assert [rough(s) for s in (0.2, 99, 100, 5999, 7200)] == ["1 s", "99 s", "2 min", "100 min", "2.0 h"]


def test_more_layers_cost_more_and_more_threads_save_less():
    assert cpu_cost(12) > cpu_cost(6)
    keys = SMALL | {"train__batch_size": 16}
    assert decided(CPU, 20_000, **keys).value
    assert not decided(dataclasses.replace(CPU, cores=32), 20_000, **keys).value


def test_it_is_settled_once_and_kept(own_folder):
    """What was asked for, or decided when the run began, is not weighed again."""
    cfg = small.config(
        train__steps=None, train__time="1h", model__dropout=0.0, runtime__threads=None, train__grad_accum=None
    )
    open_ = choose(cfg.runtime, CPU)
    assert open_.compile.value is None
    decisions = decide(cfg, open_, CPU, 65, 100, 1000, {})
    assert decisions.runtime.compile.value is True
    asked = choose(build(RuntimeConfig, {"compile": False}), CPU)
    assert decide(cfg, asked, CPU, 65, 100, 1000, {}).runtime.compile == Choice(False, "asked for")
    gave_up = uncompiled(decisions, "no g++").to_dict()
    assert gave_up["compile"] == {"value": False, "reason": "compiling failed: no g++"}
    kept = as_before(cfg, gave_up, CPU)
    again = decide(cfg, dataclasses.replace(open_, compile=kept["compile"]), CPU, 65, 100, 1000, {})
    assert again.runtime.compile.value is False


def test_decisions_of_an_older_gptforge_are_taken_over():
    cfg = small.config(runtime__threads=None, train__grad_accum=None)
    saved = decide(cfg, choose(cfg.runtime, CPU), CPU, 65, 100, 1000, {}).to_dict()
    del saved["tf32"]
    assert "tf32" not in as_before(cfg, saved, CPU)
    assert as_before(cfg, saved, CPU)["threads"].value == 2
