"""Conditions on runs as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptforge.conditions import Condition, parse
from gptforge.errors import ConfigError

KNOWN = ("status", "val_loss", "optimizer.lr", "model.dropout", "attention.dropout")


@pytest.mark.parametrize(
    ("text", "found", "holds"),
    [
        ("status=done", "done", True), ("status!=done", "failed", True), ("status=done", None, False),
        ("status!=done", None, True), ("val_loss<1.6", 1.5, True), ("val_loss<1.6", 1.6, False),
        ("val_loss<=1.6", 1.6, True), ("val_loss>1", None, False), ("lr=1e-3", 0.001, True), ("lr=0.0010", 0.001, True),
        ("optimizer.lr>=1e-3", 1e-3, True), ("status~ON", "done", True), ("status~x", None, False),
        ("status=null", None, True), ("status=true", True, True), ("status=a", ["a", "b"], True),
        ("status=1", True, False), ("val_loss>0", float("nan"), False),
    ],
)  # fmt: skip
def test_what_holds(text, found, holds):
    (condition,) = parse(text, KNOWN, "filter=…")
    assert condition.holds(found) is holds


def test_several_and_names_by_their_last_part():
    signs = [("optimizer.lr", "<", "1"), ("status", "=", "done")]
    assert parse("lr<1, status=done", KNOWN, "") == [Condition(*sign) for sign in signs]
    assert parse(" ", KNOWN, "") == []


@pytest.mark.parametrize("text", ["x", "=3", "nope=3", "dropout=0", "val_loss<a", "status=", "a b"])
def test_what_is_none(text):
    with pytest.raises(ConfigError):
        parse(text, KNOWN, "filter=…")


@given(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text())))
def test_any_text_is_read_or_refused(text, found):
    try:
        conditions = parse(text, KNOWN, "filter=…")
    except ConfigError:
        return
    assert all(condition.holds(found) in (True, False) for condition in conditions)
