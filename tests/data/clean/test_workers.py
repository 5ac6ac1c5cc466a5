"""Cleaning in several processes: the same, in order, and nothing is left running."""

import os
import signal
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptforge.config.clean import CleanConfig
from gptforge.data.clean import workers
from gptforge.data.clean.cleaner import Cleaner
from gptforge.data.clean.workers import applied, worthwhile
from gptforge.errors import ResourceError

STRICT = CleanConfig(unicode="fix", line_ends=True, whitespace=True, personal="mask", min_length=3)


def all_of(texts, n):
    return list(applied(enumerate(texts), Cleaner(STRICT), n))


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 3))
def test_the_results_are_those_of_one_process_in_order(monkeypatch, texts, n):
    monkeypatch.setattr(workers, "BATCH_DOCUMENTS", 4)
    assert all_of(texts, n) == all_of(texts, 0)


def test_more_than_a_pipe_holds_goes_through():
    texts = [f"Mail me at a{i}@example.org, or not.\r\n" * 4000 for i in range(12)]
    assert all_of(texts, 2) == all_of(texts, 0)


@pytest.fixture
def started(monkeypatch):
    """The processes that were started, each batch of one document."""
    found: list[subprocess.Popen] = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr(workers.subprocess, "Popen", Watched)
    monkeypatch.setattr(workers, "BATCH_DOCUMENTS", 1)
    return found


def test_a_process_that_dies_is_an_error_and_none_is_left(started):
    def texts():
        for i in range(20):
            if i == 5:
                os.kill(started[0].pid, signal.SIGKILL)
                started[0].wait()
            yield i, "some text"

    with pytest.raises(ResourceError, match=r"has died \(exit code -9\)"):
        list(applied(texts(), Cleaner(STRICT), 2))
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_none_is_left_when_the_caller_stops(started):
    results = applied(((i, "some text") for i in range(100)), Cleaner(STRICT), 2)
    next(results)
    assert len(started) == 2 and all(process.poll() is None for process in started)
    results.close()
    assert all(process.poll() is not None for process in started)


def test_small_texts_and_quick_rules_need_none():
    assert worthwhile(STRICT, 1000) == 0
    assert worthwhile(CleanConfig(line_ends=True), 10**9) == 0
    if (os.cpu_count() or 1) > 1:
        assert worthwhile(STRICT, 10**9) > 1
