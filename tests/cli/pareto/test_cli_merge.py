"""Tests of mpnas/cli/pareto/merge.py and of new_file in mpnas/cli/front.py."""

import hashlib
import os

import pytest
from front_maker import RUN, TIES, made, record, records

from mpnas.pareto import load


def of_run(name, digit, rows=None, **changes):
    return made(rows, run=RUN | {"id": name, "config_sha256": digit * 64}, **changes)


@pytest.fixture
def two(written):
    """Two runs side by side; the first has a checkpoint of three bytes."""
    rows = records()
    rows[4].artifacts.update(checkpoint="model.npz", sha256=hashlib.sha256(b"abc").hexdigest())
    folder = written(of_run("one", "1", rows), "runs/one")
    (folder / "model.npz").write_bytes(b"abc")
    return folder, written(of_run("two", "2", [record("s0", accuracy=0.99)]), "runs/two")


def test_two_runs_become_one_front_that_is_sound_with_its_files(mpnas, two, tmp_path):
    result = mpnas("pareto", "merge", *two, "--out", tmp_path / "both.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Merged: 2 runs (one, two); 4 points, 1 of them on the front; 4 references; 2 rejected; "
        "hypervolume 4,554.",  # one network beats all: 0.99 from 600 bytes to the 5200 of the float network
        "Written: both.json",
    ]
    [point] = [p for p in load(tmp_path / "both.json")["points"] if p["artifacts"]]
    assert point["trial"] == "one/s0" and point["artifacts"]["checkpoint"] == "runs/one/model.npz"
    assert mpnas("pareto", "validate", tmp_path / "both.json").exit_code == 0


def test_a_changed_file_of_a_merged_front_is_noticed(mpnas, two, tmp_path):
    mpnas("pareto", "merge", *two, "--out", tmp_path / "both.json")
    (two[0] / "model.npz").write_bytes(b"abd")
    result = mpnas("pareto", "validate", tmp_path / "both.json")
    assert result.exit_code == 2 and "'runs/one/model.npz' has sha256" in result.stdout


def test_neither_order_nor_repetition_changes_a_byte(mpnas, two, tmp_path):
    for name, order in (("a", two), ("b", two[::-1]), ("c", (*two, two[0], tmp_path / "a.json"))):
        assert mpnas("pareto", "merge", *order, "--out", tmp_path / f"{name}.json").exit_code == 0
    assert len({(tmp_path / f"{name}.json").read_bytes() for name in "abc"}) == 1


def test_files_that_lie_elsewhere_are_left_out_and_it_is_said(mpnas, two, tmp_path):
    (tmp_path / "far").mkdir()
    result = mpnas("pareto", "merge", *two, "--out", tmp_path / "far" / "both.json")
    assert f"Left out: the checkpoints and exports of 1 networks of {two[0]}, which" in result.stdout
    assert not any(point["artifacts"] for point in load(tmp_path / "far" / "both.json")["points"])


def test_a_link_does_not_bring_a_run_into_the_folder(mpnas, two, tmp_path):
    (tmp_path / "far").mkdir()
    os.symlink(two[0], tmp_path / "far" / "linked")
    result = mpnas("pareto", "merge", tmp_path / "far" / "linked", "--out", tmp_path / "far" / "both.json")
    assert result.exit_code == 0 and "Left out" in result.stdout


@pytest.mark.parametrize(
    "out, says",
    [("both.json", "exists. Choose another"), ("runs", "is a folder"), ("no/x.json", "there is no folder")],
    ids=["file", "folder", "no_folder"],
)
def test_nothing_is_overwritten_unasked(refused, mpnas, two, tmp_path, out, says):
    (tmp_path / "both.json").write_text("mine")
    assert says in refused("pareto", "merge", *two, "--out", tmp_path / out)
    assert (tmp_path / "both.json").read_text() == "mine"
    assert mpnas("pareto", "merge", *two, "--out", tmp_path / "both.json", "--overwrite").exit_code == 0


def test_fronts_of_different_networks_are_refused_by_name(refused, written, two, tmp_path):
    other = written(of_run("three", "3", ties=TIES[:1]), "runs/three")
    said = refused("pareto", "merge", two[0], other, "--out", tmp_path / "both.json")
    assert f"{two[0]} and {other} differ in groups" in said and not (tmp_path / "both.json").exists()


def test_no_front_at_all_is_an_error(mpnas, tmp_path):
    assert mpnas("pareto", "merge", "--out", tmp_path / "x.json").exit_code == 2
