"""Dropout that follows the passes over the text: when, that the model has it, and that a run keeps it."""

import pytest
from torch import nn

import small
from gptforge.config import TrainConfig
from gptforge.config.schema import build
from gptforge.runtime import Machine, choose
from gptforge.train.decisions import DROPOUT, as_before, decide
from gptforge.train.parts import build_parts

LAPTOP = Machine(("cpu",), "", None, 2, 10**10, "a laptop")


@pytest.mark.parametrize(
    ("asked", "length", "decided"),
    [
        *[(None, {"epochs": 1.0}, 0.0), (None, {"epochs": 3.9}, 0.0), (None, {"epochs": 4.0}, DROPOUT)],
        *[(None, {"steps": 99}, 0.0), (None, {"steps": 100}, DROPOUT)],  # of 8 sequences: 4 passes over 200 windows
        *[(None, {"time": "1s"}, 0.0), (None, {"time": "1h"}, DROPOUT)],
        *[(0.1, {"epochs": 1.0}, 0.1), (0.0, {"epochs": 9.0}, 0.0)],
    ],
)
def test_it_begins_with_the_fourth_pass(asked, length, decided):
    cfg = build(TrainConfig, {"train": length, "model": {"dropout": asked}})
    found = decide(cfg, choose(cfg.runtime, LAPTOP), LAPTOP, 65, 200, 1000, {}).dropout
    assert found.value == decided
    assert found.reason


def test_a_run_keeps_it_when_it_becomes_longer_but_for_what_is_asked():
    short = build(TrainConfig, {"train": {"epochs": 1.0}, "model": {"dropout": None}})
    began = decide(short, choose(short.runtime, LAPTOP), LAPTOP, 65, 200, 1000, {}).to_dict()
    long = build(TrainConfig, {"train": {"epochs": 8.0}, "model": {"dropout": None}})
    kept = as_before(long, began, LAPTOP)
    assert decide(long, choose(long.runtime, LAPTOP), LAPTOP, 65, 200, 1000, kept).dropout.value == 0
    asked = build(TrainConfig, {"model": {"dropout": 0.3}})
    assert "dropout" not in as_before(asked, began, LAPTOP)


def test_the_model_is_built_with_what_was_decided(own_folder):
    small.write_text()
    for epochs, decided in ((1.0, 0.0), (5.0, DROPOUT)):
        cfg = small.config(model__dropout=None, train__steps=None, train__epochs=epochs)
        parts, _ = build_parts(cfg)
        assert {m.p for m in parts.model.modules() if isinstance(m, nn.Dropout)} == {decided}
