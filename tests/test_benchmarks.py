"""The benchmarks work: their arithmetic, their processes, their quick modes; and the tables are the stored results'."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
MODULES = ("measure", "report", "workers", "plain", "processes", "shapes", "personal_data", "objectives")
NEEDS_PEER = {"training_step", "sampling", "imported", "startup"}
SLOW = (
    "kernels", "training_step", "peak", "sampling", "imported", "startup", "memory", "scaling", "bpe", "cleaning",
    "prepare", "personal_data", "cleaning_pays", "time_to_loss", "sweeps", "listing", "experts",
    "objectives",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The benchmarks' modules, which lie on no path: they import each other as scripts of one folder do."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def test_rounds_go_back_and_forth(bench: SimpleNamespace) -> None:
    order: list[str] = []
    tasks = {name: lambda name=name: float(order.append(name) or len(order)) for name in "abc"}
    assert bench.measure.alternate(tasks, 3) == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert "".join(order) == "abccbaabc"


def test_a_ratio_is_of_one_round(bench: SimpleNamespace) -> None:
    row = bench.measure.row("a / b", "x", bench.measure.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]), target=2.0)
    assert (row.median, row.low, row.high, row.n) == (2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError):
        bench.measure.ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("value", "at_most", "met"), [(1.9, False, False), (2.0, False, True), (2.1, True, False)])
def test_targets(bench: SimpleNamespace, value: float, at_most: bool, met: bool) -> None:
    row = bench.measure.row("a", "x", [value], target=2.0, at_most=at_most)
    assert row.met is met
    assert bench.measure.verdict(row) == f"{'<=' if at_most else '>='} 2.00x, {'met' if met else 'missed'}"
    assert bench.measure.row("a", "x", [value]).met is None


NUMBERS = [(0.6534, "%", "65.3 %"), (0.0025, "%", "0.25 %"), (3.116, "x", "3.12x"), (17.04, "x", "17.0x")]


@pytest.mark.parametrize(("value", "unit", "shown"), [*NUMBERS, (12345.6, "tokens/s", "12,346 tokens/s")])
def test_numbers_have_units(bench: SimpleNamespace, value: float, unit: str, shown: str) -> None:
    assert bench.measure.shown(value, unit) == shown


def test_result_is_stored_with_its_machine(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # finish() leaves it
    measure = bench.measure
    rows = [measure.row("a / b", "x", [1.0, 2.0], 1.2, "of | it")]
    found = measure.Options(quick=False, rounds=2, out=tmp_path / "name.json", extra=SimpleNamespace(), load=(0.0,))
    measure.finish("name", "A title", rows, ["a note"], found)
    result, loaded = measure.load(tmp_path / "name.json")
    assert loaded == rows
    assert result["machine"]["cpu"] and result["machine"]["packages"]["torch"] and result["notes"] == ["a note"]
    text = bench.report.tables([(result, loaded)])
    assert "| a / b | **1.50x** | 1.00x to 2.00x, n = 2 | >= 1.20x, met | of \\| it |" in text
    assert "* a note" in text and "Not measured yet: kernels, training_step" in text


def test_busy_machine_is_told(bench: SimpleNamespace) -> None:
    assert bench.measure.busy((0.1, 0.0, 0.0)) == []
    (note,) = bench.measure.busy((100.0, 0.0, 0.0))
    assert "busy" in note


def test_picture_shows_every_target(bench: SimpleNamespace) -> None:
    measure, report = bench.measure, bench.report
    rows = [measure.row("long <bar>", "x", [9.0], 1.0), measure.row("short", "s", [4.0], 1.0, at_most=True)]
    root = ET.fromstring(report.picture(rows))
    space = {"s": "http://www.w3.org/2000/svg"}
    texts = [text.text or "" for text in root.findall("s:text", space)]
    assert "long <bar> (≥ 1.00x)" in texts and "9.00x ▸" in texts and "short (≤ 1 s)" in texts
    kinds = {rect.attrib["class"]: float(rect.attrib["width"]) for rect in root.findall("s:rect", space)}
    assert kinds["met"] == kinds["track"] and kinds["missed"] == pytest.approx(kinds["track"] / 8, abs=0.1)


def test_readme_shows_the_stored_results(bench: SimpleNamespace) -> None:
    outdated = [path.name for path in bench.report.stale()]
    assert not outdated, f"{', '.join(outdated)}: run python benchmarks/report.py"


def test_page_of_objectives_shows_the_stored_result(bench: SimpleNamespace) -> None:
    outdated = [p.name for p, text in bench.objectives.written().items() if p.read_text(encoding="utf-8") != text]
    assert not outdated, f"{', '.join(outdated)}: run python benchmarks/objectives.py --draw"


def test_what_is_asked_of_both_is_the_same(bench: SimpleNamespace) -> None:
    """A decoder that knows the text finds it from the left; one that is sure of what follows finds it by ranking."""
    import torch

    windows = torch.arange(40).view(4, 10) % 7
    logits = torch.full((4, 9, 8), -9.0)
    for row, window in enumerate(windows):
        logits[row, torch.arange(9), window[1:]] = 9.0

    class Known:
        def __call__(self, inputs: torch.Tensor, last_only: bool = False) -> torch.Tensor:
            rows = [int((windows[:, 0] == first).nonzero()[0]) for first in inputs[:, 0]]
            of = logits[rows, : inputs.size(1)].clone()
            if inputs.size(1) > 5:  # the hidden one cannot be told before, and what follows only after the right one
                of[:, 4] = 0.0
                of[inputs[:, 5] != windows[rows, 5], 5:] = 0.0
            return of[:, -1:] if last_only else of

    before = bench.objectives.decoded(Known(), windows, 5)
    assert before.shape == (4, 8) and torch.equal(before.argmax(1), windows[:, 5])
    unsure = torch.zeros_like(before)
    assert torch.equal(bench.objectives.ranked(Known(), windows, 5, unsure), windows[:, 5])
    seen: list[torch.Tensor] = []

    class Encoder:
        def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(inputs)
            return torch.nn.functional.one_hot(inputs, 8).float()

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    log_p = bench.objectives.found(Encoder(), windows, 5, 7)
    assert log_p.shape == (4, 7), "the mask is no answer"
    assert (seen[0][:, 5] == 7).all() and (seen[0] == windows).sum() == 36
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(4))


def test_stored_results_are_whole(bench: SimpleNamespace) -> None:
    for result, rows in bench.report.stored():
        assert rows and result["machine"]["commit"], f"{result['name']} says not what it was measured on"
        assert not result["quick"], f"{result['name']} is of a quick run, which measures nothing"


def test_readme_names_every_script(bench: SimpleNamespace) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    scripts = [path.name for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")]
    assert "training_step.py" in scripts
    assert [name for name in scripts if name != "workers.py" and name not in text] == []


def test_worker_works_on_demand_and_sleeps(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = bench.shapes.TINY
    with bench.workers.Worker("plain", "training", batch_size=tiny.batch_size, dropout=0.2, **tiny.sizes) as worker:
        assert worker.tokens == tiny.batch_size * tiny.block_size
        assert 0 < worker.seconds(1) < worker.seconds(40)
        assert worker.spun() == []
        process = worker._process
    assert process.returncode == 0


def test_worker_that_cannot_begin_is_an_error(bench: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(bench.workers.WorkerError, match=r"plain\.nothing ended with code 1"):
        bench.workers.Worker("plain", "nothing")
    assert "AttributeError" in capfd.readouterr().err


def test_plain_model_is_causal_and_writes(bench: SimpleNamespace) -> None:
    import torch

    torch.manual_seed(0)
    model = bench.plain.PlainGPT(bench.plain.Shape(2, 2, 16, 8, 11)).eval()
    ids = torch.arange(8)[None]
    changed = ids.clone()
    changed[0, 5] = 9
    before, after = model.hidden(ids), model.hidden(changed)
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.equal(before[:, 5:], after[:, 5:])
    written = model.write(ids[:, :1], 12, temperature=0.0)
    assert written.shape == (1, 13)
    assert written[0, 6] == (model.hidden(written[:, :6])[:, -1] @ model.tokens.weight.T).argmax()


def test_processes_are_measured(bench: SimpleNamespace, tmp_path: Path) -> None:
    processes = bench.processes
    held = [processes.peak_bytes(processes.python(f"x = b'1' * {n}")) for n in (1, 50_000_000)]
    assert 45e6 < held[1] - held[0] < 60e6
    line = tmp_path / "line"
    write = f"import time; open({str(line)!r}, 'w').write('here'); time.sleep(0.5); print('abcdef')"
    assert processes.seconds_to_line(processes.python(write), line, "here") < processes.seconds(processes.python(write))
    with pytest.raises(RuntimeError, match="wrote 7 bytes only"):
        processes.seconds_to_output(processes.python(write), 8)
    with pytest.raises(RuntimeError, match="ended with 3 instead of 0"):
        processes.seconds(processes.python("exit(3)"))


def test_steps_of_the_real_trainer(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = bench.shapes.TINY
    words = [*tiny.words, *tiny.batch_words, "runtime.threads=1"]
    with bench.workers.Worker("ours", "waiting", words=words, vocab_size=tiny.vocab_size) as worker:
        assert worker.tokens == tiny.batch_size * tiny.block_size
        embeddings, matrices, biases, norms = (65 + 32) * 32, 12 * 32**2, 9 * 32, 3 * 2 * 32
        assert worker.facts["parameters"] == embeddings + matrices + biases + norms
        assert 0 < worker.figure(3) < 1  # the share of waiting for data


def test_personal_data_is_graded_by_overlap(bench: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    lines = (
        {"text": "mail a@b.com or 415-555-2671", "spans": [[5, 12, "email"], [16, 24, "phone"]], "lang": "en"},
        {
            "text": "电话13800138000和a@b.cn",
            "spans": [[2, 13, "phone"], [14, 16, "email"], [0, 2, "name"]],
            "lang": "zh",
        },
    )
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
    rows = {row.label: row for row in bench.personal_data.graded(bench.personal_data.read(path), 0)}
    assert rows["email: precision"].median == rows["email: recall"].median == 0.5  # 2 of 6 characters are too few
    assert rows["phone: precision"].median == rows["phone: recall"].median == 1.0  # 8 of 12 are enough
    assert rows["name: recall"].median == 0.0 and "name: precision" not in rows
    assert (rows["all kinds: precision"].detail, rows["all kinds: recall"].detail) == ("3 of 4", "3 of 5")
    assert rows["all kinds: recall"].met is False and rows["phone: recall"].met


@pytest.mark.parametrize(
    "line, fault",
    [
        ('{"text": "a"}', "not {"),
        ("{", "not {"),
        ('{"text": "a", "spans": [[0, 2, "ip"]]}', "the span [0, 2, 'ip'] lies outside the text"),
    ],
)
def test_labelled_line_that_is_none_is_named(bench: SimpleNamespace, tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text('{"text": "", "spans": []}\n' + line, encoding="utf-8")
    with pytest.raises(SystemExit) as e:
        bench.personal_data.read(path)
    assert f"{path}, line 2: {fault}" in str(e.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_benchmark_has_a_quick_run(name: str, tmp_path: Path) -> None:
    if name in NEEDS_PEER:
        pytest.importorskip("transformers", reason="make bench installs it")
    quick(name, tmp_path)


def quick(name: str, folder: Path) -> None:
    """Runs a benchmark's quick mode and looks at its result."""
    out = folder / f"{name}.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["quick"] and result["rows"]
    assert all(0 < row["low"] <= row["median"] <= row["high"] and row["target"] is None for row in result["rows"])
