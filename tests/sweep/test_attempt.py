"""Tests of mpnas/sweep/attempt.py."""

import json

import pytest

from mpnas.sweep.attempt import claim, cut_metrics, last_seconds, newest


def test_attempts_are_numbered_upwards(tmp_path):
    home = tmp_path / "attempts"
    assert [claim(home), claim(home), claim(home)] == [1, 2, 3]
    assert newest(home) == 3


def test_attempt_ten_is_newer_than_attempt_nine(tmp_path):
    for name in ("9", "10", ".nfs0001", "1.tmp"):
        (tmp_path / name).touch()
    assert newest(tmp_path) == 10
    assert claim(tmp_path) == 11


def test_number_taken_meanwhile_is_skipped(tmp_path, monkeypatch):
    (tmp_path / "1").touch()
    monkeypatch.setattr("mpnas.sweep.attempt.newest", lambda attempts: 0)
    assert claim(tmp_path) == 2


def test_metrics_are_cut_after_the_restored_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 6)))
    cut_metrics(path, 3)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'
    cut_metrics(path, 0)
    assert path.read_text() == ""


def test_half_written_and_foreign_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n[1]\n{"loss": 2}\n{"step": "2"}\n\xff\xfe\n{"step": 2, "lo')
    cut_metrics(path, 9)
    assert path.read_text() == '{"step": 1}\n'


def test_missing_metrics_stay_missing(tmp_path):
    cut_metrics(tmp_path / "metrics.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text, seconds", [
    (None, 0.0), ("", 0.0), ('{"step": 1}\n', 0.0), ("[1]\n", 0.0), ("{\n", 0.0),
    ('{"step": 1, "seconds": 2.5}\n{"step": 2, "seconds": 4.25}\n', 4.25),
    ('{"step": 1, "seconds": 2.5}\n{"step": 2, "sec', 2.5),
])
def test_time_that_earlier_attempts_took_is_read_off_the_last_row(tmp_path, text, seconds):
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    assert last_seconds(path) == seconds
