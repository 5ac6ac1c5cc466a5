"""Spikes and values that are no numbers: what is found, what is remembered, and when nothing helps."""

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from gptforge.errors import NumericalError
from gptforge.train.watch import LEAST, PATIENCE, WINDOW, Fault, Watch, answer, spread

LOSSES = st.floats(0.01, 20)


def watched(losses, norm: float = 1.0) -> Watch:
    watch = Watch()
    for loss in losses:
        watch.accept(loss, norm)
    return watch


@given(st.lists(LOSSES, min_size=2, max_size=300))
def test_mean_and_deviation(values):
    mean, deviation = spread(values)
    assert mean == pytest.approx(sum(values) / len(values))
    assert deviation == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)), abs=1e-9)


def test_nothing_is_a_spike_before_enough_is_known():
    assert watched([3.0] * (LEAST - 1)).judge(1e6, 1e6) is None
    watch = watched([3.0] * LEAST)
    assert watch.judge(3.2, 1.0) is None and watch.judge(3.0, 3.9) is None and watch.spikes == 0
    assert watch.judge(3.4, 1.0) == Fault("loss", 3.4, 3.0) and watch.judge(3.0, 4.1) == Fault(
        "gradient norm", 4.1, 1.0
    )
    assert watch.spikes == 2


def test_a_falling_loss_has_no_spikes_and_a_jump_of_six_deviations_is_one():
    losses = [4 * math.exp(-n / 40) + 1 + 0.05 * (-1) ** n for n in range(200)]
    watch = Watch()
    for loss in losses:
        assert watch.judge(loss, 1.0) is None
        watch.accept(loss, 1.0)
    mean, deviation = spread(watch.losses)
    assert len(watch.losses) == len(watch.norms) == WINDOW
    assert watch.judge(mean + 5.9 * deviation, 1.0) is None
    assert watch.judge(mean + 6.1 * deviation, 1.0) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_found_at_once_and_forgotten(value):
    watch = watched([2.0] * 3)
    assert watch.judge(value, 1.0).name == "loss" and watch.judge(2.0, value).name == "gradient norm"
    assert watch.nonfinite == 2 and watch.losses == [2.0] * 3 and watch.spikes == 0


@given(st.lists(LOSSES, max_size=200))
def test_it_comes_back_from_json_as_it_was(losses):
    watch = watched(losses)
    watch.pass_over()
    assert Watch(**json.loads(json.dumps(asdict(watch)))) == watch


def test_the_batches_before_a_return_are_left_behind():
    watch = watched([1.0])
    watch.pass_over()  # batch 7 instead of 6 in step 6
    watch.go_back(before=9, now=5, then=watched([2.0]))
    watch.pass_over()
    assert watch.ahead == 6  # step 5 learns from batch 11, for step 9 met batch 10
    assert watch.losses == [2.0] and watch.passed_over == 2 and watch.rollbacks == 1


def test_when_nothing_helps_it_ends():
    cfg, fault = small.config(train__on_nonfinite="skip"), Fault("loss", math.nan)
    watch = Watch()
    for _ in range(PATIENCE):
        assert answer(fault, cfg, watch, 3, "run") == "skip"
        watch.pass_over()
    with pytest.raises(NumericalError, match="10 times one after another: it is not the data"):
        answer(fault, cfg, watch, 3, "run")
    again = Watch()
    for _ in range(PATIENCE):
        again.go_back(9, 5, Watch())
    with pytest.raises(NumericalError, match="after 10 returns"):
        answer(fault, small.config(train__on_nonfinite="rollback"), again, 3, "run")


def test_what_is_said_names_the_way_out():
    with pytest.raises(NumericalError) as e:
        answer(Fault("loss", math.inf), small.config(optimizer__lr=0.003), Watch(), 12, "runs/x")
    assert str(e.value).splitlines() == [
        "numerical error: the loss is inf in step 12; the weights are still those before it",
        "  where: runs/x",
        "  try:   a smaller lr: optimizer.lr=0.001",
        "  try:   runtime.dtype=float32",
        "  try:   train.on_nonfinite=skip (leave such batches out)",
    ]
    with pytest.raises(NumericalError, match=r"jumped to 9\.1 in step 40, where 2\.3 is usual"):
        answer(Fault("loss", 9.1, 2.3), small.config(train__on_spike="stop"), Watch(), 40, "runs/x")


def test_weights_that_are_no_numbers_are_not_saved(own_folder):
    small.write_text()
    trainer = small.trainer(small.config())
    trainer.step()
    next(trainer.parts.model.parameters()).data[0, 0] = math.nan
    with pytest.raises(NumericalError, match=r"tok_emb\.weight has values that are no numbers after step 1"):
        trainer.save()
    assert not trainer.run.steps()
