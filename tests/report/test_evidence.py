"""Tests of mpnas/report/evidence.py."""

import json

import numpy as np
import pytest
from front_maker import made, record

from mpnas.report.evidence import Evidence, evidence_of

FRONT = made([record("a"), record("f", "float"), record("r", status="failed", reason="no.")])


def trial(folder, name, rows=(), result=None):
    home = folder / "trials" / name
    home.mkdir(parents=True)
    (home / "metrics.jsonl").write_text("".join(f"{text}\n" for text in rows))
    if result is not None:
        (home / "result.json").write_text(json.dumps(result))
    return home


def test_rows_and_ends_of_every_trial_of_the_front_are_read(tmp_path):
    trial(tmp_path, "a", ['{"step": 1}', '{"step": 2}'], {"ended_utc": "2026-01-31T12:00:00Z"})
    trial(tmp_path, "f", [], {"ended_utc": "2026-01-31T11:00:00Z"})
    trial(tmp_path, "r", ['{"step": 1}'])
    trial(tmp_path, "unknown", ['{"step": 1}'])
    found = evidence_of(tmp_path, FRONT)
    assert found.history == {"a": [{"step": 1}, {"step": 2}], "r": [{"step": 1}]}
    assert found.ended == {"a": "2026-01-31T12:00:00Z", "f": "2026-01-31T11:00:00Z"}


def test_damaged_lines_are_skipped_and_the_others_kept(tmp_path):
    home = trial(tmp_path, "a")
    lines = [b'{"step": 1}', b"[1]", b"\xff\xfe", b"", b"[" * 100_000, b'{"step": 2}', b'{"step":']
    (home / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert evidence_of(tmp_path, FRONT).history == {"a": [{"step": 1}, {"step": 2}]}


@pytest.mark.parametrize(
    "result", [[], {}, *({"ended_utc": when} for when in (3, "soon", "2026-01-31T12:00:00Z<b>"))], ids=str
)
def test_an_end_that_is_no_time_is_none(tmp_path, result):
    trial(tmp_path, "a", [], result)
    assert evidence_of(tmp_path, FRONT).ended == {}


@pytest.mark.parametrize("name", ["../../secret", "/etc", "a/../../../secret", "C:\\x", "x\x00y"])
def test_a_trial_s_name_cannot_lead_out_of_the_folder(tmp_path, name):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "metrics.jsonl").write_text('{"step": 1}\n')
    folder = tmp_path / "run"
    folder.mkdir()
    front = {**FRONT, "points": [{**FRONT["points"][0], "trial": name}]}
    assert evidence_of(folder, front) == Evidence()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_text('{"step": 1}\n')
    home = trial(tmp_path / "run", "a")
    (home / "metrics.jsonl").unlink()
    (home / "metrics.jsonl").symlink_to(outside)
    assert evidence_of(tmp_path / "run", FRONT) == Evidence()


def scored(folder, name, **arrays):
    (folder / "scores").mkdir(exist_ok=True)
    np.savez(folder / "scores" / name, **arrays)


def test_scores_are_read_as_they_are_written(tmp_path):
    arrays = {"00000": np.ones((2, 3)), "00001": np.zeros((1, 3))}
    scored(tmp_path, "0f.npz", sites=np.array(["b", "a"]), **arrays)
    [found] = evidence_of(tmp_path, FRONT).scores
    assert list(found) == ["b", "a"] and found["b"].shape == (2, 3)


@pytest.mark.parametrize(
    "arrays",
    [
        {"sites": np.array(["a"]), "00000": np.array([[object()]])},  # a pickle
        {"sites": np.array(["a"]), "00000": np.array([[-1.0]])},
        {"sites": np.array(["a"]), "00000": np.array([[np.nan]])},
        {"sites": np.array(["a"]), "00000": np.array([1.0])},
        {"sites": np.array(["a", "b"]), "00000": np.array([[1.0]])},
        {},
    ],
    ids=["pickle", "negative", "nan", "flat", "short", "empty"],
)
def test_damaged_scores_are_left_out(tmp_path, arrays):
    scored(tmp_path, "0f.npz", **arrays)
    (tmp_path / "scores" / "1f.npz").write_bytes(b"PK no zip")
    assert evidence_of(tmp_path, FRONT).scores == ()
