"""Ctrl-C and SIGTERM: asked for, passed on, obeyed at once the second time."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from gptforge.errors import Stopped
from gptforge.signals import PARENT, PARENT_GONE, SIGNALS, StopSignals

PROGRAM = """
import os, signal, sys, time
from gptforge.errors import Stopped
from gptforge.signals import StopSignals, follow_parent
follow_parent()
with StopSignals() as signals:
    {passing}
    try:
        with signals.polled():
            print("polled", flush=True)
            for _ in range(600):
                if signals.asked and not {stubborn}:
                    print("asked", signals.asked, flush=True)
                    sys.exit(75)
                elif signals.asked:
                    print("asked", signals.asked, flush=True)
                time.sleep(0.02)
    except Stopped:
        print("Stopped", flush=True)
"""


def started(stubborn=False, passing="pass"):
    code = PROGRAM.format(stubborn=stubborn, passing=passing)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "polled\n"
    return process


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_work_that_asks_ends_when_it_likes(number):
    process = started()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == (f"asked {number.name}\n", "", 75)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of it")
def test_the_end_of_the_parent_may_be_told_more_than_once(monkeypatch):
    monkeypatch.setenv(PARENT, str(os.getpid()))
    process = started(stubborn=True)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline().startswith("asked")
    for _ in range(5):
        process.send_signal(PARENT_GONE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_the_second_signal_ends_it_at_once():
    process = started(stubborn=True)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "asked SIGTERM\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == "\ngptforge: stopped at once\n"


def test_signals_are_passed_on_both_times():
    process = started(stubborn=True, passing="signals.pass_on = lambda n: os.write(1, b'passed %d\\n' % n)")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == f"passed {signal.SIGTERM:d}\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert out.endswith(f"passed {signal.SIGTERM:d}\n") and process.returncode == 130


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_before_the_work_asks_it_is_stopped(number, capfd):
    before = signal.getsignal(number)
    with pytest.raises(Stopped), StopSignals():
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert "stopped before the first step" in capfd.readouterr().err
    assert signal.getsignal(number) == before


def test_polling_ends_with_its_block():
    with pytest.raises(Stopped), StopSignals() as signals:
        with signals.polled():
            assert not signals.asked
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)


def test_other_threads_have_no_handlers():
    """Python refuses them there; the work runs all the same."""
    before = signal.getsignal(signal.SIGTERM)
    failures = []

    def work():
        try:
            with StopSignals() as signals, signals.polled():
                assert not signals.asked
        except BaseException as e:
            failures.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures and signal.getsignal(signal.SIGTERM) == before


def test_one_of_several_processes_leaves_the_second_signal_to_who_started_it(capfd):
    with StopSignals(rank=1) as signals, signals.polled():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.1)
        assert signals.asked == "SIGTERM"
    for rank, said in ((0, "stopped before the first step"), (1, "")):
        with pytest.raises(Stopped), StopSignals(rank=rank):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        assert capfd.readouterr().err.strip().removeprefix("gptforge: ") == said


AROUND = """
import atexit, sys, time
from gptforge import cli
def wait():
    print("here", flush=True)
    time.sleep(60)
sys.argv = ["gptforge", *{words}]
if {over}:
    cli.dispatch = lambda words: atexit.register(wait) and 6
else:
    cli.dispatch = lambda words: wait()
cli.main()
"""


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
@pytest.mark.parametrize(
    ("words", "over", "code"),
    [(["train", "seed=1"], False, 75), (["train", "seed=1"], True, 6), (["info"], True, 6)],
)
def test_before_and_after_the_work_the_exit_code_says_how_it_went(number, words, over, code):
    process = subprocess.Popen(
        [sys.executable, "-c", AROUND.format(words=words, over=over)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert said == ("" if over else "\ngptforge: stopped before the first step\n")


def test_the_last_moments_of_a_process_are_deaf():
    code = (
        "import os, signal; from gptforge.signals import turn_deaf; turn_deaf(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_ignored_signals_stay_ignored():
    """As `nohup` and `&` want it."""
    code = "import os, signal; from gptforge.signals import end_at_once; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    code += "end_at_once(75); os.kill(os.getpid(), signal.SIGINT)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
