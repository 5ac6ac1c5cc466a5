import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptforge.data.clean.decontaminate import STEP, Withheld
from gptforge.data.leakage import RUN_BYTES

QUESTION = "What is the name of the river that flows through the capital of the country whose king was born there?\n"
OTHER = "This line has nothing to do with any test, and must stay where it is, as long as it may be, whatever comes.\n"


def test_lines_of_a_test_are_left_out_however_they_are_written():
    tests = Withheld([QUESTION])
    assert tests.without(OTHER + QUESTION + OTHER, 3).text == OTHER + OTHER
    changed = QUESTION.upper().replace(" ", "  ").replace("?", "!")
    change = tests.without(OTHER + changed + OTHER, 3)
    assert change.text == OTHER + OTHER and change.amount == 1
    (sample,) = change.samples
    assert sample.position == len(OTHER) and sample.text.startswith("WHAT  IS")


def test_a_run_may_go_over_lines():
    broken = QUESTION.replace(" ", "\n")
    assert Withheld([QUESTION]).without(broken + OTHER, 0).text == OTHER
    assert Withheld([broken]).without(QUESTION + OTHER, 0).text == OTHER


def test_short_agreement_is_chance():
    assert Withheld([QUESTION]).without("What is the name of the river that flows through it?\n" + OTHER, 0).amount == 0
    assert Withheld([]).without(QUESTION, 0).text == QUESTION
    assert Withheld(["", "short"]).without(QUESTION, 0).text == QUESTION


def test_scripts_without_blanks():
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故乡。白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
    lines = "春眠不觉晓\n" + poem + "\n处处闻啼鸟\n"
    assert Withheld([poem.replace("，", "\n")]).without(lines, 0).text == "春眠不觉晓\n处处闻啼鸟\n"


LETTERS = st.text("abcdefgh", min_size=RUN_BYTES + STEP - 1, max_size=200)


@given(LETTERS, st.text("xyz \n", max_size=100), st.text("xyz \n", max_size=100))
def test_every_long_enough_passage_is_found(test, before, after):
    change = Withheld([test]).without(f"{before}\n{test}\n{after}", 1)
    assert test not in change.text and change.amount == 1
    assert change.text == f"{before}\n{after}"


@given(st.text("ab\né中 ", max_size=300), st.integers(0, 5))
def test_what_is_left_are_lines_of_the_text(text, seed):
    draw = np.random.default_rng(seed)
    test = "".join(draw.choice(list("ab"), 100))
    change = Withheld([test]).without(text, 2)
    lines, left = text.splitlines(keepends=True), change.text.splitlines(keepends=True)
    assert len(lines) - len(left) == change.amount
    rest = iter(lines)
    assert all(line in rest for line in left)
