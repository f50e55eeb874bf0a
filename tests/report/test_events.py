"""Tests of mpnas/report/events.py."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from mpnas.report.evidence import Evidence
from mpnas.report.events import scalars_of, write_events

ROWS = [
    {"stage": "search", "step": 5, "stage_step": 5, "stage_steps": 10, "loss": 0.5, "seconds": 2.0,
     "expected_costs": {"weight_bytes": 900.5}, "train_accuracy": 0.75},
    {"stage": "retrain", "step": 12, "stage_step": 2, "stage_steps": 10, "loss": 0.25, "seconds": 3.0},
]


def events_in(path):
    """The scalars of an events file, read by hand: length, checksum, message, checksum (TFRecord)."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12:12 + length])
        found += [(v.tag, event.step, v.simple_value, event.wall_time) for v in event.summary.value]
        data = data[16 + length:]
    return found


def test_every_number_of_a_row_is_a_point_of_a_curve(tmp_path):
    ended = {"gumbel-s0": "1970-01-01T00:16:43Z"}  # 1003 s after the epoch, 3 s after its first second
    root = write_events(tmp_path, Evidence({"gumbel-s0": ROWS, "waiting": []}, ended))
    assert [path.name for path in root.iterdir()] == ["gumbel-s0"]
    (file,) = (root / "gumbel-s0").iterdir()
    assert events_in(file) == [
        ("search/loss", 5, 0.5, 1002.0),
        ("search/expected_costs/weight_bytes", 5, 900.5, 1002.0),
        ("search/train_accuracy", 5, 0.75, 1002.0),
        ("retrain/loss", 12, 0.25, 1003.0),
    ]


def test_events_are_written_anew_not_twice(tmp_path):
    for _ in range(2):
        root = write_events(tmp_path, Evidence({"a": ROWS}))
    assert len(list((root / "a").iterdir())) == 1


@pytest.mark.parametrize("row", [
    {}, {"stage": "search"}, {"stage": 3, "step": 1, "loss": 1.0}, {"stage": "x", "step": "1", "loss": 1.0},
    {"stage": "x", "step": 1, "loss": "low", "flag": True},
])
def test_a_row_that_says_nothing_gives_no_point(row):
    assert list(scalars_of(row)) == []
