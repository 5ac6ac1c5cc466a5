"""metrics.jsonl grows, is cut back at resume, and survives a kill in the middle of a line."""

import csv
import json
import math
import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptforge.errors import CheckpointError
from gptforge.logs import COLUMNS, MetricsFile, read_metrics

NUMBERS = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))
RECORDS = st.lists(st.dictionaries(st.sampled_from([*COLUMNS, "other\n,"]), NUMBERS, max_size=6), max_size=8)


def opened(folder: Path) -> MetricsFile:
    return MetricsFile(folder / "metrics.jsonl", folder / "metrics.csv")


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@settings(max_examples=60)
@given(first=RECORDS, second=RECORDS, data=st.data())
def test_any_cut_keeps_exactly_the_whole_lines_before_it(tmp_path_factory, first, second, data):
    folder = tmp_path_factory.mktemp("run")
    with closing(opened(folder)) as metrics:
        ends = [0]
        for record in first:
            metrics.record(record)
            ends.append(metrics.length())
        cut = data.draw(st.integers(0, ends[-1]))
        metrics.truncate(cut)
        kept = first[: sum(end <= cut for end in ends) - 1]
        assert read_metrics(folder / "metrics.jsonl") == kept
        for record in second:
            metrics.record(record)
    whole = kept + second
    assert read_metrics(folder / "metrics.jsonl") == whole
    # Each row of the CSV is its record, numbers exact.
    rows = csv_rows(folder)
    assert [{k: float(v) for k, v in row.items() if v} for row in rows] == [
        {k: float(v) for k, v in record.items() if k in COLUMNS} for record in whole
    ]


def test_the_length_remembered_by_a_checkpoint_brings_the_file_back(tmp_path):
    metrics = opened(tmp_path)
    metrics.record({"step": 1, "train_loss": 4.125})
    length, before = metrics.length(), (tmp_path / "metrics.csv").read_bytes()
    metrics.record({"step": 2, "train_loss": 4.0})
    metrics.sync()
    metrics.close()
    again = opened(tmp_path)
    again.truncate(length)
    again.close()
    assert (tmp_path / "metrics.jsonl").stat().st_size == length
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_line_cut_by_a_kill_is_gone_when_the_file_is_opened_again(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2, "tra')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]
    metrics = opened(tmp_path)
    metrics.record({"step": 2})
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]
    assert [row["step"] for row in csv_rows(tmp_path)] == ["1", "2"]


def test_a_tail_that_a_power_cut_spoilt_is_cut_off_at_a_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bytes(5) + b'p": 2}\n{"step": 3}\n')
    with closing(opened(tmp_path)) as metrics:
        with pytest.raises(CheckpointError, match="line 2"):
            metrics.truncate(metrics.length())
        metrics.truncate(len(b'{"step": 1}\n'))
        metrics.record({"step": 2})
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert [row["step"] for row in csv_rows(tmp_path)] == ["1", "2"]


def test_a_remembered_length_beyond_the_file_loses_nothing(tmp_path):
    metrics = opened(tmp_path)
    metrics.record({"step": 1})
    metrics.truncate(10**6)
    metrics.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_numbers_that_are_not_finite_make_standard_json(tmp_path):
    metrics = opened(tmp_path)
    metrics.record({"step": 1, "train_loss": math.nan, "grad_norm": math.inf})
    metrics.close()

    def refuse(constant):
        raise AssertionError(constant)

    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "train_loss": None, "grad_norm": None}
    assert csv_rows(tmp_path)[0]["train_loss"] == ""


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        read_metrics(path)


def test_no_file_means_no_records(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_record_is_in_the_file_when_the_call_returns(tmp_path):
    metrics = opened(tmp_path)
    metrics.record({"step": 7})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 7}\n'
    metrics.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_not_swallowed(tmp_path):
    metrics = opened(tmp_path)
    with open("/dev/full", "wb", buffering=0) as full:
        os.dup2(full.fileno(), metrics._jsonl.fileno())
    with pytest.raises(OSError, match="No space"):
        metrics.record({"step": 1})
    metrics.close()
